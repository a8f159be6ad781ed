/* SPDX-License-Identifier: MIT */
/* What the router takes for a buffer: only what every receiver can map and nobody can take away. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include "io/descriptors.h"
#include "support/unit.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define OF_SIZE (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define BYTES 8192

static int memfd_with(int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, BYTES), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static int again(int fd, int flags)
{
    char path[64];

    (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    fd = open(path, flags | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static struct memfd_facts facts_of(int fd)
{
    struct memfd_facts facts;

    if (descriptor_inspect(fd, &facts) < 0) {
        assert_false(facts.sealed);
    }
    return facts;
}

static void test_seals_are_needed(void **state)
{
    static const struct {
        int seals;
        bool sealed, immutable;
    } cases[] = {
        {OF_SIZE | F_SEAL_WRITE, true, true},
        {OF_SIZE | F_SEAL_FUTURE_WRITE, true, false},
        {OF_SIZE | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE, true, true},
        {OF_SIZE, false, false},
        {F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW, false, true},
        {F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_SEAL, false, true},
        {F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SEAL, false, true},
        {0, false, false},
    };

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int fd = memfd_with(cases[i].seals);
        struct memfd_facts facts = facts_of(fd);

        assert_int_equal(facts.sealed, cases[i].sealed);
        assert_int_equal(facts.immutable, cases[i].immutable);
        assert_int_equal(facts.bytes, BYTES);
        (void) close(fd);
    }
}

static void test_it_can_be_read(void **state)
{
    static const struct {
        int flags;
        bool sealed;
    } cases[] = {{O_RDONLY, true}, {O_RDWR, true}, {O_WRONLY, false}, {O_PATH, false}};

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int first = memfd_with(OF_SIZE | F_SEAL_FUTURE_WRITE);
        int fd = again(first, cases[i].flags);
        bool sealed = facts_of(fd).sealed;
        uint8_t byte = 1;

        assert_int_equal(sealed, cases[i].sealed);
        assert_int_equal(descriptor_read(fd, BYTES - 1, &byte, 1), sealed);
        (void) close(first);
        (void) close(fd);
    }
}

static void test_other_files_are_none(void **state)
{
    FILE *file = tmpfile();
    int pipes[2];

    (void) state;
    assert_non_null(file);
    assert_false(facts_of(fileno(file)).sealed);
    (void) fclose(file);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_false(facts_of(pipes[0]).sealed);
    (void) close(pipes[0]);
    (void) close(pipes[1]);
}

static void test_huge_pages_are_none(void **state)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

    (void) state;
    if (fd < 0) {
        skip(); /* this kernel has none */
    }
    assert_int_equal(fcntl(fd, F_ADD_SEALS, OF_SIZE | F_SEAL_FUTURE_WRITE), 0);
    assert_false(facts_of(fd).sealed);
    (void) close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seals_are_needed),
        cmocka_unit_test(test_it_can_be_read),
        cmocka_unit_test(test_other_files_are_none),
        cmocka_unit_test(test_huge_pages_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
