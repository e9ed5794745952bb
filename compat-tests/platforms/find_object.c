/*
 * What gcc's static unwinder asks the C library for, and only glibc has: which object a place in the code belongs to, and
 * where its tables for unwinding are. Put together from dl_iterate_phdr(3), which musl has as well. Source: the page
 * dl_find_object of the manual of glibc, and unwind-dw2-fde-dip.c of gcc for what of it is read.
 */
#define _GNU_SOURCE
#include <link.h>
#include <stdint.h>
#include <string.h>

struct dl_find_object {
    unsigned long long flags;
    void *map_start, *map_end;
    struct link_map *link_map;
    void *eh_frame;
    unsigned long long reserved[7];
};

struct search {
    uintptr_t place;
    struct dl_find_object *found;
};

static int look(struct dl_phdr_info *info, size_t size, void *argument)
{
    struct search *search = argument;
    const ElfW(Phdr) *tables = NULL;
    uintptr_t start = 0, end = 0;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t at = info->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_LOAD && search->place >= at && search->place - at < segment->p_memsz) {
            start = at;
            end = at + segment->p_memsz;
        } else if (segment->p_type == PT_GNU_EH_FRAME) {
            tables = segment;
        }
    }
    if (end == 0 || tables == NULL) {
        return 0;
    }
    memset(search->found, 0, sizeof(*search->found));
    search->found->map_start = (void *)start;
    search->found->map_end = (void *)end;
    search->found->eh_frame = (void *)(info->dlpi_addr + tables->p_vaddr);
    return 1;
}

int _dl_find_object(void *place, struct dl_find_object *result)
{
    struct search search = { (uintptr_t)place, result };
    return dl_iterate_phdr(look, &search) != 0 ? 0 : -1;
}
