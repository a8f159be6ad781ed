#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/limits.md and docs/counters.md say what bus/core/limits.h and bus/core/counters.h say. With --write they are written."""
import ast
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORE = ROOT / "bus/core"
FIELD = r'\s*((?:"(?:[^"\\]|\\.)*"\s*)+|[^,()"]+?)\s*'
SIZES = {"KIB": 1024, "MIB": 1024 ** 2}
HEAD = "<!-- Written by tests/checks/check-tables.py --write from {source}. Do not edit. -->\n"


def entries(header, table, n, entry="X("):
    """The X(...) lines of a table, as lists of n texts."""
    text = re.sub(r" *\\\n", "\n", header.read_text())
    body = re.search(rf"#define {table}\([^)]*X\)\s*?\n(.*?)\n\n", text, re.S).group(1)
    start = r"\b" + re.escape(entry)
    found = re.findall(start + ",".join([FIELD] * n) + r"\)", body)
    if len(found) != len(re.findall(start, body)) or not found:
        raise SystemExit(f"{header.name}: not all of {table} is understood by this check")
    return [[unquote(f) for f in fields] for fields in found]


def unquote(field):
    return "".join(ast.literal_eval(t) for t in re.findall(r'"(?:[^"\\]|\\.)*"', field)) if '"' in field else field


def product(expression):
    value = 1
    for factor in expression.split("*"):
        value *= SIZES.get(factor.strip()) or int(factor)
    return value


def amount(value, unit):
    """A number as people write it."""
    steps = {"bytes": [(1024 ** 4, "TiB"), (1024 ** 3, "GiB"), (1024 ** 2, "MiB"), (1024, "KiB"), (1, "bytes" if value != 1 else "byte")],
             "ms": [(1000, "s"), (1, "ms")]}.get(unit)
    for size, name in steps or []:
        if value >= size and value % size == 0:
            return f"{value // size:,} {name}"
    return f"{value:,}"


def option_of(name):
    return "--" + re.sub("_ms$", "", name).replace("_", "-")


def numbers(texts, unit):
    return " | ".join(amount(product(v), unit) for v in texts)


def user_slots():
    lines = ["", "## Shares of users", "",
             "What all connections of one user (uid) share, by the names that overrides of single users give it. The router's own user",
             "and root have what the second column says, everybody else the limit. [protocol.md](protocol.md), section 21.\n",
             "| slot | router's own user, root | option for others | default | lowest | highest | meaning |", "|---|---|---|---:|---:|---:|---|"]
    for slot, own, default, low, high, unit, meaning in entries(CORE / "limits.h", "USER_SLOTS_AS", 7, "S(X,"):
        theirs = f"`{own[3:]}`" if own.startswith("l->") else amount(product(own), unit)
        option = option_of(f"user_{slot}_max")
        lines.append(f"| `{slot}` | {theirs} | `{option}` | {numbers((default, low, high), unit)} | {meaning} |")
    return lines


def limits():
    lines = [HEAD.format(source="bus/core/limits.h"), "# Limits of the router\n",
             "Every limit, with its option of `bus-router`. What a client needs to know of them is in WELCOME",
             "([protocol.md](protocol.md), section 3). What happens at a limit is said with the rule it belongs to.\n",
             "| limit | option | default | lowest | highest | meaning |", "|---|---|---:|---:|---:|---|"]
    for name, default, low, high, unit, meaning in entries(CORE / "limits.h", "LIMITS", 6):
        lines.append(f"| `{name}` | `{option_of(name)}` | {numbers((default, low, high), unit)} | {meaning} |")
    return "\n".join(lines + user_slots()) + "\n"


def counters():
    lines = [HEAD.format(source="bus/core/counters.h"), "# Counters of the router\n",
             "Read them with `bus-ctl counters`, `bus_inside()` of `<bus/inside.h>`, or by a request to `$bus/counters`",
             "([protocol.md](protocol.md), section 22). Names that end in `_now` go up and down; all others only grow.\n",
             "At every moment `messages_matched` + `messages_returned` = `messages_delivered` + `messages_lost` +",
             "`messages_queued_now` + `messages_discarded` + `messages_dead_lettered`.\n",
             "| counter | unit | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {unit} | {meaning} |" for name, unit, meaning in entries(CORE / "counters.h", "COUNTERS", 3)]
    return "\n".join(lines) + "\n"


def main():
    wrong = []
    for name, text in (("limits.md", limits()), ("counters.md", counters())):
        path = ROOT / "docs" / name
        if "--write" in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            wrong.append(f"docs/{name} is not what bus/core says; run tests/checks/check-tables.py --write")
    print("\n".join(wrong) or "tables: ok")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
