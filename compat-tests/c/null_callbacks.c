/*
 * What the library may read and call at each configuration version, and what
 * it must bear: short structures, missing callbacks, missing handles, bad
 * configurations.
 *
 * Each structure ends where an unreadable page begins, so that reading one
 * byte too many ends the program.
 */
#define _GNU_SOURCE
#include <slirp/libslirp.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "page_end.h"

static SlirpConfig usual_config(uint32_t version)
{
    SlirpConfig config;
    memset(&config, 0, sizeof(config));
    config.version = version;
    config.in_enabled = true;
    config.vnetwork.s_addr = htonl(0x0a000200);
    config.vnetmask.s_addr = htonl(0xffffff00);
    config.vhost.s_addr = htonl(0x0a000202);
    config.vdhcp_start.s_addr = htonl(0x0a00020f);
    config.vnameserver.s_addr = htonl(0x0a000203);
    config.vprefix_len = 64;
    inet_pton(AF_INET6, "fec0::", &config.vprefix_addr6);
    inet_pton(AF_INET6, "fec0::2", &config.vhost6);
    inet_pton(AF_INET6, "fec0::3", &config.vnameserver6);
    return config;
}

/* The names of the callbacks in the order in which they were called. */
static char calls[4096];
static int opaque_token;
static Slirp *completed;

static void called(const char *name, void *opaque)
{
    if (opaque != &opaque_token) {
        name = "wrong-opaque";
    }
    if (strlen(calls) + strlen(name) + 2 < sizeof(calls)) {
        strcat(calls, name);
        strcat(calls, " ");
    }
}

static slirp_ssize_t send_packet(const void *frame, size_t len, void *opaque)
{
    (void)frame;
    called("send_packet", opaque);
    return (slirp_ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
    (void)msg;
    called("guest_error", opaque);
}

static int64_t clock_get_ns(void *opaque)
{
    return opaque == &opaque_token ? 1000000000 : 0;
}

static void *timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
    (void)cb;
    (void)cb_opaque;
    called("timer_new", opaque);
    return NULL;
}

static void timer_free(void *timer, void *opaque)
{
    called(timer == NULL ? "timer_free" : "timer_free(wrong)", opaque);
}

static void timer_mod(void *timer, int64_t expire_time, void *opaque)
{
    int64_t delay = expire_time - 1000;
    called(timer != NULL ? "timer_mod(wrong)" : delay >= 200000 && delay < 600000 ? "timer_mod" : "timer_mod(late)",
           opaque);
}

static void register_poll_fd(int fd, void *opaque)
{
    called(fd >= 0 ? "register_fd" : "register_fd(none)", opaque);
}

static void unregister_poll_fd(int fd, void *opaque)
{
    called(fd >= 0 ? "unregister_fd" : "unregister_fd(none)", opaque);
}

static void notify(void *opaque)
{
    called("notify", opaque);
}

static void init_completed(Slirp *slirp, void *opaque)
{
    completed = slirp;
    called("init_completed", opaque);
}

static void *timer_new_opaque(SlirpTimerId id, void *cb_opaque, void *opaque)
{
    called(id == SLIRP_TIMER_RA && cb_opaque == NULL ? "timer_new_opaque" : "timer_new_opaque(wrong)", opaque);
    return NULL;
}

static void register_poll_socket(slirp_os_socket socket, void *opaque)
{
    called(socket != SLIRP_INVALID_SOCKET ? "register_socket" : "register_socket(none)", opaque);
}

static void unregister_poll_socket(slirp_os_socket socket, void *opaque)
{
    called(socket != SLIRP_INVALID_SOCKET ? "unregister_socket" : "unregister_socket(none)", opaque);
}

static const SlirpCb all_callbacks = {
    send_packet,      guest_error,        clock_get_ns,         timer_new,
    timer_free,       timer_mod,          register_poll_fd,     unregister_poll_fd,
    notify,           init_completed,     timer_new_opaque,     register_poll_socket,
    unregister_poll_socket,
};

static int never_poll(int fd, int events, void *opaque)
{
    (void)fd;
    (void)events;
    (void)opaque;
    return -1;
}

static int all_events(int idx, void *opaque)
{
    (void)idx;
    (void)opaque;
    return SLIRP_POLL_IN | SLIRP_POLL_OUT | SLIRP_POLL_PRI | SLIRP_POLL_ERR | SLIRP_POLL_HUP;
}

static slirp_ssize_t sink(const void *buf, size_t len, void *opaque)
{
    (void)buf;
    (void)opaque;
    return (slirp_ssize_t)len;
}

static slirp_ssize_t nothing_to_read(void *buf, size_t len, void *opaque)
{
    (void)buf;
    (void)len;
    (void)opaque;
    return 0;
}

/* Frames of several kinds: too short, ARP, a DHCP discover, TCP and UDP to the host, NC-SI, IPv6, random bytes. */
static void feed_frames(Slirp *slirp)
{
    static const uint8_t arp[42] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 6,
                                     0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 10, 0, 2, 15,
                                     0, 0, 0, 0, 0, 0, 10, 0, 2, 2 };
    static const uint8_t syn[54] = { 0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 0,
                                     0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0x62, 0xbd, 10, 0, 2, 15, 10, 0, 2, 2,
                                     0x12, 0x34, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0 };
    static const uint8_t ra[14 + 40 + 16] = { 0x33, 0x33, 0, 0, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x86, 0xdd,
                                              0x60, 0, 0, 0, 0, 16, 58, 255, 0xfe, 0x80, 0, 0, 0, 0, 0, 0,
                                              0, 0, 0, 0, 0, 0, 0, 9, 0xff, 2, 0, 0, 0, 0, 0, 0,
                                              0, 0, 0, 0, 0, 0, 0, 1, 134, 0, 0, 0 };
    static const uint16_t types[] = { 0x0800, 0x0806, 0x86dd, 0x88f8, 0x8100, 0x0001 };
    uint8_t frame[1600];
    uint32_t random = 1;
    slirp_input(slirp, arp, sizeof(arp));
    slirp_input(slirp, syn, sizeof(syn));
    slirp_input(slirp, ra, sizeof(ra));
    slirp_input(slirp, arp, 0);
    slirp_input(slirp, arp, 13);
    slirp_input(slirp, arp, -1);
    for (int round = 0; round < 600; round++) {
        int length = 14 + (round * 37) % (int)(sizeof(frame) - 14);
        for (int i = 0; i < length; i++) {
            random = random * 1664525u + 1013904223u;
            frame[i] = (uint8_t)(random >> 24);
        }
        frame[12] = (uint8_t)(types[round % 6] >> 8);
        frame[13] = (uint8_t)types[round % 6];
        if (round % 6 == 0) {
            frame[14] = 0x45;
        }
        slirp_input(slirp, frame, length);
    }
}

static void turn(Slirp *slirp, int select_error)
{
    uint32_t timeout = 0;
    slirp_pollfds_fill(slirp, &timeout, never_poll, NULL);
    slirp_pollfds_poll(slirp, select_error, all_events, NULL);
    slirp_pollfds_fill_socket(slirp, &timeout, never_poll, NULL);
    slirp_pollfds_poll(slirp, select_error, all_events, NULL);
}

/* Uses every function of an instance; none may call what is not there. */
static void use_everything(Slirp *slirp)
{
    struct in_addr any = { htonl(INADDR_ANY) }, local = { htonl(INADDR_LOOPBACK) };
    struct in_addr forward = any;
    uint8_t byte = 0;
    feed_frames(slirp);
    turn(slirp, 0);
    turn(slirp, 1);
    CHECK(slirp_add_guestfwd(slirp, sink, NULL, &forward, 1234) == 0, "callback forward");
    CHECK(forward.s_addr == htonl(0x0a000204), "default address %08x", (unsigned)ntohl(forward.s_addr));
    CHECK(slirp_socket_can_recv(slirp, forward, 1234) == 0, "no connection yet");
    slirp_socket_recv(slirp, forward, 1234, &byte, 1);
    CHECK(slirp_remove_guestfwd(slirp, forward, 1234) == 0, "removal");
    CHECK(slirp_remove_guestfwd(slirp, forward, 1234) == -1, "second removal");
    CHECK(slirp_add_hostfwd(slirp, 0, local, 0, any, 22) == 0, "host forward: %s", strerror(errno));
    CHECK(slirp_remove_hostfwd(slirp, 0, local, 1) == -1, "no such forward");
    char *connections = slirp_connection_info(slirp);
    char *neighbors = slirp_neighbor_info(slirp);
    CHECK(connections != NULL && strstr(connections, "HOST_FORWARD") != NULL, "%s", connections);
    CHECK(neighbors != NULL && strstr(neighbors, "MacAddr") != NULL, "%s", neighbors);
    free(connections);
    free(neighbors);
    slirp_handle_timer(slirp, SLIRP_TIMER_RA, NULL);
    slirp_handle_timer(slirp, (SlirpTimerId)77, NULL);
    slirp_state_save(slirp, sink, NULL);
    turn(slirp, 0);
}

/* Callbacks that are all missing, in tables of every version and without a table, with and without IPv6. */
static void missing_callbacks(void)
{
    SlirpCb none;
    memset(&none, 0, sizeof(none));
    for (uint32_t version = 1; version <= 6; version++) {
        for (int with_ipv6 = 0; with_ipv6 < 2; with_ipv6++) {
            SlirpConfig config = usual_config(version);
            config.in6_enabled = with_ipv6;
            const SlirpConfig *cfg = at_page_end(&config, config_sizes[version]);
            Slirp *slirp = slirp_new(cfg, at_page_end(&none, callback_sizes[version]), NULL);
            CHECK(slirp != NULL, "version %u, no callback", version);
            if (slirp != NULL) {
                use_everything(slirp);
                slirp_cleanup(slirp);
            }
            slirp = slirp_new(cfg, NULL, NULL);
            CHECK(slirp != NULL, "version %u, no table", version);
            if (slirp != NULL) {
                use_everything(slirp);
                slirp_cleanup(slirp);
            }
        }
    }
}

/* Which callbacks are used at which version, and in which order. */
static void callback_versions(void)
{
    for (uint32_t version = 1; version <= 6; version++) {
        SlirpConfig config = usual_config(version);
        struct in_addr any = { htonl(INADDR_ANY) }, local = { htonl(INADDR_LOOPBACK) };
        config.in6_enabled = true;
        /* Members of later versions hold garbage that must not be looked at. */
        char padded[192];
        memset(padded, 0xa5, sizeof(padded));
        memcpy(padded, &config, config_sizes[version]);
        const SlirpCb *callbacks = at_page_end(&all_callbacks, callback_sizes[version]);
        calls[0] = '\0';
        completed = NULL;
        Slirp *slirp = slirp_new((const SlirpConfig *)padded, callbacks, &opaque_token);
        CHECK(slirp != NULL, "version %u", version);
        const char *wanted = version < 4 ? "timer_new timer_mod " : "init_completed timer_new_opaque timer_mod ";
        CHECK(strcmp(calls, wanted) == 0, "version %u: %s", version, calls);
        CHECK(completed == (version < 4 ? NULL : slirp), "version %u", version);
        if (slirp == NULL) {
            continue;
        }
        calls[0] = '\0';
        CHECK(slirp_add_hostfwd(slirp, 0, local, 0, any, 22) == 0, "host forward");
        const char *announced = version < 6 ? "register_fd " : "register_socket ";
        CHECK(strstr(calls, announced) != NULL, "version %u: %s", version, calls);
        CHECK(strstr(calls, version < 6 ? "_socket" : "_fd") == NULL, "version %u: %s", version, calls);
        calls[0] = '\0';
        slirp_cleanup(slirp);
        announced = version < 6 ? "unregister_fd " : "unregister_socket ";
        CHECK(strstr(calls, announced) != NULL, "version %u: %s", version, calls);
        const char *last = strstr(calls, "timer_free ");
        CHECK(last != NULL && strcmp(last, "timer_free ") == 0, "version %u: %s", version, calls);
        CHECK(strstr(calls, "send_packet") == NULL, "version %u: %s", version, calls);
    }
}

/* The newest version with only the callbacks of version 1. */
static void old_callbacks_at_the_newest_version(void)
{
    SlirpConfig config = usual_config(6);
    SlirpCb callbacks = all_callbacks;
    struct in_addr any = { htonl(INADDR_ANY) }, local = { htonl(INADDR_LOOPBACK) };
    config.in6_enabled = true;
    callbacks.init_completed = NULL;
    callbacks.timer_new_opaque = NULL;
    callbacks.register_poll_socket = NULL;
    callbacks.unregister_poll_socket = NULL;
    calls[0] = '\0';
    Slirp *slirp = slirp_new(&config, &callbacks, &opaque_token);
    CHECK(slirp != NULL, "no instance");
    CHECK(strcmp(calls, "timer_new timer_mod ") == 0, "%s", calls);
    CHECK(slirp_add_hostfwd(slirp, 0, local, 0, any, 22) == 0, "host forward");
    CHECK(strstr(calls, "register_fd ") != NULL, "%s", calls);
    slirp_cleanup(slirp);
    CHECK(strstr(calls, "unregister_fd ") != NULL, "%s", calls);

    config.in6_enabled = false;
    calls[0] = '\0';
    slirp = slirp_new(&config, &callbacks, &opaque_token);
    slirp_cleanup(slirp);
    CHECK(calls[0] == '\0', "without IPv6 there is no timer: %s", calls);
}

static void try_config(const SlirpConfig *config, bool good, const char *what)
{
    Slirp *slirp = slirp_new(config, &all_callbacks, &opaque_token);
    CHECK((slirp != NULL) == good, "%s", what);
    slirp_cleanup(slirp);
}

static void limits_of_the_configuration(void)
{
    char name[129];
    memset(name, 'b', sizeof(name));
    name[128] = '\0';
    try_config(NULL, false, "no configuration");
    static const struct {
        size_t mtu, mru;
        uint32_t version;
        bool good;
    } rows[] = {
        { 0, 0, 0, false },     { 0, 0, 7, false },        { 0, 0, UINT32_MAX, false }, { 0, 0, 1, true },
        { 67, 0, 1, false },    { 68, 0, 1, true },        { 65521, 0, 1, true },       { 65522, 0, 1, false },
        { 0, 67, 1, false },    { 0, 68, 1, true },        { 0, 65521, 1, true },       { 0, 65522, 1, false },
        { SIZE_MAX, 0, 1, false }, { 0, SIZE_MAX, 1, false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        SlirpConfig config = usual_config(rows[i].version);
        char what[80];
        config.if_mtu = rows[i].mtu;
        config.if_mru = rows[i].mru;
        snprintf(what, sizeof(what), "version %u mtu %zu mru %zu", rows[i].version, rows[i].mtu, rows[i].mru);
        try_config(&config, rows[i].good, what);
    }
    SlirpConfig config = usual_config(1);
    config.bootfile = name;
    try_config(&config, false, "bootfile of 128 bytes");
    config.bootfile = name + 1;
    try_config(&config, true, "bootfile of 127 bytes");
    config.bootfile = NULL;
    config.vhostname = name;
    const char *bad_names[] = { "..", "", NULL };
    const char *no_names[] = { NULL };
    config.vdnssearch = bad_names;
    try_config(&config, true, "search list with bad names");
    config.vdnssearch = no_names;
    try_config(&config, true, "empty search list");
    /* Truth values other than 0 and 1, as an uninitialised structure has them. */
    memset(&config.in_enabled, 0x40, sizeof(config.in_enabled));
    memset(&config.disable_host_loopback, 0xff, sizeof(config.disable_host_loopback));
    try_config(&config, true, "odd truth values");
}

static void missing_handles(void)
{
    struct in_addr any = { htonl(INADDR_ANY) }, forward = any;
    struct sockaddr_in address;
    const struct sockaddr *sa = (const struct sockaddr *)&address;
    uint32_t timeout = 700;
    uint8_t byte = 0;
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    slirp_cleanup(NULL);
    slirp_pollfds_fill(NULL, &timeout, never_poll, NULL);
    slirp_pollfds_fill_socket(NULL, &timeout, never_poll, NULL);
    CHECK(timeout == 700, "%u", timeout);
    slirp_pollfds_poll(NULL, 0, all_events, NULL);
    slirp_input(NULL, &byte, 1);
    slirp_handle_timer(NULL, SLIRP_TIMER_RA, NULL);
    CHECK(slirp_add_hostfwd(NULL, 0, any, 0, any, 22) == -1, "add_hostfwd");
    CHECK(slirp_remove_hostfwd(NULL, 0, any, 1) == -1, "remove_hostfwd");
    CHECK(slirp_add_hostxfwd(NULL, sa, sizeof(address), sa, sizeof(address), 0) == -1, "add_hostxfwd");
    CHECK(slirp_remove_hostxfwd(NULL, sa, sizeof(address), 0) == -1, "remove_hostxfwd");
    CHECK(slirp_add_exec(NULL, "true", &forward, 1) == -1, "add_exec");
    CHECK(slirp_add_unix(NULL, "/nonexistent", &forward, 1) == -1, "add_unix");
    CHECK(slirp_add_guestfwd(NULL, sink, NULL, &forward, 1) == -1, "add_guestfwd");
    CHECK(slirp_remove_guestfwd(NULL, forward, 1) == -1, "remove_guestfwd");
    CHECK(slirp_socket_can_recv(NULL, forward, 1) == 0, "can_recv");
    slirp_socket_recv(NULL, forward, 1, &byte, 1);
    CHECK(slirp_connection_info(NULL) == NULL, "connection_info");
    CHECK(slirp_neighbor_info(NULL) == NULL, "neighbor_info");
    CHECK(slirp_state_save(NULL, sink, NULL) < 0, "state_save");
    CHECK(slirp_state_load(NULL, 4, nothing_to_read, NULL) < 0, "state_load");
}

/* Arguments that are NULL although the instance is not. */
static void missing_arguments(void)
{
    SlirpConfig config = usual_config(6);
    struct in_addr any = { htonl(INADDR_ANY) }, forward = any;
    uint32_t timeout = 700;
    Slirp *slirp = slirp_new(&config, &all_callbacks, &opaque_token);
    CHECK(slirp != NULL, "no instance");
    if (slirp == NULL) {
        return;
    }
    slirp_pollfds_fill(slirp, NULL, never_poll, NULL);
    slirp_pollfds_fill(slirp, &timeout, NULL, NULL);
    slirp_pollfds_fill_socket(slirp, NULL, NULL, NULL);
    slirp_pollfds_poll(slirp, 0, NULL, NULL);
    slirp_input(slirp, NULL, 100);
    CHECK(slirp_add_hostxfwd(slirp, NULL, 0, NULL, 0, 0) == -1, "add_hostxfwd");
    CHECK(slirp_remove_hostxfwd(slirp, NULL, 0, 0) == -1, "remove_hostxfwd");
    CHECK(slirp_add_exec(slirp, NULL, &forward, 1) == -1, "add_exec without command");
    CHECK(slirp_add_unix(slirp, NULL, &forward, 1) == -1, "add_unix without path");
    CHECK(slirp_add_guestfwd(slirp, sink, NULL, NULL, 1) == -1, "add_guestfwd without address");
    slirp_socket_recv(slirp, forward, 1, NULL, 1);
    CHECK(slirp_state_save(slirp, NULL, NULL) < 0, "state_save without callback");
    CHECK(slirp_state_load(slirp, 4, NULL, NULL) < 0, "state_load without callback");
    slirp_cleanup(slirp);
}

int main(void)
{
    slirp_set_debug(0);
    slirp_reset_debug(~0u);
    missing_callbacks();
    callback_versions();
    old_callbacks_at_the_newest_version();
    limits_of_the_configuration();
    missing_handles();
    missing_arguments();
    CHECK(slirp_state_version() == 4, "%d", slirp_state_version());
    CHECK(strncmp(slirp_version_string(), "4.9.5", 5) == 0, "%s", slirp_version_string());
    return checks_finish();
}
