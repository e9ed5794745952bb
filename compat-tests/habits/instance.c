/* The callbacks, and an instance with exactly those that its row names. */
#include "habits.h"

#include "../c/page_end.h"

#include <arpa/inet.h>
#include <errno.h>

void callback_enters(App *app)
{
    if (atomic_load(&app->cleaned)) {
        atomic_fetch_add(&app->late_callbacks, 1);
        violation("a callback after slirp_cleanup has returned");
    }
}

static slirp_ssize_t send_packet(const void *data, size_t len, void *opaque)
{
    App *app = opaque;
    callback_enters(app);
    if (atomic_load(&app->in_new)) {
        violation("a frame from inside slirp_new");
    }
    if (atomic_load(&app->in_cleanup)) {
        violation("a frame from inside slirp_cleanup");
    }
    return link_send(app, data, len);
}

static void guest_error(const char *text, void *opaque)
{
    callback_enters(opaque);
    violation("guest_error: %s", text);
}

static int64_t clock_get_ns(void *opaque)
{
    callback_enters(opaque);
    return clock_ns(opaque);
}

static void *timer_new(SlirpTimerCb callback, void *callback_opaque, void *opaque)
{
    callback_enters(opaque);
    return timer_handle(opaque, timer_make(opaque, callback, 0, callback_opaque));
}

static void *timer_new_opaque(SlirpTimerId id, void *callback_opaque, void *opaque)
{
    App *app = opaque;
    callback_enters(app);
    if (app->slirp == NULL && app->habits.callbacks & INIT_COMPLETED) {
        violation("timer_new_opaque before init_completed");
    }
    return timer_handle(app, timer_make(app, NULL, id, callback_opaque));
}

static void timer_free(void *timer, void *opaque)
{
    callback_enters(opaque);
    timer_drop(opaque, timer);
}

static void timer_mod(void *timer, int64_t expires, void *opaque)
{
    callback_enters(opaque);
    timer_arm(opaque, timer, expires);
}

static void notify(void *opaque)
{
    App *app = opaque;
    callback_enters(app);
    if (app->habits.wakes_on_notify) {
        wake_up(app);
    }
}

static void init_completed(Slirp *slirp, void *opaque)
{
    App *app = opaque;
    callback_enters(app);
    app->slirp = slirp;
}

static void registers(int fd, App *app, bool as_socket)
{
    callback_enters(app);
    if (as_socket && app->habits.version < 6) {
        violation("register_poll_socket at version %u", app->habits.version);
    }
    if (fd < 0 || fd >= MOST_DESCRIPTORS) {
        remark("descriptor %d is registered", fd);
    } else if (app->registered[fd]) {
        remark("a descriptor is registered twice");
    } else {
        app->registered[fd] = app->ever_registered[fd] = true;
    }
}

static void unregisters(int fd, App *app)
{
    callback_enters(app);
    if (fd < 0 || fd >= MOST_DESCRIPTORS) {
        remark("descriptor %d is unregistered", fd);
    } else if (!app->registered[fd] && app->habits.callbacks & (REGISTER_FD | REGISTER_SOCKET)) {
        remark("a descriptor is unregistered that was never registered");
    } else {
        app->registered[fd] = false;
    }
}

static void register_fd(int fd, void *opaque)
{
    registers(fd, opaque, false);
}

static void unregister_fd(int fd, void *opaque)
{
    unregisters(fd, opaque);
}

static void register_socket(slirp_os_socket socket, void *opaque)
{
    registers(socket, opaque, true);
}

static void unregister_socket(slirp_os_socket socket, void *opaque)
{
    unregisters(socket, opaque);
}

static SlirpCb callbacks_of(unsigned given)
{
#define GIVEN(bit, function) (given & (bit) ? (function) : NULL)
    return (SlirpCb){
        .send_packet = GIVEN(SEND, send_packet),
        .guest_error = GIVEN(GUEST_ERROR, guest_error),
        .clock_get_ns = GIVEN(CLOCK, clock_get_ns),
        .timer_new = GIVEN(TIMER_NEW, timer_new),
        .timer_free = GIVEN(TIMER_FREE, timer_free),
        .timer_mod = GIVEN(TIMER_MOD, timer_mod),
        .register_poll_fd = GIVEN(REGISTER_FD, register_fd),
        .unregister_poll_fd = GIVEN(UNREGISTER_FD, unregister_fd),
        .notify = GIVEN(NOTIFY, notify),
        .init_completed = GIVEN(INIT_COMPLETED, init_completed),
        .timer_new_opaque = GIVEN(TIMER_NEW_OPAQUE, timer_new_opaque),
        .register_poll_socket = GIVEN(REGISTER_SOCKET, register_socket),
        .unregister_poll_socket = GIVEN(UNREGISTER_SOCKET, unregister_socket),
    };
}

static SlirpConfig config_of(const Habits *habits)
{
    SlirpConfig config;
    memset(&config, 0, sizeof(config));
    config.version = habits->version;
    config.in_enabled = true;
    config.vnetwork.s_addr = inet_addr("10.0.2.0");
    config.vnetmask.s_addr = inet_addr("255.255.255.0");
    config.vhost.s_addr = inet_addr("10.0.2.2");
    config.vdhcp_start.s_addr = inet_addr("10.0.2.15");
    config.vnameserver.s_addr = inet_addr("10.0.2.3");
    config.in6_enabled = !habits->ipv4_only;
    config.vprefix_len = (uint8_t)(habits->prefix < 0 ? 0 : habits->prefix > 0 ? habits->prefix : 64);
    inet_pton(AF_INET6, "fec0::", &config.vprefix_addr6);
    inet_pton(AF_INET6, "fec0::2", &config.vhost6);
    inet_pton(AF_INET6, "fec0::3", &config.vnameserver6);
    config.if_mtu = habits->mtu;
    config.if_mru = habits->no_mru ? 0 : habits->mtu;
    return config;
}

/* A program built against an older library says an older version, and has the older callbacks. */
static void as_of_then(Habits *habits, uint32_t newest)
{
    if (habits->version <= newest) {
        return;
    }
    habits->version = newest;
    if (habits->callbacks & REGISTER_SOCKET) {
        habits->callbacks |= REGISTER_FD;
    }
    if (habits->callbacks & UNREGISTER_SOCKET) {
        habits->callbacks |= UNREGISTER_FD;
    }
}

void instance_new(App *app)
{
    as_of_then(&app->habits, app->library.newest);
    const Habits *habits = &app->habits;
    SlirpConfig config = config_of(habits);
    SlirpCb callbacks = callbacks_of(habits->callbacks);
    void *cfg = at_page_end(&config, config_sizes[habits->version]);
    void *table = at_page_end(&callbacks, callback_sizes[habits->version]);
    atomic_store(&app->in_new, true);
    Slirp *slirp = app->library.new(cfg, habits->no_table ? NULL : table, app);
    atomic_store(&app->in_new, false);
    if (slirp == NULL) {
        violation("slirp_new returned NULL");
    } else if (app->slirp != NULL && app->slirp != slirp) {
        violation("init_completed was given another instance");
    }
    app->slirp = slirp;
    if (habits->short_lived_tables) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        munmap((char *)cfg + config_sizes[habits->version] - page, page);
        munmap((char *)table + callback_sizes[habits->version] - page, page);
    }
}

void instance_forward(App *app)
{
    struct in_addr local = { htonl(INADDR_LOOPBACK) }, any = { htonl(INADDR_ANY) };
    for (int i = 0; i < app->forwards_len; i++) {
        int host = app->forwards[i].host_port, guest = app->forwards[i].guest_port, added;
        if (app->forwards[i].kind == '6') {
            struct sockaddr_in6 from = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)host) }, to = from;
            inet_pton(AF_INET6, "::1", &from.sin6_addr);
            inet_pton(AF_INET6, "fec0::15", &to.sin6_addr);
            to.sin6_port = htons((uint16_t)guest);
            added = app->library.add_hostxfwd(app->slirp, (struct sockaddr *)&from, sizeof(from), (struct sockaddr *)&to,
                                              sizeof(to), 0);
        } else {
            int udp = app->forwards[i].kind == 'u';
            added = app->library.add_hostfwd(app->slirp, udp, local, host, any, guest);
            errno = 0;
            if (app->library.add_hostfwd(app->slirp, udp, local, host, any, guest) != -1 || errno != EADDRINUSE) {
                violation("a second forward on one port: %s", strerror(errno));
            }
        }
        if (added != 0) {
            violation("forward %d: %s", i, strerror(errno));
        }
    }
}
