/* SPDX-License-Identifier: MIT */
/* The live table on a terminal. Everything is drawn anew each time; curses sends only what differs.
 * Knows the model and the keys, not the connection. */
#include "top_screen.h"

#include <errno.h>
#include <ncurses.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "top_view.h"

#define HEADER_LINES (1 + VIEW_SUMMARY_LINES)
#define PAIR_LOSS 1
#define PAIR_WAITING 2
#define KEY_CTRL_L ('L' & 0x1f)

static const char *const help_lines[] = {
    "q          quit",
    "t  c  b    topics only, clients only, both",
    "g  u       groups, what users have of their quotas",
    "Tab        the other table (its name is marked with *)",
    "s  S       sort by the next column, the one before",
    "r          reverse the order",
    "p          pause and go on",
    "Up Down PgUp PgDn Home End    scroll",
    "Left Right    more columns",
    "?          this help; any key leaves it",
    "",
    "/s: per second since the table before. B: bytes of bodies and headers.",
    "CLIENT: its name, # and the number of its connection.",
    "OUT: given to subscribers. LOST: reported as lost to subscribers.",
    "QUEUE: waiting in the router for a client that reads too slowly.",
    "SLOW: what a client is waited for, and for how long; bus-ctl clients says more.",
    "MEMORY: of the router, held for the client. k M G: 1000, 1000 k, 1000 M.",
};

int screen_open(struct top_screen *s)
{
    SCREEN *screen = newterm(NULL, stdout, stdin);

    if (!screen) {
        return -ENOTTY;
    }
    set_term(screen);
    cbreak();
    noecho();
    nonl();
    nodelay(stdscr, TRUE);
    keypad(stdscr, TRUE);
    set_escdelay(25);
    (void) curs_set(0);
    if (s->colour && has_colors()) {
        start_color();
        use_default_colors();
        init_pair(PAIR_LOSS, COLOR_RED, -1);
        init_pair(PAIR_WAITING, COLOR_YELLOW, -1);
    } else {
        s->colour = false;
    }
    return 0;
}

void screen_close(void)
{
    endwin();
}

/* ---- drawing ---- */

static void draw_text(int y, int x, int width, const char *text, enum safe_charset charset)
{
    char cell[VIEW_CELL_BYTES];

    if (width > 0 && y < LINES) {
        view_fit(text, width < VIEW_WIDTH_MAX ? width : VIEW_WIDTH_MAX, charset, cell);
        mvaddstr(y, x, cell);
    }
}

/* Columns from the first scrolled one on, as many as leave room for the name; returns the width of
 * the name. */
static int choose_columns(const struct top_screen *s, enum top_table_id table, size_t *ret_end)
{
    size_t n;
    const struct top_column *columns = top_columns(table, &n);
    int room = COLS - columns[0].width;
    int used = 0;
    size_t at = 1 + s->scroll[table].first_column;

    while (at < n && used + 1 + columns[at].width <= room) {
        used += 1 + columns[at].width;
        at++;
    }
    *ret_end = at;
    return COLS - used < VIEW_WIDTH_MAX ? COLS - used : VIEW_WIDTH_MAX;
}

static int cell_attributes(const struct top_screen *s, const struct top_row *row,
                           const struct top_column *column)
{
    bool known;

    if (!s->colour || column->source == TOP_FROM_NAME || top_row_number(row, column, &known) <= 0) {
        return A_NORMAL;
    }
    if (column->value == TOP_LOST || column->value == TOP_REFUSED) {
        return COLOR_PAIR(PAIR_LOSS);
    }
    if (column->source == TOP_FROM_NOTE || column->value == TOP_QUEUE_MESSAGES ||
        column->value == TOP_QUEUE_BYTES) {
        return COLOR_PAIR(PAIR_WAITING);
    }
    return A_NORMAL;
}

static void draw_row(const struct top_screen *s, enum top_table_id table, int y,
                     const struct top_row *row)
{
    size_t n;
    const struct top_column *columns = top_columns(table, &n);
    size_t end;
    int x = choose_columns(s, table, &end);
    char cell[VIEW_CELL_BYTES];

    view_cell(row, table, &columns[0], x, s->charset, cell);
    mvaddstr(y, 0, cell);
    for (size_t i = 1 + s->scroll[table].first_column; i < end; i++) {
        int attributes = cell_attributes(s, row, &columns[i]);

        view_cell(row, table, &columns[i], columns[i].width, s->charset, cell);
        attron(attributes);
        mvaddstr(y, x + 1, cell);
        attroff(attributes);
        x += 1 + columns[i].width;
    }
}

static void draw_titles(const struct top_screen *s, enum top_table_id table, int y)
{
    const struct top_sort *sort = &s->model->sort[table];
    size_t n_rows = s->model->now[table].n_rows;
    size_t first = s->scroll[table].first_row;
    size_t shown = s->scroll[table].rows_shown;
    size_t n;
    const struct top_column *columns = top_columns(table, &n);
    size_t end;
    int x = choose_columns(s, table, &end);
    char text[128];

    shown = n_rows - first < shown ? n_rows - first : shown;
    snprintf(text, sizeof(text), "%s%s%s %zu-%zu/%zu", s->active == table ? "*" : "",
             columns[0].title, sort->column == 0 ? "<" : "", shown ? first + 1 : 0, first + shown,
             n_rows);
    attron(A_REVERSE);
    mvhline(y, 0, ' ', COLS);
    draw_text(y, 0, x, text, s->charset);
    for (size_t i = 1 + s->scroll[table].first_column; i < end; i++) {
        attron(i == sort->column ? A_BOLD | A_UNDERLINE : A_NORMAL);
        mvprintw(y, x + 1, "%*s", columns[i].width, columns[i].title);
        attroff(A_BOLD | A_UNDERLINE);
        x += 1 + columns[i].width;
    }
    attroff(A_REVERSE);
}

static void draw_table(struct top_screen *s, enum top_table_id table, int y, int height)
{
    size_t n_rows = s->model->now[table].n_rows;
    size_t page = height > 1 ? (size_t) height - 1 : 0;
    size_t last = n_rows > page ? n_rows - page : 0;

    s->scroll[table].rows_shown = page;
    if (s->scroll[table].first_row > last) {
        s->scroll[table].first_row = last;
    }
    if (height < 1) {
        return;
    }
    draw_titles(s, table, y);
    for (size_t i = 0; i < page; i++) {
        const struct top_row *row = top_model_row(s->model, table, s->scroll[table].first_row + i);

        if (!row) {
            break;
        }
        draw_row(s, table, y + 1 + (int) i, row);
    }
}

/* Lines for the topics if both tables are shown: what they need, but not more than half if the
 * clients need that. */
static int split_lines(const struct top_screen *s, int lines)
{
    size_t room = (size_t) lines;
    size_t topics = s->model->now[TOP_TOPICS].n_rows + 1;
    size_t clients = s->model->now[TOP_CLIENTS].n_rows + 1;

    if (topics + clients <= room || topics <= room / 2) {
        return (int) topics;
    }
    return (int) (clients <= room / 2 ? room - clients : room / 2);
}

static void draw_tables(struct top_screen *s)
{
    int lines = LINES - HEADER_LINES - 1;
    enum top_panes panes = s->panes;
    int topics;

    if (panes == PANES_GROUPS || panes == PANES_QUOTAS) {
        draw_table(s, s->active, HEADER_LINES, lines);
        return;
    }
    if (lines < 4 && panes == PANES_BOTH) {
        panes = s->active == TOP_TOPICS ? PANES_TOPICS : PANES_CLIENTS;
    }
    topics = panes == PANES_TOPICS ? lines : panes == PANES_CLIENTS ? 0 : split_lines(s, lines);
    draw_table(s, TOP_TOPICS, HEADER_LINES, topics);
    draw_table(s, TOP_CLIENTS, HEADER_LINES + topics, lines - topics);
}

static void draw_header(const struct top_screen *s)
{
    char line[512];
    char clock[16];
    time_t now = time(NULL);
    struct tm tm;

    if (!localtime_r(&now, &tm) || !strftime(clock, sizeof(clock), "%H:%M:%S", &tm)) {
        clock[0] = '\0';
    }
    snprintf(line, sizeof(line), "bus-monitor  %s  every %g s%s  %s", clock, s->interval_s,
             s->paused ? "  PAUSED" : "", s->title);
    attron(A_BOLD);
    draw_text(0, 0, COLS, line, s->charset);
    attroff(A_BOLD);
    for (int i = 0; i < VIEW_SUMMARY_LINES; i++) {
        view_summary(s->model, i, line, sizeof(line));
        mvaddnstr(1 + i, 0, line, COLS);
    }
}

static void draw_help(const struct top_screen *s)
{
    int n = (int) (sizeof(help_lines) / sizeof(help_lines[0]));

    for (int i = 0; i < n && HEADER_LINES + 1 + i < LINES; i++) {
        draw_text(HEADER_LINES + 1 + i, 2, COLS - 2, help_lines[i], s->charset);
    }
}

void screen_draw(struct top_screen *s)
{
    erase();
    draw_header(s);
    if (s->help) {
        draw_help(s);
    } else {
        draw_tables(s);
        draw_text(
            LINES - 1, 0, COLS - 1,
            "q quit  t/c/b/g/u tables  Tab other  s/S sort  r reverse  p pause  arrows  ? help",
            s->charset);
    }
    refresh();
}

/* ---- keys ---- */

static void sort_by(struct top_screen *s, int step)
{
    struct top_sort sort = s->model->sort[s->active];
    size_t n;

    (void) top_columns(s->active, &n);
    sort.column = (sort.column + n + (size_t) step) % n;
    top_model_sort(s->model, s->active, sort);
    /* The column one sorts by should be in sight. */
    for (;;) {
        size_t *first = &s->scroll[s->active].first_column;
        size_t end;

        (void) choose_columns(s, s->active, &end);
        if (sort.column > 0 && sort.column < 1 + *first) {
            *first = sort.column - 1;
        } else if (sort.column >= end && *first < n - 2) {
            ++*first;
        } else {
            return;
        }
    }
}

static void reverse(struct top_screen *s)
{
    struct top_sort sort = s->model->sort[s->active];

    sort.reverse = !sort.reverse;
    top_model_sort(s->model, s->active, sort);
}

static void scroll_rows(struct top_screen *s, int key)
{
    size_t *first = &s->scroll[s->active].first_row;
    size_t page = s->scroll[s->active].rows_shown;
    size_t step = key == KEY_NPAGE || key == KEY_PPAGE ? page : 1;

    if (key == KEY_HOME) {
        *first = 0;
    } else if (key == KEY_END) {
        *first = s->model->now[s->active].n_rows;
    } else if (key == KEY_UP || key == KEY_PPAGE) {
        *first -= *first < step ? *first : step;
    } else {
        *first += step; /* drawing cuts it to the last page */
    }
}

static void scroll_columns(struct top_screen *s, int key)
{
    size_t *first = &s->scroll[s->active].first_column;
    size_t n;
    size_t end;

    (void) top_columns(s->active, &n);
    (void) choose_columns(s, s->active, &end);
    if (key == KEY_LEFT) {
        *first -= *first ? 1 : 0;
    } else if (end < n) {
        ++*first;
    }
}

static enum top_table_id table_of(enum top_panes panes)
{
    return panes == PANES_GROUPS    ? TOP_GROUPS
           : panes == PANES_QUOTAS  ? TOP_QUOTAS
           : panes == PANES_CLIENTS ? TOP_CLIENTS
                                    : TOP_TOPICS;
}

static void show(struct top_screen *s, enum top_panes panes)
{
    s->panes = panes;
    if (panes != PANES_BOTH) {
        s->active = table_of(panes);
    } else if (s->active > TOP_CLIENTS) {
        s->active = TOP_TOPICS;
    }
}

static void other_table(struct top_screen *s)
{
    static const enum top_panes next[] = {[PANES_TOPICS] = PANES_CLIENTS,
                                          [PANES_CLIENTS] = PANES_GROUPS,
                                          [PANES_GROUPS] = PANES_QUOTAS,
                                          [PANES_QUOTAS] = PANES_TOPICS};

    if (s->panes == PANES_BOTH) {
        s->active = s->active == TOP_TOPICS ? TOP_CLIENTS : TOP_TOPICS;
    } else {
        show(s, next[s->panes]);
    }
}

static void handle_key(struct top_screen *s, int key)
{
    switch (key) {
    case 't':
        show(s, PANES_TOPICS);
        break;
    case 'c':
        show(s, PANES_CLIENTS);
        break;
    case 'b':
        show(s, PANES_BOTH);
        break;
    case 'g':
        show(s, PANES_GROUPS);
        break;
    case 'u':
        show(s, PANES_QUOTAS);
        break;
    case '\t':
        other_table(s);
        break;
    case 's':
        sort_by(s, 1);
        break;
    case 'S':
        sort_by(s, -1);
        break;
    case 'r':
        reverse(s);
        break;
    case 'p':
    case ' ':
        s->paused = !s->paused;
        break;
    case '?':
    case 'h':
        s->help = true;
        break;
    case KEY_UP:
    case KEY_DOWN:
    case KEY_PPAGE:
    case KEY_NPAGE:
    case KEY_HOME:
    case KEY_END:
        scroll_rows(s, key);
        break;
    case KEY_LEFT:
    case KEY_RIGHT:
        scroll_columns(s, key);
        break;
    case KEY_CTRL_L:
        clearok(stdscr, TRUE);
        break;
    default:
        break;
    }
}

enum screen_verdict screen_keys(struct top_screen *s)
{
    int key;
    bool any = false;

    while ((key = getch()) != ERR) {
        any = true;
        if (s->help && key != KEY_RESIZE) {
            s->help = false;
        } else if (key == 'q' || key == 'Q') {
            return SCREEN_QUIT;
        } else {
            handle_key(s, key);
        }
    }
    if (any) {
        screen_draw(s);
    }
    return SCREEN_GO_ON;
}
