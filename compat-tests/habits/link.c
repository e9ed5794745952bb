/*
 * The way of frames between the library and the tap that is the guest's network card. Where send_packet blocks, a pump
 * stands between: one thread, as in vdens, that writes what it has read before it reads again.
 */
#include "habits.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* send_packet calls slirp_input, which calls send_packet, ... */
enum { DEEPEST = 8 };

static _Noreturn void give_up(const char *what)
{
    printf("failed %s: %s\n", what, strerror(errno));
    exit(2);
}

/* A tap in the network namespace of process `guest`. */
static int open_tap(int guest)
{
    char path[64];
    struct ifreq request;
    snprintf(path, sizeof(path), "/proc/%d/ns/net", guest);
    int theirs = open(path, O_RDONLY | O_CLOEXEC), ours = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (theirs < 0 || ours < 0 || setns(theirs, CLONE_NEWNET) != 0) {
        give_up("the guest's namespace");
    }
    int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (tap < 0) {
        give_up("/dev/net/tun");
    }
    memset(&request, 0, sizeof(request));
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    strcpy(request.ifr_name, "tap0");
    if (ioctl(tap, TUNSETIFF, &request) != 0) {
        give_up("the tap");
    }
    if (setns(ours, CLONE_NEWNET) != 0) {
        give_up("our namespace");
    }
    close(theirs);
    close(ours);
    return tap;
}

static bool write_all(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t written = write(fd, at, len);
        if (written <= 0) {
            return false;
        }
        at += written;
        len -= (size_t)written;
    }
    return true;
}

static bool read_all(int fd, void *data, size_t len)
{
    char *at = data;
    while (len > 0) {
        ssize_t got = read(fd, at, len);
        if (got <= 0) {
            return false;
        }
        at += got;
        len -= (size_t)got;
    }
    return true;
}

/* Frames in a pipe have their length before them. */
static bool put_in_pipe(int fd, const void *frame, size_t len)
{
    uint8_t head[2] = { (uint8_t)(len >> 8), (uint8_t)len };
    return write_all(fd, head, 2) && write_all(fd, frame, len);
}

static size_t take_from_pipe(int fd, uint8_t *frame)
{
    uint8_t head[2];
    if (!read_all(fd, head, 2)) {
        return 0;
    }
    size_t len = (size_t)(head[0] << 8 | head[1]);
    return read_all(fd, frame, len) ? len : 0;
}

static void *pump(void *opaque)
{
    App *app = opaque;
    static uint8_t frame[LONGEST_FRAME];
    bool pipes = app->habits.link == PIPES;
    for (;;) {
        struct pollfd fds[] = { { .fd = app->tap, .events = POLLIN }, { .fd = app->pump_ends[0], .events = POLLIN } };
        if (poll(fds, 2, -1) < 0) {
            continue;
        }
        if (fds[0].revents != 0) {
            ssize_t len = read(app->tap, frame, sizeof(frame));
            if (len > 0) {
                pipes ? (void)put_in_pipe(app->pump_ends[1], frame, (size_t)len)
                      : (void)!write(app->pump_ends[1], frame, (size_t)len);
            }
        }
        if (fds[1].revents != 0) {
            size_t len = pipes ? take_from_pipe(app->pump_ends[0], frame) : 0;
            if (!pipes) {
                ssize_t got = read(app->pump_ends[0], frame, sizeof(frame));
                len = got > 0 ? (size_t)got : 0;
            }
            if (len == 0) {
                return NULL;
            }
            (void)!write(app->tap, frame, len);
        }
    }
}

/* The thread that the frames of a queue are for. */
static void *drain(void *opaque)
{
    App *app = opaque;
    for (;;) {
        Frame *frame = queue_take(&app->outgoing, true);
        (void)!write(app->tap, frame->data, frame->len);
        free(frame);
    }
    return NULL;
}

static void start(void *(*run)(void *), App *app)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, app) != 0) {
        give_up("a thread");
    }
    pthread_detach(thread);
}

void link_open(App *app, int guest)
{
    app->tap = open_tap(guest);
    app->inlet = app->outlet = app->tap;
    app->outgoing = app->requests = (FrameQueue){ .lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER };
    int pair[2], back[2];
    switch (app->habits.link) {
    case TAP:
        break;
    case SEQPACKET:
    case DATAGRAMS:
        if (socketpair(AF_UNIX, app->habits.link == SEQPACKET ? SOCK_SEQPACKET : SOCK_DGRAM, 0, pair) != 0) {
            give_up("a socket pair");
        }
        app->inlet = app->outlet = pair[0];
        app->pump_ends[0] = app->pump_ends[1] = pair[1];
        start(pump, app);
        break;
    case PIPES:
        if (pipe(pair) != 0 || pipe(back) != 0) {
            give_up("pipes");
        }
        app->inlet = pair[0];
        app->pump_ends[1] = pair[1];
        app->pump_ends[0] = back[0];
        app->outlet = back[1];
        start(pump, app);
        break;
    case QUEUED:
        start(drain, app);
        break;
    }
}

size_t link_receive(App *app, uint8_t *frame)
{
    ssize_t got;
    if (app->habits.threads == REQUESTS) {
        Frame *next = queue_take(&app->requests, false);
        if (next == NULL) {
            return 0;
        }
        memcpy(frame, next->data, next->len);
        got = (ssize_t)next->len;
        free(next);
    } else if (app->habits.link == PIPES) {
        struct pollfd one = { .fd = app->inlet, .events = POLLIN };
        got = poll(&one, 1, 0) > 0 ? (ssize_t)take_from_pipe(app->inlet, frame) : 0;
    } else if (app->inlet != app->tap) {
        got = recv(app->inlet, frame, LONGEST_FRAME, MSG_DONTWAIT);
    } else {
        got = read(app->inlet, frame, LONGEST_FRAME);
    }
    if (got <= 0) {
        return 0;
    }
    atomic_fetch_add(&app->frames_in, 1);
    return (size_t)got;
}

/* A card that answers before the call returns: the guest's frames go in from inside send_packet. */
static void reenter(App *app)
{
    if (app->depth >= DEEPEST) {
        return;
    }
    app->depth++;
    uint8_t *frame = malloc(LONGEST_FRAME);
    size_t len;
    while (frame != NULL && (len = link_receive(app, frame)) > 0) {
        app->library.input(app->slirp, frame, (int)len);
    }
    free(frame);
    app->depth--;
}

slirp_ssize_t link_send(App *app, const void *data, size_t len)
{
    const Habits *habits = &app->habits;
    size_t mtu = habits->mtu > 0 ? habits->mtu : 1500;
    atomic_fetch_add(&app->frames_out, 1);
    if (len > mtu + 14) {
        violation("a frame of %zu bytes at MTU %zu", len, mtu);
    }
    if (habits->drops_over > 0 && len > habits->drops_over) {
        violation("a frame of %zu bytes is dropped, %zu is the most", len, habits->drops_over);
        return -1;
    }
    if (habits->mute_at_first && !atomic_load(&app->polled)) {
        violation("a frame before the first poll");
        return -1;
    }
    if (habits->loses_every > 0 && ++app->sent % habits->loses_every == 0) {
        return -1;
    }
    slirp_ssize_t result = (slirp_ssize_t)len;
    atomic_store(&app->in_send, true);
    switch (habits->link) {
    case TAP:
        result = write(app->outlet, data, len);
        break;
    case SEQPACKET:
        result = send(app->outlet, data, len, 0);
        break;
    case DATAGRAMS:
        result = send(app->outlet, data, len, MSG_DONTWAIT);
        break;
    case PIPES:
        put_in_pipe(app->outlet, data, len);
        break;
    case QUEUED:
        queue_put(&app->outgoing, data, len);
        break;
    }
    atomic_store(&app->in_send, false);
    if (habits->reenters) {
        reenter(app);
    }
    return habits->says_zero ? 0 : result;
}

void queue_put(FrameQueue *queue, const void *data, size_t len)
{
    Frame *frame = malloc(sizeof(Frame) + len);
    if (frame == NULL) {
        return;
    }
    frame->next = NULL;
    frame->len = len;
    memcpy(frame->data, data, len);
    pthread_mutex_lock(&queue->lock);
    if (queue->first == NULL) {
        queue->last = &queue->first;
    }
    *queue->last = frame;
    queue->last = &frame->next;
    pthread_cond_signal(&queue->more);
    pthread_mutex_unlock(&queue->lock);
}

Frame *queue_take(FrameQueue *queue, bool wait)
{
    pthread_mutex_lock(&queue->lock);
    while (wait && queue->first == NULL) {
        pthread_cond_wait(&queue->more, &queue->lock);
    }
    Frame *frame = queue->first;
    if (frame != NULL) {
        queue->first = frame->next;
    }
    pthread_mutex_unlock(&queue->lock);
    return frame;
}
