/*
 * Memory that the application and the library have in hand at once: one buffer
 * for frames both ways, frames and bytes that are given back out of the
 * callback that brought them, a timeout that is part of what the callbacks
 * change, and an instance that ends inside its own callbacks together with all
 * that it was given. A memory checker sees what is touched too late.
 */
#define _GNU_SOURCE
#include <slirp/libslirp.h>


#define GUEST_OWN_LINK
#include "check.h"
#include "guest.h"
#include "host.h"

#define FORWARD_ADDRESS 0x0a000264u /* 10.0.2.100 */
enum { BULK = 200000, FORWARD_PORT = 7 };

/* Where a program can be when its instance ends. */
typedef enum { NOWHERE, SEND_PACKET, GUEST_ERROR, CLOCK, TIMER_MOD, REGISTER, ADD_POLL, GET_REVENTS, FORWARD, WRITE_STATE,
               READ_STATE, WAYS } Way;
static const char *const way_names[] = { "nowhere", "send_packet", "guest_error", "clock_get_ns", "timer_mod", "register_poll_fd",
                                         "add_poll", "get_revents", "a guest forward", "writing a state", "reading a state" };

/* What an instance is given: all of it is on the heap, so that it can be freed. */
typedef struct {
    Guest guest;
    SlirpCb *callbacks;
    uint32_t timeout;
    /* The callback in which the instance ends. */
    Way way;
    /* Frames are given back to the library out of send_packet. */
    bool reflects;
    size_t echoed;
} Program;

static Program *program;
static Way ended_in;
static uint8_t pattern[BULK];
/* The one buffer for frames of both directions. */
static uint8_t wire[65536];

static struct in_addr forward_address(void)
{
    return (struct in_addr){ htonl(FORWARD_ADDRESS) };
}

/* Ends the instance, if this is the place, and frees everything that it was given. */
static void maybe_end(void *opaque, Way way)
{
    Program *it = opaque;
    if (it->way != way) {
        return;
    }
    it->way = NOWHERE;
    slirp_cleanup(it->guest.slirp);
    ended_in = way;
    guest_free(&it->guest);
    memset(it->callbacks, 0xff, sizeof(*it->callbacks));
    free(it->callbacks);
    memset(it, 0xff, sizeof(*it));
    free(it);
    program = NULL;
}

static slirp_ssize_t on_send_packet(const void *frame, size_t len, void *opaque)
{
    Program *it = opaque;
    if (it->reflects) {
        uint8_t *before = malloc(len);
        memcpy(before, frame, len);
        slirp_input(it->guest.slirp, frame, (int)len);
        CHECK(memcmp(before, frame, len) == 0, "the frame changed while it was given back");
        free(before);
    }
    guest_send_packet(frame, len, &it->guest);
    /* What the library has been given, and may still be reading, is overwritten. */
    memcpy(wire, frame, len);
    maybe_end(it, SEND_PACKET);
    return (slirp_ssize_t)len;
}

static void on_guest_error(const char *msg, void *opaque)
{
    (void)msg;
    maybe_end(opaque, GUEST_ERROR);
}

static int64_t on_clock(void *opaque)
{
    maybe_end(opaque, CLOCK);
    return guest_clock_ns(NULL);
}

static void *on_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
    (void)cb;
    (void)cb_opaque;
    return opaque;
}

static void on_timer_free(void *timer, void *opaque)
{
    CHECK(timer == opaque, "another timer");
}

static void on_timer_mod(void *timer, int64_t expire, void *opaque)
{
    (void)timer;
    (void)expire;
    maybe_end(opaque, TIMER_MOD);
}

static void on_register(int fd, void *opaque)
{
    (void)fd;
    maybe_end(opaque, REGISTER);
}

static void on_unregister(int fd, void *opaque)
{
    (void)fd;
    ((Program *)opaque)->timeout = 0;
}

static void on_notify(void *opaque)
{
    ((Program *)opaque)->guest.notified++;
}

static int on_add_poll(int fd, int events, void *opaque)
{
    Program *it = opaque;
    short wanted = (short)((events & SLIRP_POLL_IN ? POLLIN : 0) | (events & SLIRP_POLL_OUT ? POLLOUT : 0));
    Guest *guest = &it->guest;
    guest->fds = grow(guest->fds, &guest->fds_size, sizeof(struct pollfd), guest->fds_len + 1);
    guest->fds[guest->fds_len] = (struct pollfd){ .fd = fd, .events = wanted };
    int index = (int)guest->fds_len++;
    /* It is the library's to set while the call lasts. */
    it->timeout = 123456;
    maybe_end(it, ADD_POLL);
    return index;
}

static int on_get_revents(int index, void *opaque)
{
    Program *it = opaque;
    short found = it->guest.fds[index].revents;
    maybe_end(it, GET_REVENTS);
    return (found & POLLIN ? SLIRP_POLL_IN : 0) | (found & POLLOUT ? SLIRP_POLL_OUT : 0) |
           (found & POLLERR ? SLIRP_POLL_ERR : 0) | (found & POLLHUP ? SLIRP_POLL_HUP : 0);
}

/* An echo: the bytes go back where they lie. */
static slirp_ssize_t on_forward(const void *data, size_t len, void *opaque)
{
    Program *it = opaque;
    it->echoed += len;
    slirp_socket_recv(it->guest.slirp, forward_address(), FORWARD_PORT, data, (int)len);
    maybe_end(it, FORWARD);
    return (slirp_ssize_t)len;
}

static slirp_ssize_t on_write_state(const void *data, size_t len, void *opaque)
{
    (void)data;
    maybe_end(opaque, WRITE_STATE);
    return (slirp_ssize_t)len;
}

/* A state without connections, up to where the instance ends. */
static slirp_ssize_t on_read_state(void *data, size_t len, void *opaque)
{
    memset(data, 0, len);
    maybe_end(opaque, READ_STATE);
    return (slirp_ssize_t)len;
}

static void guest_transmit(Guest *guest, const void *frame, size_t len)
{
    if (program == NULL) {
        return;
    }
    memmove(wire, frame, len);
    slirp_input(guest->slirp, wire, (int)len);
}

static void guest_turn(Guest *guest, uint32_t sleep)
{
    program->timeout = sleep;
    guest->fds_len = 0;
    slirp_pollfds_fill(guest->slirp, &program->timeout, on_add_poll, program);
#ifdef UPSTREAM
    /* It lowers what the callback has left there. */
    program->timeout = program->timeout < sleep ? program->timeout : sleep;
#endif
    CHECK(program->timeout <= sleep, "the timeout is %u", program->timeout);
    int ready = poll(guest->fds, (nfds_t)guest->fds_len, (int)program->timeout);
    slirp_pollfds_poll(guest->slirp, ready < 0, on_get_revents, program);
    handle_arrived(guest);
}

static void start(void)
{
    program = calloc(1, sizeof(*program));
    SlirpCb *callbacks = calloc(1, sizeof(*callbacks));
    callbacks->send_packet = on_send_packet;
    callbacks->guest_error = on_guest_error;
    callbacks->clock_get_ns = on_clock;
    callbacks->timer_new = on_timer_new;
    callbacks->timer_free = on_timer_free;
    callbacks->timer_mod = on_timer_mod;
    callbacks->register_poll_fd = on_register;
    callbacks->unregister_poll_fd = on_unregister;
    callbacks->notify = on_notify;
    program->callbacks = callbacks;
    SlirpConfig *config = calloc(1, sizeof(*config));
    config->version = 4;
    config->in_enabled = true;
    config->in6_enabled = true;
    config->vnetwork.s_addr = htonl(0x0a000200);
    config->vnetmask.s_addr = htonl(0xffffff00);
    config->vhost.s_addr = htonl(ROUTER_ADDRESS);
    config->vdhcp_start.s_addr = htonl(GUEST_ADDRESS);
    config->vnameserver.s_addr = htonl(0x0a000203);
    config->vprefix_len = 64;
    inet_pton(AF_INET6, "fec0::", &config->vprefix_addr6);
    inet_pton(AF_INET6, "fec0::2", &config->vhost6);
    inet_pton(AF_INET6, "fec0::3", &config->vnameserver6);
    /* One text for everything. */
    char *name = strdup("guest");
    config->vhostname = config->vdomainname = config->bootfile = name;
    program->guest.slirp = slirp_new(config, callbacks, program);
    free(name);
    free(config);
    struct in_addr address = forward_address();
    CHECK(slirp_add_guestfwd(program->guest.slirp, on_forward, program, &address, FORWARD_PORT) == 0, "guest forward");
    memcpy(program->guest.router_mac, (const uint8_t[6]){ 0x52, 0x55, 10, 0, 2, 2 }, 6);
    send_arp(&program->guest, 1, broadcast_mac, ROUTER_ADDRESS);
    handle_arrived(&program->guest);
    empty_inbox(&program->guest);
}

static void end(void)
{
    slirp_cleanup(program->guest.slirp);
    guest_free(&program->guest);
    free(program->callbacks);
    free(program);
    program = NULL;
}

static void echo_at_host(void *arg)
{
    int fd = *(int *)arg;
    static uint8_t data[65536];
    ssize_t got;
    while ((got = recv(fd, data, sizeof(data), 0)) > 0) {
        for (ssize_t sent = 0; sent < got;) {
            ssize_t now = send(fd, data + sent, (size_t)(got - sent), MSG_NOSIGNAL);
            sent += now > 0 ? now : 0;
            if (now < 0) {
                guest_turn(&program->guest, 1);
            }
        }
    }
}

/* A connection with a host that says everything again, over one buffer for both ways. */
static void one_buffer(bool reflects)
{
    start();
    program->reflects = reflects;
    Guest *guest = &program->guest;
    uint16_t port;
    int listener = loopback_socket(SOCK_STREAM, &port);
    listen(listener, 8);
    GuestTcp *tcp = new_tcp(guest, ROUTER_ADDRESS, port, 3000);
    guest_connect(guest, tcp);
    CHECK(tcp->established && !tcp->got_rst, "no connection");
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    guest_send(guest, tcp, pattern, BULK, echo_at_host, &fd);
    RUN_UNTIL(guest, tcp->received_len >= BULK, 10000);
    CHECK(tcp->received_len == BULK && memcmp(tcp->received, pattern, BULK) == 0, "%zu bytes came back", tcp->received_len);

    uint16_t udp_port;
    int udp = loopback_socket(SOCK_DGRAM, &udp_port);
    send_udp(guest, guest->router_mac, GUEST_ADDRESS, 4000, ROUTER_ADDRESS, udp_port, pattern, 1000);
    struct pollfd arrives = { .fd = udp, .events = POLLIN };
    poll(&arrives, 1, 2000);
    uint8_t data[1500];
    ssize_t got = recv(udp, data, sizeof(data), 0);
    CHECK(got == 1000 && memcmp(data, pattern, 1000) == 0, "%zd bytes at the host", got);
    close(udp);
    close(fd);
    close(listener);
    end();
}

/* A guest forward that says everything again, out of the memory that its callback is given. */
static void echo_in_place(void)
{
    start();
    Guest *guest = &program->guest;
    GuestTcp *tcp = new_tcp(guest, FORWARD_ADDRESS, FORWARD_PORT, 3001);
    guest_connect(guest, tcp);
    /* As much at a time as the way back has room for. */
    for (size_t sent = 0, size = 20000; sent < BULK; sent += size) {
        guest_send(guest, tcp, pattern + sent, size, NULL, NULL);
        RUN_UNTIL(guest, tcp->received_len >= sent + size, 10000);
    }
    CHECK(program->echoed == BULK, "%zu bytes at the forward", program->echoed);
    CHECK(tcp->received_len == BULK && memcmp(tcp->received, pattern, BULK) == 0, "%zu bytes came back", tcp->received_len);
    end();
}

/* Has the library come to a callback, in which the instance ends. */
static void end_inside(Way way)
{
    start();
    Guest *guest = &program->guest;
    Slirp *slirp = guest->slirp;
    GuestTcp *tcp = new_tcp(guest, FORWARD_ADDRESS, FORWARD_PORT, 3001);
    guest_connect(guest, tcp);
    GuestTcp segment = *tcp;
    segment.received = NULL;
    ended_in = NOWHERE;
    program->way = way;
    switch (way) {
    case SEND_PACKET:
        /* Several frames of one call. */
        slirp_socket_recv(slirp, forward_address(), FORWARD_PORT, pattern, 10000);
        break;
    case GUEST_ERROR: {
        /* A router advertisement that is none of ours. */
        static const uint8_t start_of_frame[] = { 0x33, 0x33, 0, 0, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 16,
                                                  58, 255, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0x12, 0x34, 0x56,
                                                  0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 134, 0, 0, 0, 64 };
        uint8_t frame[70] = { 0 };
        memcpy(frame, start_of_frame, sizeof(start_of_frame));
        uint8_t pseudo[8] = { 0, 0, 0, 16, 0, 0, 0, 58 };
        uint32_t sum = sum_bytes(frame + 54, 16, sum_bytes(pseudo, 8, sum_bytes(frame + 22, 32, 0)));
        put16(frame + 56, ~sum);
        slirp_input(slirp, frame, sizeof(frame));
        break;
    }
    case CLOCK:
    case ADD_POLL:
    case GET_REVENTS: {
        guest->fds_len = 0;
        slirp_pollfds_fill(slirp, &program->timeout, on_add_poll, program);
        if (way == GET_REVENTS) {
            slirp_pollfds_poll(slirp, 0, on_get_revents, program);
        }
        break;
    }
    case TIMER_MOD:
        slirp_handle_timer(slirp, SLIRP_TIMER_RA, NULL);
        break;
    case REGISTER:
        send_udp(guest, guest->router_mac, GUEST_ADDRESS, 4000, ROUTER_ADDRESS, 9, "x", 1);
        break;
    case FORWARD:
        send_segment(guest, &segment, segment.snd_nxt, TCP_ACK | TCP_PSH, pattern, 1000);
        break;
    case WRITE_STATE:
        slirp_state_save(slirp, on_write_state, program);
        break;
    case READ_STATE:
        slirp_state_load(slirp, slirp_state_version(), on_read_state, program);
        break;
    default:
        break;
    }
    CHECK(ended_in == way && program == NULL, "it did not end in %s", way_names[way]);
    if (program != NULL) {
        program->way = NOWHERE;
        end();
    }
}

int main(void)
{
    for (size_t i = 0; i < BULK; i++) {
        pattern[i] = (uint8_t)(i * 7 + i / 251);
    }
    one_buffer(false);
    echo_in_place();
#ifndef UPSTREAM
    one_buffer(true);
    for (Way way = SEND_PACKET; way < WAYS; way++) {
        end_inside(way);
    }
#endif
    return checks_finish();
}
