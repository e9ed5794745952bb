/* Counts what a test program checks; the last line it prints is "N passed, M failed". */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>

static int checks_passed, checks_failed;

#define CHECK(condition, ...)                                        \
    do {                                                             \
        if (condition) {                                             \
            checks_passed++;                                         \
        } else {                                                     \
            checks_failed++;                                         \
            printf("FAIL line %d: %s: ", __LINE__, #condition);      \
            printf(__VA_ARGS__);                                     \
            printf("\n");                                            \
        }                                                            \
    } while (0)

/* Runs a part of a program, and says how many checks passed in it. */
#define PART(name, call)                                                                                        \
    do {                                                                                                        \
        int part_passed = checks_passed, part_failed = checks_failed;                                           \
        call;                                                                                                   \
        printf("%s %s: %d checks\n", checks_failed == part_failed ? "ok" : "not ok", name, checks_passed - part_passed); \
    } while (0)

static int checks_finish(void)
{
    printf("%d passed, %d failed\n", checks_passed, checks_failed);
    return checks_failed == 0 ? 0 : 1;
}

#endif
