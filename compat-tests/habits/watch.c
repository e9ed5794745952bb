/* The list of descriptors, and the ways to wait for them. */
#include "habits.h"

#include <errno.h>
#include <poll.h>
#include <sys/select.h>
#include <time.h>

void watch_clear(App *app)
{
    app->watched_len = 0;
}

static Watched *watch(App *app, int fd, int events, bool own)
{
    if (app->watched_len == MOST_WATCHED) {
        violation("more than %d descriptors are watched", MOST_WATCHED);
        return NULL;
    }
    Watched *one = &app->watched[app->watched_len++];
    *one = (Watched){ .fd = fd, .events = events, .own = own };
    return one;
}

void watch_own(App *app, int fd)
{
    watch(app, fd, SLIRP_POLL_IN, true);
}

bool watch_own_ready(App *app, int fd)
{
    for (size_t i = 0; i < app->watched_len; i++) {
        if (app->watched[i].own && app->watched[i].fd == fd) {
            return app->watched[i].seen != 0;
        }
    }
    return false;
}

int watch_add(int fd, int events, void *opaque)
{
    App *app = opaque;
    callback_enters(app);
    if (app->habits.places > 0) {
        int taken = 0;
        for (size_t i = 0; i < app->watched_len; i++) {
            taken += !app->watched[i].own;
        }
        if (taken + 1 >= app->habits.places) {
            return -1;
        }
    }
    Watched *one = watch(app, fd, events, false);
    if (one == NULL) {
        return -1;
    }
    switch (app->habits.index) {
    case POSITION:
        one->index = (int)(one - app->watched);
        break;
    case DESCRIPTOR:
        one->index = fd;
        break;
    case HANDLE:
        one->index = 0x5a0000 + fd * 4;
        break;
    }
    return one->index;
}

int watch_seen(int index, void *opaque)
{
    App *app = opaque;
    callback_enters(app);
    for (size_t i = 0; i < app->watched_len; i++) {
        Watched *one = &app->watched[i];
        if (one->own || one->index != index) {
            continue;
        }
        if (one->asked) {
            violation("an index is asked for twice in a round");
        }
        one->asked = true;
        return one->seen | (app->habits.spurious ? SLIRP_POLL_IN : 0);
    }
    violation("index %d is asked for, which this round has not", index);
    return 0;
}

static int wait_poll(App *app, const struct timespec *time)
{
    struct pollfd fds[MOST_WATCHED + MOST_DESCRIPTORS];
    nfds_t len = 0;
    bool wsa = app->habits.waits == WSA_POLLS;
    for (size_t i = 0; i < app->watched_len; i++) {
        int wanted = app->watched[i].events;
        short events = (short)((wanted & SLIRP_POLL_IN ? POLLIN : 0) | (wanted & SLIRP_POLL_OUT ? POLLOUT : 0));
        if (!wsa && wanted & SLIRP_POLL_PRI) {
            events |= POLLPRI;
        }
        fds[len++] = (struct pollfd){ .fd = app->watched[i].fd, .events = events };
    }
    for (int fd = 0; app->habits.watches_registered && fd < MOST_DESCRIPTORS; fd++) {
        if (app->ever_registered[fd]) {
            fds[len++] = (struct pollfd){ .fd = fd, .events = POLLIN | POLLOUT };
        }
    }
    int found = ppoll(fds, len, time, NULL);
    for (size_t i = 0; i < app->watched_len; i++) {
        short seen = found > 0 ? fds[i].revents : 0;
        Watched *one = &app->watched[i];
        /* Windows before 2020 never told of a connection that failed. */
        if (wsa && one->events & SLIRP_POLL_OUT && !(one->events & SLIRP_POLL_IN) && seen & (POLLERR | POLLHUP)) {
            seen = 0;
        }
        one->seen = (seen & POLLIN ? SLIRP_POLL_IN : 0) | (seen & POLLOUT ? SLIRP_POLL_OUT : 0) |
                    (seen & POLLPRI ? SLIRP_POLL_PRI : 0) | (seen & POLLERR ? SLIRP_POLL_ERR : 0) |
                    (seen & POLLHUP ? SLIRP_POLL_HUP : 0);
        if (app->habits.waits == POLLS_IN_OUT) {
            one->seen &= SLIRP_POLL_IN | SLIRP_POLL_OUT;
        }
    }
    return found;
}

/* Errors and hang-ups do not show as such. */
static int wait_select(App *app, const struct timespec *time)
{
    fd_set in, out, except;
    int highest = -1;
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&except);
    for (size_t i = 0; i < app->watched_len; i++) {
        Watched *one = &app->watched[i];
        if (one->fd >= FD_SETSIZE) {
            violation("descriptor %d does not fit select()", one->fd);
            continue;
        }
        if (one->events & SLIRP_POLL_IN) {
            FD_SET(one->fd, &in);
        }
        if (one->events & SLIRP_POLL_OUT) {
            FD_SET(one->fd, &out);
        }
        if (one->events & SLIRP_POLL_PRI && app->habits.waits == SELECTS_PRIORITY) {
            FD_SET(one->fd, &except);
        }
        highest = one->fd > highest ? one->fd : highest;
    }
    int found = pselect(highest + 1, &in, &out, &except, time, NULL);
    for (size_t i = 0; i < app->watched_len; i++) {
        Watched *one = &app->watched[i];
        one->seen = 0;
        if (found > 0 && one->fd < FD_SETSIZE) {
            one->seen = (FD_ISSET(one->fd, &in) ? SLIRP_POLL_IN : 0) | (FD_ISSET(one->fd, &out) ? SLIRP_POLL_OUT : 0) |
                        (FD_ISSET(one->fd, &except) ? SLIRP_POLL_PRI : 0);
        }
    }
    return found;
}

int watch_wait(App *app, uint32_t milliseconds)
{
    struct timespec time = { .tv_sec = milliseconds / 1000, .tv_nsec = (long)(milliseconds % 1000) * 1000000 };
    if (app->habits.microseconds) {
        time = (struct timespec){ .tv_nsec = (long)milliseconds * 1000 };
    }
    const struct timespec *limit = milliseconds == UINT32_MAX ? NULL : &time;
    int found;
    do {
        found = app->habits.waits == SELECTS || app->habits.waits == SELECTS_PRIORITY ? wait_select(app, limit)
                                                                                     : wait_poll(app, limit);
    } while (found < 0 && errno == EINTR);
    return found;
}
