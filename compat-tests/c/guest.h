/*
 * A very small guest: it makes Ethernet frames by hand, answers ARP, keeps a
 * few TCP connections and runs the loop that an application runs. Nothing in
 * it comes from the library, so both sides of every exchange are independent.
 */
#ifndef GUEST_H
#define GUEST_H

#include <slirp/libslirp.h>

#if !SLIRP_CHECK_VERSION(4, 8, 0)
typedef ssize_t slirp_ssize_t;
#endif

#include "posix.h"

enum {
    GUEST_MTU = 1500,
    GUEST_MSS = 1460,
    GUEST_CONNECTIONS = 4,
    GUEST_INBOX = 256,
    ETH = 14,
    IP = 20,
    TCP_FIN = 1,
    TCP_SYN = 2,
    TCP_RST = 4,
    TCP_PSH = 8,
    TCP_ACK = 16
};

#define GUEST_ADDRESS 0x0a00020fu /* 10.0.2.15 */
#define ROUTER_ADDRESS 0x0a000202u /* 10.0.2.2 */
#define NAME_SERVER_ADDRESS 0x0a000203u /* 10.0.2.3 */

static const uint8_t guest_mac[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
static const uint8_t broadcast_mac[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

/* One TCP connection of the guest. Numbers are in host byte order. */
typedef struct {
    bool used, established, got_fin, got_rst;
    uint32_t peer;
    uint16_t port, peer_port;
    uint32_t snd_una, snd_nxt, rcv_nxt, peer_window;
    uint8_t *received;
    size_t received_len, received_size;
} GuestTcp;

/* A frame that waits for the test to look at it. */
typedef struct {
    uint8_t *data;
    size_t len;
} GuestFrame;

typedef struct {
    Slirp *slirp;
    uint8_t router_mac[6];
    GuestTcp tcp[GUEST_CONNECTIONS];
    /* A port on which the guest takes connections, 0 for none. */
    uint16_t listening;
    /* Frames that are not TCP, oldest first; more than fit are dropped. */
    GuestFrame inbox[GUEST_INBOX];
    size_t inbox_len;
    /* Frames as they came, to be handled outside the library's calls. */
    GuestFrame *arrived;
    size_t arrived_len, arrived_size;
    struct pollfd *fds;
    size_t fds_len, fds_size;
    unsigned notified;
} Guest;

/*
 * How a frame leaves the guest, and one turn of the application's loop, which sleeps for at most `sleep` milliseconds.
 * A program that reaches the library in another way defines GUEST_OWN_LINK and these two functions itself.
 */
static void guest_transmit(Guest *guest, const void *frame, size_t len);
static void guest_turn(Guest *guest, uint32_t sleep);

static int64_t guest_clock_ns(void *opaque)
{
    (void)opaque;
    return os_clock_ns();
}

static int64_t now_ms(void)
{
    return guest_clock_ns(NULL) / 1000000;
}

static void *grow(void *memory, size_t *size, size_t element, size_t wanted)
{
    if (wanted <= *size) {
        return memory;
    }
    *size = wanted * 2;
    memory = realloc(memory, *size * element);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static GuestFrame copy_frame(const void *data, size_t len)
{
    GuestFrame frame = { malloc(len ? len : 1), len };
    if (frame.data == NULL) {
        abort();
    }
    memcpy(frame.data, data, len);
    return frame;
}

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static void put32(uint8_t *p, uint32_t value)
{
    put16(p, value >> 16);
    put16(p + 2, value & 0xffff);
}

/* The Internet checksum (RFC 1071) of some bytes, continued from `sum`, before inversion. */
static uint32_t sum_bytes(const uint8_t *data, size_t len, uint32_t sum)
{
    for (size_t i = 0; i + 1 < len; i += 2) {
        sum += get16(data + i);
    }
    if (len % 2) {
        sum += (uint32_t)data[len - 1] << 8;
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

/* The sum of an IPv4 packet's payload with its pseudo header; 0xffff when the checksum inside is right. */
static uint32_t sum_transport(const uint8_t *ip, const uint8_t *payload, size_t len)
{
    return sum_bytes(payload, len, sum_bytes(ip + 12, 8, ip[9] + (uint32_t)len));
}

/* Sends an IPv4 packet of the guest. The payload's checksum, if it has one, is at `checksum_at`, else that is -1. */
static void send_ip(Guest *guest, const uint8_t *to_mac, uint32_t from, uint32_t to, uint8_t protocol,
                    const uint8_t *payload, size_t len, int checksum_at)
{
    static uint16_t id;
    uint8_t frame[ETH + GUEST_MTU];
    uint8_t *ip = frame + ETH;
    if (len > GUEST_MTU - IP) {
        abort();
    }
    memset(frame, 0, ETH + IP);
    memcpy(frame, to_mac, 6);
    memcpy(frame + 6, guest_mac, 6);
    put16(frame + 12, 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, (uint32_t)(IP + len));
    put16(ip + 4, ++id);
    ip[8] = 64;
    ip[9] = protocol;
    put32(ip + 12, from);
    put32(ip + 16, to);
    put16(ip + 10, ~sum_bytes(ip, IP, 0));
    memcpy(ip + IP, payload, len);
    if (checksum_at >= 0) {
        uint8_t *transport = ip + IP;
        put16(transport + checksum_at, 0);
        uint32_t sum = protocol == 1 ? sum_bytes(transport, len, 0) : sum_transport(ip, transport, len);
        put16(transport + checksum_at, ~sum & 0xffff ? ~sum : 0xffff);
    }
    guest_transmit(guest, frame, ETH + IP + len);
}

static void send_udp(Guest *guest, const uint8_t *to_mac, uint32_t from, uint16_t port, uint32_t to, uint16_t to_port,
                     const void *data, size_t len)
{
    uint8_t datagram[GUEST_MTU];
    put16(datagram, port);
    put16(datagram + 2, to_port);
    put16(datagram + 4, (uint32_t)(8 + len));
    memcpy(datagram + 8, data, len);
    send_ip(guest, to_mac, from, to, 17, datagram, 8 + len, 6);
}

static void send_segment(Guest *guest, GuestTcp *tcp, uint32_t seq, uint8_t flags, const uint8_t *data, size_t len)
{
    uint8_t segment[GUEST_MTU];
    size_t header = flags & TCP_SYN ? 24 : 20;
    memset(segment, 0, header);
    put16(segment, tcp->port);
    put16(segment + 2, tcp->peer_port);
    put32(segment + 4, seq);
    put32(segment + 8, flags & TCP_ACK ? tcp->rcv_nxt : 0);
    segment[12] = (uint8_t)(header / 4 << 4);
    segment[13] = flags;
    put16(segment + 14, 0xffff);
    if (flags & TCP_SYN) {
        segment[20] = 2;
        segment[21] = 4;
        put16(segment + 22, GUEST_MSS);
    }
    if (len > 0) {
        memcpy(segment + header, data, len);
    }
    send_ip(guest, guest->router_mac, GUEST_ADDRESS, tcp->peer, 6, segment, header + len, 16);
}

static void send_arp(Guest *guest, uint16_t operation, const uint8_t *to_mac, uint32_t target)
{
    uint8_t frame[42];
    memcpy(frame, to_mac, 6);
    memcpy(frame + 6, guest_mac, 6);
    put16(frame + 12, 0x0806);
    put16(frame + 14, 1);
    put16(frame + 16, 0x0800);
    frame[18] = 6;
    frame[19] = 4;
    put16(frame + 20, operation);
    memcpy(frame + 22, guest_mac, 6);
    put32(frame + 28, GUEST_ADDRESS);
    memcpy(frame + 32, to_mac, 6);
    put32(frame + 38, target);
    guest_transmit(guest, frame, sizeof(frame));
}

static GuestTcp *new_tcp(Guest *guest, uint32_t peer, uint16_t peer_port, uint16_t port)
{
    for (size_t i = 0; i < GUEST_CONNECTIONS; i++) {
        GuestTcp *tcp = &guest->tcp[i];
        if (!tcp->used) {
            memset(tcp, 0, sizeof(*tcp));
            tcp->used = true;
            tcp->peer = peer;
            tcp->peer_port = peer_port;
            tcp->port = port;
            tcp->snd_una = tcp->snd_nxt = 0x7ffffff0u + port;
            return tcp;
        }
    }
    abort();
}

static void free_tcp(GuestTcp *tcp)
{
    free(tcp->received);
    memset(tcp, 0, sizeof(*tcp));
}

static void handle_segment(Guest *guest, const uint8_t *ip, const uint8_t *segment, size_t len)
{
    uint16_t peer_port = get16(segment), port = get16(segment + 2);
    uint32_t peer = get32(ip + 12), seq = get32(segment + 4), ack = get32(segment + 8);
    size_t header = (size_t)(segment[12] >> 4) * 4;
    uint8_t flags = segment[13];
    GuestTcp *tcp = NULL;
    if (len < 20 || header < 20 || header > len || get32(ip + 16) != GUEST_ADDRESS) {
        return;
    }
    for (size_t i = 0; i < GUEST_CONNECTIONS; i++) {
        GuestTcp *it = &guest->tcp[i];
        if (it->used && it->peer == peer && it->peer_port == peer_port && it->port == port) {
            tcp = it;
        }
    }
    if (tcp == NULL && flags == TCP_SYN && guest->listening != 0 && port == guest->listening) {
        tcp = new_tcp(guest, peer, peer_port, port);
        tcp->rcv_nxt = seq + 1;
        tcp->peer_window = get16(segment + 14);
        send_segment(guest, tcp, tcp->snd_nxt++, TCP_SYN | TCP_ACK, NULL, 0);
        return;
    }
    if (tcp == NULL) {
        return;
    }
    if (flags & TCP_RST) {
        tcp->got_rst = true;
        return;
    }
    if (flags & TCP_ACK) {
        if ((int32_t)(ack - tcp->snd_una) > 0 && (int32_t)(ack - tcp->snd_nxt) <= 0) {
            tcp->snd_una = ack;
            if (!(flags & TCP_SYN)) {
                tcp->established = true;
            }
        }
        tcp->peer_window = get16(segment + 14);
    }
    if (flags & TCP_SYN) {
        tcp->rcv_nxt = seq + 1;
        tcp->established = true;
        send_segment(guest, tcp, tcp->snd_nxt, TCP_ACK, NULL, 0);
        return;
    }
    size_t data = len - header;
    if (data > 0 || flags & TCP_FIN) {
        if (seq == tcp->rcv_nxt) {
            tcp->received = grow(tcp->received, &tcp->received_size, 1, tcp->received_len + data);
            if (data > 0) {
                memcpy(tcp->received + tcp->received_len, segment + header, data);
            }
            tcp->received_len += data;
            tcp->rcv_nxt += (uint32_t)data;
            if (flags & TCP_FIN) {
                tcp->rcv_nxt++;
                tcp->got_fin = true;
            }
        }
        send_segment(guest, tcp, tcp->snd_nxt, TCP_ACK, NULL, 0);
    }
}

/* Handles a frame, or keeps it for the test. A frame with a wrong checksum is kept nowhere. */
static void handle_frame(Guest *guest, GuestFrame frame)
{
    const uint8_t *data = frame.data, *ip = data + ETH;
    if (frame.len >= 42 && get16(data + 12) == 0x0806 && get16(data + 20) == 1 && get32(data + 38) == GUEST_ADDRESS) {
        send_arp(guest, 2, data + 22, get32(data + 28));
        return;
    }
    if (frame.len >= ETH + IP && get16(data + 12) == 0x0800) {
        size_t header = (size_t)(ip[0] & 15) * 4, total = get16(ip + 2);
        if (header < IP || total < header || total > frame.len - ETH || sum_bytes(ip, header, 0) != 0xffff) {
            return;
        }
        size_t len = total - header;
        if (ip[9] == 6 || (ip[9] == 17 && len >= 8 && get16(ip + header + 6) != 0)) {
            if (sum_transport(ip, ip + header, len) != 0xffff) {
                return;
            }
        }
        if (ip[9] == 6 && len >= 20) {
            handle_segment(guest, ip, ip + header, len);
            return;
        }
    }
    if (guest->inbox_len < GUEST_INBOX) {
        guest->inbox[guest->inbox_len++] = copy_frame(frame.data, frame.len);
    }
}

static slirp_ssize_t guest_send_packet(const void *data, size_t len, void *opaque)
{
    Guest *guest = opaque;
    guest->arrived = grow(guest->arrived, &guest->arrived_size, sizeof(GuestFrame), guest->arrived_len + 1);
    guest->arrived[guest->arrived_len++] = copy_frame(data, len);
    return (slirp_ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
    (void)opaque;
    printf("guest error: %s\n", msg);
}

static void guest_notify(void *opaque)
{
    ((Guest *)opaque)->notified++;
}

/* The advertisements of routers are not asked for here: no timer ever fires. */
static void *guest_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
    (void)cb;
    (void)cb_opaque;
    return opaque;
}

static void guest_timer_free(void *timer, void *opaque)
{
    (void)timer;
    (void)opaque;
}

static void guest_timer_mod(void *timer, int64_t expire_time, void *opaque)
{
    (void)timer;
    (void)expire_time;
    (void)opaque;
}

static void guest_poll_fd(int fd, void *opaque)
{
    (void)fd;
    (void)opaque;
}

#if SLIRP_CHECK_VERSION(4, 9, 0)
static void guest_poll_socket(slirp_os_socket fd, void *opaque)
{
    (void)fd;
    (void)opaque;
}
#endif

/* What a guest gives to slirp_new; the opaque pointer is the guest. */
static const SlirpCb guest_callbacks = {
    .send_packet = guest_send_packet,
    .guest_error = guest_error,
    .clock_get_ns = guest_clock_ns,
    .timer_new = guest_timer_new,
    .timer_free = guest_timer_free,
    .timer_mod = guest_timer_mod,
    .register_poll_fd = guest_poll_fd,
    .unregister_poll_fd = guest_poll_fd,
    .notify = guest_notify,
#if SLIRP_CHECK_VERSION(4, 9, 0)
    .register_poll_socket = guest_poll_socket,
    .unregister_poll_socket = guest_poll_socket,
#endif
};

/* The usual network, IPv4 alone, in a configuration of this version; on Windows of the first one that has sockets of its kind. */
static inline SlirpConfig guest_config(uint32_t version)
{
    SlirpConfig config;
    memset(&config, 0, sizeof(config));
#ifdef _WIN32
    version = version < 6 ? 6 : version;
#endif
    config.version = version;
    config.in_enabled = true;
    config.vnetwork.s_addr = htonl(0x0a000200);
    config.vnetmask.s_addr = htonl(0xffffff00);
    config.vhost.s_addr = htonl(ROUTER_ADDRESS);
    config.vdhcp_start.s_addr = htonl(GUEST_ADDRESS);
    config.vnameserver.s_addr = htonl(NAME_SERVER_ADDRESS);
    return config;
}

static void handle_arrived(Guest *guest)
{
    for (size_t i = 0; i < guest->arrived_len; i++) {
        GuestFrame frame = guest->arrived[i];
        handle_frame(guest, frame);
        free(frame.data);
    }
    guest->arrived_len = 0;
}

#ifndef GUEST_OWN_LINK
static void guest_transmit(Guest *guest, const void *frame, size_t len)
{
    slirp_input(guest->slirp, frame, (int)len);
}

static int guest_add_poll(os_socket fd, int events, void *opaque)
{
    Guest *guest = opaque;
    short wanted = 0;
    wanted |= events & SLIRP_POLL_IN ? POLLIN : 0;
    wanted |= events & SLIRP_POLL_OUT ? POLLOUT : 0;
    wanted |= events & SLIRP_POLL_PRI ? POLLPRI : 0;
    wanted |= events & SLIRP_POLL_ERR ? POLLERR : 0;
    wanted |= events & SLIRP_POLL_HUP ? POLLHUP : 0;
    guest->fds = grow(guest->fds, &guest->fds_size, sizeof(struct pollfd), guest->fds_len + 1);
    guest->fds[guest->fds_len] = (struct pollfd){ .fd = fd, .events = wanted };
    return (int)guest->fds_len++;
}

static int guest_get_revents(int idx, void *opaque)
{
    Guest *guest = opaque;
    int events = 0;
    if (idx < 0 || (size_t)idx >= guest->fds_len) {
        abort();
    }
    short found = guest->fds[idx].revents;
    events |= found & POLLIN ? SLIRP_POLL_IN : 0;
    events |= found & POLLOUT ? SLIRP_POLL_OUT : 0;
    events |= found & POLLPRI ? SLIRP_POLL_PRI : 0;
    events |= found & POLLERR ? SLIRP_POLL_ERR : 0;
    events |= found & POLLHUP ? SLIRP_POLL_HUP : 0;
    return events;
}

static void guest_turn(Guest *guest, uint32_t sleep)
{
    uint32_t timeout = sleep;
    guest->fds_len = 0;
#ifdef _WIN32
    slirp_pollfds_fill_socket(guest->slirp, &timeout, (SlirpAddPollSocketCb)guest_add_poll, guest);
    /* WSAPoll does not sleep when there is nothing to watch. */
    uint32_t wait = timeout < sleep ? timeout : sleep;
    int ready = 0;
    if (guest->fds_len == 0) {
        Sleep(wait);
    } else {
        ready = poll(guest->fds, (nfds_t)guest->fds_len, (int)wait);
    }
#else
    slirp_pollfds_fill(guest->slirp, &timeout, guest_add_poll, guest);
    int ready = poll(guest->fds, (nfds_t)guest->fds_len, (int)(timeout < sleep ? timeout : sleep));
#endif
    slirp_pollfds_poll(guest->slirp, ready < 0, guest_get_revents, guest);
    handle_arrived(guest);
}
#endif

/* Runs the loop until the condition holds or `ms` milliseconds have passed. */
#define RUN_UNTIL(guest, condition, ms)                                  \
    do {                                                                 \
        int64_t end_ = now_ms() + (ms);                                  \
        handle_arrived(guest);                                           \
        while (!(condition) && now_ms() < end_) {                        \
            guest_turn(guest, 20);                                       \
        }                                                                \
    } while (0)

/* The oldest kept IPv4 frame of a protocol whose payload has `value` at `at` (16 bits), or NULL; with its payload. */
static const uint8_t *find_ip(const Guest *guest, uint8_t protocol, size_t at, uint16_t value, size_t *len)
{
    for (size_t i = 0; i < guest->inbox_len; i++) {
        const uint8_t *ip = guest->inbox[i].data + ETH;
        if (guest->inbox[i].len < ETH + IP || get16(ip - 2) != 0x0800 || ip[9] != protocol) {
            continue;
        }
        size_t header = (size_t)(ip[0] & 15) * 4;
        *len = get16(ip + 2) - header;
        if (*len >= at + 2 && get16(ip + header + at) == value) {
            return ip + header;
        }
    }
    return NULL;
}

static void empty_inbox(Guest *guest)
{
    for (size_t i = 0; i < guest->inbox_len; i++) {
        free(guest->inbox[i].data);
    }
    guest->inbox_len = 0;
}

static void guest_connect(Guest *guest, GuestTcp *tcp)
{
    send_segment(guest, tcp, tcp->snd_nxt++, TCP_SYN, NULL, 0);
    RUN_UNTIL(guest, tcp->established || tcp->got_rst, 5000);
}

/*
 * Sends data within the peer's window; whatever `drain` takes on the other side is taken between the turns. What is not
 * acknowledged for half a second is sent again.
 */
static void guest_send(Guest *guest, GuestTcp *tcp, const uint8_t *data, size_t len, void (*drain)(void *), void *arg)
{
    uint32_t first = tcp->snd_nxt;
    int64_t progress = now_ms(), end = now_ms() + 20000;
    while (tcp->snd_una - first < len && !tcp->got_rst && now_ms() < end) {
        uint32_t una = tcp->snd_una;
        while (tcp->snd_nxt - first < len && tcp->snd_nxt - tcp->snd_una < tcp->peer_window) {
            size_t offset = tcp->snd_nxt - first, room = tcp->peer_window - (tcp->snd_nxt - tcp->snd_una);
            size_t size = len - offset < GUEST_MSS ? len - offset : GUEST_MSS;
            size = size < room ? size : room;
            send_segment(guest, tcp, tcp->snd_nxt, TCP_ACK | (offset + size == len ? TCP_PSH : 0), data + offset, size);
            tcp->snd_nxt += (uint32_t)size;
        }
        guest_turn(guest, 5);
        if (drain != NULL) {
            drain(arg);
        }
        if (tcp->snd_una != una) {
            progress = now_ms();
        } else if (now_ms() - progress > 500) {
            tcp->snd_nxt = tcp->snd_una;
            progress = now_ms();
        }
    }
}

static void guest_fin(Guest *guest, GuestTcp *tcp)
{
    send_segment(guest, tcp, tcp->snd_nxt++, TCP_FIN | TCP_ACK, NULL, 0);
}

static void guest_free(Guest *guest)
{
    handle_arrived(guest);
    empty_inbox(guest);
    for (size_t i = 0; i < GUEST_CONNECTIONS; i++) {
        free_tcp(&guest->tcp[i]);
    }
    free(guest->arrived);
    free(guest->fds);
}

#endif
