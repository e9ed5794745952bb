/* Structures only as long as their version says: each ends where an unreadable page begins. */
#ifndef PAGE_END_H
#define PAGE_END_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The sizes of SlirpConfig and SlirpCb by configuration version, on LP64. */
static const size_t config_sizes[] = { 0, 160, 176, 184, 184, 192, 192 };
static const size_t callback_sizes[] = { 0, 72, 72, 72, 88, 88, 104 };

/* A copy of `size` bytes that ends at an unreadable page. It lives until the program ends. */
static void *at_page_end(const void *data, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + page, page, PROT_NONE) != 0) {
        perror("mmap");
        exit(2);
    }
    return memcpy(memory + page - size, data, size);
}

#endif
