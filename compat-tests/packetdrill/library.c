/*
 * An instance of libslirp in virtual time. The library is opened when the plug-in
 * starts, by the path in the environment variable SLIRP_LIB, so that one build serves
 * for any.
 *
 * The host's sockets on loopback answer at once, so time has to pass only for the
 * library: the clock stands still until everything is done, then jumps to the next
 * moment that anybody waits for.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <slirp/libslirp.h>

/* A library that never comes to rest at one moment is cut off after this many rounds. */
#define ROUNDS_MAX 200
/* How long the host's loopback may take, in milliseconds of real time. */
#define HOST_PATIENCE 1
/* The least step when the library wants to run at once but has nothing to do. */
#define LEAST_STEP (100 * MICROSECOND)
/* How long a call of the main thread may wait, as nothing can happen after it that the script could do. */
#define WAIT_MAX (600LL * 1000 * MILLISECOND)

pthread_mutex_t rig_lock = PTHREAD_MUTEX_INITIALIZER;
int64_t rig_now = 1000000000LL * 1000 * MILLISECOND;
size_t rig_mtu = 1500;
bool rig_relaxed;

static struct {
    Slirp *(*new_instance)(const SlirpConfig *, const SlirpCb *, void *);
    void (*cleanup)(Slirp *);
    void (*fill)(Slirp *, uint32_t *, SlirpAddPollCb, void *);
    void (*poll)(Slirp *, int, SlirpGetREventsCb, void *);
    void (*input)(Slirp *, const uint8_t *, int);
    int (*add_hostxfwd)(Slirp *, const struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t, int);
    void (*handle_timer)(Slirp *, SlirpTimerId, void *);
} api;

struct timer {
    SlirpTimerId id;
    void *argument;
    int64_t expires;
};

static void *handle;
static Slirp *slirp;
static bool notified, came_out;
static struct timer timers[SLIRP_TIMER_NUM];
static struct pollfd *fds;
static int fds_len, fds_room;
static struct waiting *waiter;
static pthread_cond_t waiter_over = PTHREAD_COND_INITIALIZER;
static uint16_t forwarded[2][8];

static slirp_ssize_t send_packet(const void *frame, size_t len, void *opaque)
{
    (void)opaque;
    came_out = true;
    wire_frame(frame, len);
    return (slirp_ssize_t)len;
}

static void guest_error(const char *message, void *opaque)
{
    (void)opaque;
    fprintf(stderr, "guest error: %s\n", message);
}

static int64_t clock_get_ns(void *opaque)
{
    (void)opaque;
    return rig_now;
}

static void *timer_new(SlirpTimerId id, void *argument, void *opaque)
{
    (void)opaque;
    timers[id] = (struct timer){ .id = id, .argument = argument, .expires = INT64_MAX };
    return &timers[id];
}

static void timer_free(void *timer, void *opaque)
{
    (void)opaque;
    ((struct timer *)timer)->expires = INT64_MAX;
}

static void timer_mod(void *timer, int64_t expires, void *opaque)
{
    (void)opaque;
    ((struct timer *)timer)->expires = expires * MILLISECOND;
}

static void watch(int fd, void *opaque)
{
    (void)fd, (void)opaque;
}

static void notify(void *opaque)
{
    (void)opaque;
    notified = true;
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = guest_error,
    .clock_get_ns = clock_get_ns,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = watch,
    .unregister_poll_fd = watch,
    .notify = notify,
    .timer_new_opaque = timer_new,
};

static void *symbol(const char *name)
{
    void *found = dlsym(handle, name);
    if (found == NULL) {
        fprintf(stderr, "the library has no %s\n", name);
        exit(1);
    }
    return found;
}

void library_open(void)
{
    const char *path = getenv("SLIRP_LIB");
    handle = dlopen(path != NULL ? path : "libslirp.so.0", RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    *(void **)&api.new_instance = symbol("slirp_new");
    *(void **)&api.cleanup = symbol("slirp_cleanup");
    *(void **)&api.fill = symbol("slirp_pollfds_fill");
    *(void **)&api.poll = symbol("slirp_pollfds_poll");
    *(void **)&api.input = symbol("slirp_input");
    *(void **)&api.add_hostxfwd = symbol("slirp_add_hostxfwd");
    *(void **)&api.handle_timer = symbol("slirp_handle_timer");

    for (int id = 0; id < SLIRP_TIMER_NUM; id++)
        timers[id].expires = INT64_MAX;
    SlirpConfig config = {
        .version = 4,
        .in_enabled = true,
        .vnetwork.s_addr = htonl(0x0a000200),
        .vnetmask.s_addr = htonl(0xffffff00),
        .vhost.s_addr = htonl(0x0a000202),
        .vdhcp_start.s_addr = htonl(0x0a00020f),
        .vnameserver.s_addr = htonl(0x0a000203),
        .in6_enabled = true,
        .vprefix_len = 64,
        .if_mtu = rig_mtu,
        /* Scripts send as a network card does that joins segments: more than an MTU in one packet. */
        .if_mru = 65521,
    };
    inet_pton(AF_INET6, "fec0::", &config.vprefix_addr6);
    inet_pton(AF_INET6, "fec0::2", &config.vhost6);
    inet_pton(AF_INET6, "fec0::3", &config.vnameserver6);
    slirp = api.new_instance(&config, &callbacks, NULL);
    if (slirp == NULL) {
        fprintf(stderr, "slirp_new failed\n");
        exit(1);
    }
}

void library_close(void)
{
    api.cleanup(slirp);
    slirp = NULL;
    free(fds);
    fds = NULL;
    fds_room = 0;
}

int library_forward(int family, uint16_t port)
{
    uint16_t *known = forwarded[family == AF_INET6];
    int free_slot = -1;
    for (int i = 7; i >= 0; i--) {
        if (known[i] == port)
            return 0;
        if (known[i] == 0)
            free_slot = i;
    }
    if (free_slot < 0) {
        errno = ENOBUFS;
        return -1;
    }
    int result;
    uint16_t listening = port + FORWARD_OFFSET;
    if (family == AF_INET6) {
        struct sockaddr_in6 host = { .sin6_family = AF_INET6, .sin6_port = htons(listening), .sin6_addr = in6addr_loopback };
        struct sockaddr_in6 guest = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
        inet_pton(AF_INET6, "fec0::f", &guest.sin6_addr);
        result = api.add_hostxfwd(slirp, (struct sockaddr *)&host, sizeof host, (struct sockaddr *)&guest, sizeof guest, 0);
    } else {
        struct sockaddr_in host = { .sin_family = AF_INET, .sin_port = htons(listening) };
        struct sockaddr_in guest = { .sin_family = AF_INET, .sin_port = htons(port) };
        host.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        guest.sin_addr.s_addr = htonl(0x0a00020f);
        result = api.add_hostxfwd(slirp, (struct sockaddr *)&host, sizeof host, (struct sockaddr *)&guest, sizeof guest, 0);
    }
    if (result == 0)
        known[free_slot] = port;
    return result;
}

void library_input(const void *frame, size_t len)
{
    api.input(slirp, frame, (int)len);
}

static int add_poll(int fd, int events, void *opaque)
{
    (void)opaque;
    if (fds_len == fds_room) {
        fds_room = fds_room * 2 + 16;
        fds = realloc(fds, sizeof *fds * fds_room);
        if (fds == NULL)
            abort();
    }
    short wanted = 0;
    if (events & SLIRP_POLL_IN)
        wanted |= POLLIN;
    if (events & SLIRP_POLL_OUT)
        wanted |= POLLOUT;
    if (events & SLIRP_POLL_PRI)
        wanted |= POLLPRI;
    fds[fds_len] = (struct pollfd){ .fd = fd, .events = wanted };
    return fds_len++;
}

static int get_revents(int index, void *opaque)
{
    (void)opaque;
    short got = fds[index].revents;
    return (got & POLLIN ? SLIRP_POLL_IN : 0) | (got & POLLOUT ? SLIRP_POLL_OUT : 0) | (got & POLLPRI ? SLIRP_POLL_PRI : 0) |
           (got & POLLERR ? SLIRP_POLL_ERR : 0) | (got & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static bool run_timers(void)
{
    bool ran = false;
    for (int id = 0; id < SLIRP_TIMER_NUM; id++) {
        if (timers[id].expires <= rig_now) {
            timers[id].expires = INT64_MAX;
            api.handle_timer(slirp, timers[id].id, timers[id].argument);
            ran = true;
        }
    }
    return ran;
}

/* One turn of an application's loop, without sleeping. Whether something happened; and when the library wants to run. */
static bool turn(int64_t *next)
{
    uint32_t timeout = UINT32_MAX;
    bool busy = wire_answer() | run_timers();
    came_out = notified = false;
    fds_len = 0;
    api.fill(slirp, &timeout, add_poll, NULL);
    int ready = poll(fds, fds_len, 0);
    if (ready == 0 && !busy && fds_len > 0)
        ready = poll(fds, fds_len, HOST_PATIENCE);
    api.poll(slirp, ready < 0, get_revents, NULL);
    *next = timeout == UINT32_MAX ? INT64_MAX : rig_now + (int64_t)timeout * MILLISECOND;
    for (int id = 0; id < SLIRP_TIMER_NUM; id++)
        *next = timers[id].expires < *next ? timers[id].expires : *next;
    return busy || ready > 0 || came_out || notified;
}

/* As library_settle; returns when the library wants to run next. */
static int64_t settle(void)
{
    int64_t next = INT64_MAX;
    for (int round = 0; round < ROUNDS_MAX && turn(&next); round++)
        ;
    if (waiter != NULL && !waiter->over) {
        struct waiting *call = waiter;
        bool late = call->deadline >= 0 && rig_now >= call->deadline;
        if (call->attempt(call) || late) {
            call->over = true;
            call->over_at = rig_now;
            waiter = NULL;
            pthread_cond_broadcast(&waiter_over);
            /* What the call did may have consequences. */
            return settle();
        }
    }
    return next;
}

void library_settle(void)
{
    settle();
}

/* One step of the clock, at most to `target`. */
static void step(int64_t next, int64_t target)
{
    if (next <= rig_now)
        next = rig_now + LEAST_STEP;
    if (waiter != NULL && waiter->deadline >= 0 && waiter->deadline < next)
        next = waiter->deadline > rig_now ? waiter->deadline : rig_now + LEAST_STEP;
    rig_now = next < target ? next : target;
}

void library_advance(int64_t target, bool until_packet)
{
    for (;;) {
        int64_t next = settle();
        if ((until_packet && wire_waiting()) || rig_now >= target)
            return;
        step(next, target);
    }
}

static bool is_main_thread(void)
{
    return syscall(SYS_gettid) == getpid();
}

long library_wait(struct waiting *call)
{
    settle();
    bool over = call->attempt(call);
    if (over || (call->deadline >= 0 && call->deadline <= rig_now)) {
        settle();
        call->over_at = rig_now;
    } else if (is_main_thread()) {
        int64_t end = rig_now + WAIT_MAX;
        while (!over && rig_now < end && (call->deadline < 0 || rig_now < call->deadline)) {
            step(settle(), call->deadline >= 0 && call->deadline < end ? call->deadline : end);
            settle();
            over = call->attempt(call);
        }
        settle();
        call->over_at = rig_now;
    } else {
        waiter = call;
        while (!call->over)
            pthread_cond_wait(&waiter_over, &rig_lock);
    }
    errno = call->error;
    return call->result;
}
