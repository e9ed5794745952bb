/* Loads the library by its path, as dosbox-staging and bhyve do. */
#include "habits.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void *library;

static void *symbol(const char *name, bool needed)
{
    void *found = dlsym(library, name);
    if (found == NULL && needed) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    return found;
}

void library_load(Library *it, const char *path)
{
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    *(void **)&it->new = symbol("slirp_new", true);
    *(void **)&it->cleanup = symbol("slirp_cleanup", true);
    *(void **)&it->poll = symbol("slirp_pollfds_poll", true);
    *(void **)&it->input = symbol("slirp_input", true);
    *(void **)&it->handle_timer = symbol("slirp_handle_timer", true);
    *(void **)&it->add_hostfwd = symbol("slirp_add_hostfwd", true);
    *(void **)&it->add_hostxfwd = symbol("slirp_add_hostxfwd", true);
    *(void **)&it->connection_info = symbol("slirp_connection_info", true);
    /* A program built against a library before 4.9 has the older function and configuration version 4. On Unix the two
     * functions have one type. */
    *(void **)&it->fill = symbol("slirp_pollfds_fill_socket", false);
    it->newest = it->fill != NULL ? 6 : 4;
    if (it->fill == NULL) {
        *(void **)&it->fill = symbol("slirp_pollfds_fill", true);
    }
}
