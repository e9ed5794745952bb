/*
 * Forwards to a guest over IPv6, from C: slirp_add_hostxfwd with TCP, UDP and
 * SLIRP_HOSTFWD_V6ONLY, an unspecified guest address, and their removal. The
 * guest's frames are made by hand, and it solicits and answers neighbors.
 */
#define _GNU_SOURCE
#include <slirp/libslirp.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "check.h"
/* The guest's IPv4 is not used here. */
#pragma GCC diagnostic ignored "-Wunused-function"
#include "guest.h"

enum { IP6 = 40, ICMP6 = 58, UDP = 17, TCP = 6 };

static struct in6_addr guest_address, host_address;

static struct in6_addr in6(const char *text)
{
    struct in6_addr a;
    if (inet_pton(AF_INET6, text, &a) != 1) {
        abort();
    }
    return a;
}

static struct sockaddr_in6 at(const char *text, uint16_t port)
{
    struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6(text) };
    return a;
}

static struct sockaddr_in at4(uint16_t port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    return a;
}

/* The sum of a transport header and its data with the pseudo header (RFC 8200 section 8.1). */
static uint32_t sum6(const uint8_t *ip, const uint8_t *payload, size_t len)
{
    return sum_bytes(payload, len, sum_bytes(ip + 8, 32, ip[6] + (uint32_t)len));
}

static void send6(Guest *guest, struct in6_addr to, uint8_t next, const uint8_t *payload, size_t len, size_t checksum_at)
{
    static const uint8_t router[6] = { 0x52, 0x56, 0, 0, 0, 2 };
    uint8_t frame[ETH + GUEST_MTU] = { 0 }, *ip = frame + ETH;
    if (len > GUEST_MTU - IP6) {
        abort();
    }
    memcpy(frame, router, 6);
    memcpy(frame + 6, guest_mac, 6);
    put16(frame + 12, 0x86dd);
    ip[0] = 0x60;
    put16(ip + 4, (uint32_t)len);
    ip[6] = next;
    ip[7] = 255;
    memcpy(ip + 8, &guest_address, 16);
    memcpy(ip + 24, &to, 16);
    memcpy(ip + IP6, payload, len);
    put16(ip + IP6 + checksum_at, 0);
    uint32_t sum = ~sum6(ip, ip + IP6, len) & 0xffff;
    put16(ip + IP6 + checksum_at, sum ? sum : 0xffff);
    slirp_input(guest->slirp, frame, (int)(ETH + IP6 + len));
}

/* The guest's claim of its address, solicited or not. */
static void send_advertisement(Guest *guest)
{
    uint8_t message[32] = { 136, 0, 0, 0, 0x60 };
    memcpy(message + 8, &guest_address, 16);
    message[24] = 2;
    message[25] = 1;
    memcpy(message + 26, guest_mac, 6);
    send6(guest, host_address, ICMP6, message, sizeof(message), 2);
}

/*
 * The oldest good packet of a protocol to the guest with this destination port, or NULL. Solicitations of the guest are
 * answered on the way; other kept frames are left.
 */
static const uint8_t *find6(Guest *guest, uint8_t next, uint16_t port, size_t *len)
{
    for (size_t i = 0; i < guest->inbox_len; i++) {
        uint8_t *data = guest->inbox[i].data, *ip = data + ETH;
        if (guest->inbox[i].len < ETH + IP6 || get16(data + 12) != 0x86dd) {
            continue;
        }
        *len = get16(ip + 4);
        if (*len < 8 || *len > guest->inbox[i].len - ETH - IP6 || sum6(ip, ip + IP6, *len) != 0xffff) {
            CHECK(false, "a damaged packet");
            continue;
        }
        if (ip[6] == ICMP6 && ip[IP6] == 135 && *len >= 24 && memcmp(ip + IP6 + 8, &guest_address, 16) == 0) {
            ip[IP6] = 0; /* answered */
            put16(data + 12, 0);
            send_advertisement(guest);
        } else if (ip[6] == next && get16(ip + IP6 + 2) == port && memcmp(ip + 24, &guest_address, 16) == 0) {
            return ip;
        }
    }
    return NULL;
}

static void send_tcp6(Guest *guest, uint16_t port, uint16_t peer_port, uint32_t seq, uint32_t ack, uint8_t flags,
                      const char *data)
{
    uint8_t segment[100] = { 0 };
    size_t len = strlen(data);
    put16(segment, port);
    put16(segment + 2, peer_port);
    put32(segment + 4, seq);
    put32(segment + 8, ack);
    segment[12] = 5 << 4;
    segment[13] = flags;
    put16(segment + 14, 0xffff);
    memcpy(segment + 20, data, len);
    send6(guest, host_address, TCP, segment, 20 + len, 16);
}

/* A socket of the host. It blocks; only receiving does not. */
static int host_socket(int family, int kind)
{
    int s = socket(family, kind | SOCK_CLOEXEC, 0);
    if (s < 0) {
        perror("socket");
        exit(2);
    }
    return s;
}

/* A free port of ::1. */
static uint16_t free_port(int kind)
{
    struct sockaddr_in6 a = at("::1", 0);
    socklen_t len = sizeof(a);
    int s = host_socket(AF_INET6, kind);
    if (bind(s, (struct sockaddr *)&a, sizeof(a)) != 0 || getsockname(s, (struct sockaddr *)&a, &len) != 0) {
        perror("bind");
        exit(2);
    }
    close(s);
    return ntohs(a.sin6_port);
}

/* Whether a connection over IPv4 to the port is taken. */
static bool takes_ipv4(uint16_t port)
{
    struct sockaddr_in a = at4(port);
    int s = host_socket(AF_INET, SOCK_STREAM);
    bool taken = connect(s, (struct sockaddr *)&a, sizeof(a)) == 0;
    close(s);
    return taken;
}

static ssize_t receive(Guest *guest, int s, char *text, size_t size)
{
    ssize_t n = -1;
    RUN_UNTIL(guest, (n = recv(s, text, size, MSG_DONTWAIT)) >= 0, 5000);
    return n;
}

/* A client of the host speaks with the guest's port 80 through the forward at `port` of the loopback. */
static void check_tcp_over(int family, Guest *guest, uint16_t port, const char *what)
{
    struct sockaddr_in6 forward6 = at("::1", port);
    struct sockaddr_in forward4 = at4(port);
    const struct sockaddr *forward = family == AF_INET6 ? (struct sockaddr *)&forward6 : (struct sockaddr *)&forward4;
    socklen_t forward_len = family == AF_INET6 ? sizeof(forward6) : sizeof(forward4);
    const uint8_t *ip = NULL, *segment;
    char text[100];
    size_t len = 0;
    int s = host_socket(family, SOCK_STREAM);
    CHECK(connect(s, forward, forward_len) == 0, "%s: %s", what, strerror(errno));
    RUN_UNTIL(guest, (ip = find6(guest, TCP, 80, &len)) != NULL, 5000);
    CHECK(ip != NULL, "%s: no SYN", what);
    if (ip != NULL) {
        segment = ip + IP6;
        CHECK(memcmp(ip + 8, &host_address, 16) == 0, "%s: the guest sees another source", what);
        CHECK(segment[13] == TCP_SYN, "%s: flags %d", what, segment[13]);
        uint16_t peer = get16(segment);
        uint32_t ack = get32(segment + 4) + 1;
        empty_inbox(guest);
        send_tcp6(guest, 80, peer, 1000, ack, TCP_SYN | TCP_ACK, "");
        send_tcp6(guest, 80, peer, 1001, ack, TCP_ACK | TCP_PSH, "to the host");
        CHECK(receive(guest, s, text, sizeof(text)) == 11 && memcmp(text, "to the host", 11) == 0, "%s", what);
        empty_inbox(guest);
        CHECK(send(s, "to the guest", 12, 0) == 12, "%s", what);
        RUN_UNTIL(guest, (ip = find6(guest, TCP, 80, &len)) != NULL && len > 20, 5000);
        CHECK(ip != NULL && len == 32 && memcmp(ip + IP6 + 20, "to the guest", 12) == 0, "%s: %zu bytes", what, len);
        send_tcp6(guest, 80, peer, 1012, ack + 12, TCP_FIN | TCP_ACK, "");
        CHECK(receive(guest, s, text, sizeof(text)) == 0, "%s: no end", what);
        send_tcp6(guest, 80, peer, 1013, ack + 12, TCP_RST, "");
    }
    close(s);
    empty_inbox(guest);
}

static void check_tcp(Guest *guest, uint16_t port, const char *what)
{
    check_tcp_over(AF_INET6, guest, port, what);
}

static void check_udp(Guest *guest, uint16_t port)
{
    struct sockaddr_in6 forward = at("::1", port);
    const uint8_t *ip = NULL;
    uint8_t datagram[8 + 6];
    char text[100];
    size_t len = 0;
    int s = host_socket(AF_INET6, SOCK_DGRAM);
    CHECK(connect(s, (struct sockaddr *)&forward, sizeof(forward)) == 0 && send(s, "question", 8, 0) == 8, "send");
    RUN_UNTIL(guest, (ip = find6(guest, UDP, 53, &len)) != NULL, 5000);
    CHECK(ip != NULL && len == 16 && memcmp(ip + IP6 + 8, "question", 8) == 0, "%zu bytes", len);
    if (ip != NULL) {
        CHECK(memcmp(ip + 8, &host_address, 16) == 0, "the guest sees another source");
        put16(datagram, 53);
        put16(datagram + 2, get16(ip + IP6));
        put16(datagram + 4, sizeof(datagram));
        memcpy(datagram + 8, "answer", 6);
        send6(guest, host_address, UDP, datagram, sizeof(datagram), 6);
        CHECK(receive(guest, s, text, sizeof(text)) == 6 && memcmp(text, "answer", 6) == 0, "the answer");
    }
    close(s);
    empty_inbox(guest);
}

static int add(Guest *guest, struct sockaddr_in6 host, struct sockaddr_in6 to, int flags)
{
    return slirp_add_hostxfwd(guest->slirp, (struct sockaddr *)&host, sizeof(host), (struct sockaddr *)&to, sizeof(to),
                              flags);
}

static int drop(Guest *guest, struct sockaddr_in6 host, int flags)
{
    return slirp_remove_hostxfwd(guest->slirp, (struct sockaddr *)&host, sizeof(host), flags);
}

int main(void)
{
    Guest guest;
    SlirpConfig config;
    memset(&guest, 0, sizeof(guest));
    memset(&config, 0, sizeof(config));
    guest_address = in6("fec0::5054:ff:fe12:3456");
    host_address = in6("fec0::2");
    config.version = 4;
    config.in6_enabled = true;
    config.vprefix_addr6 = in6("fec0::");
    config.vprefix_len = 64;
    config.vhost6 = host_address;
    config.vnameserver6 = in6("fec0::3");
    guest.slirp = slirp_new(&config, &guest_callbacks, &guest);
    CHECK(guest.slirp != NULL, "slirp_new");
    if (guest.slirp == NULL) {
        return checks_finish();
    }

    uint16_t tcp = free_port(SOCK_STREAM), udp = free_port(SOCK_DGRAM);
    struct sockaddr_in6 web = at("fec0::5054:ff:fe12:3456", 80);
    /* The guest is not known yet: it is solicited, and the connection waits for its answer. */
    CHECK(add(&guest, at("::1", tcp), web, 0) == 0, "%s", strerror(errno));
    check_tcp(&guest, tcp, "a guest that is solicited");
    CHECK(add(&guest, at("::1", tcp), web, 0) == -1 && errno == EADDRINUSE, "%s", strerror(errno));
    CHECK(drop(&guest, at("::1", tcp), 0) == 0, "removal");
    CHECK(drop(&guest, at("::1", tcp), 0) == -1, "removed twice");

    CHECK(add(&guest, at("::1", tcp), at("::", 80), 0) == 0, "%s", strerror(errno));
    check_tcp(&guest, tcp, "a guest that is not named");
    CHECK(drop(&guest, at("::1", tcp), 0) == 0, "removal");

    CHECK(add(&guest, at("::1", udp), at("::", 53), SLIRP_HOSTFWD_UDP) == 0, "%s", strerror(errno));
    check_udp(&guest, udp);
    CHECK(drop(&guest, at("::1", udp), SLIRP_HOSTFWD_UDP) == 0, "removal");

    CHECK(add(&guest, at("::", tcp), web, SLIRP_HOSTFWD_V6ONLY) == 0, "%s", strerror(errno));
    CHECK(!takes_ipv4(tcp), "a forward for IPv6 alone took an IPv4 client");
    check_tcp(&guest, tcp, "a forward for IPv6 alone");
    CHECK(drop(&guest, at("::", tcp), SLIRP_HOSTFWD_V6ONLY) == 0, "removal");
    CHECK(add(&guest, at("::", tcp), web, 0) == 0, "%s", strerror(errno));
    CHECK(takes_ipv4(tcp), "a forward for both families took no IPv4 client");
    CHECK(drop(&guest, at("::", tcp), 0) == 0, "removal");
    empty_inbox(&guest);

    /* From IPv4 to IPv6, which upstream accepts and then aborts at. */
#ifndef UPSTREAM
    struct sockaddr_in from = at4(tcp);
    CHECK(slirp_add_hostxfwd(guest.slirp, (struct sockaddr *)&from, sizeof(from), (struct sockaddr *)&web, sizeof(web), 0) == 0,
          "%s", strerror(errno));
    check_tcp_over(AF_INET, &guest, tcp, "a client over IPv4");
    CHECK(slirp_remove_hostxfwd(guest.slirp, (struct sockaddr *)&from, sizeof(from), 0) == 0, "removal");

#endif
    /* An address of a link needs its interface. */
    CHECK(add(&guest, at("fe80::1", tcp), web, 0) == -1 && errno == EINVAL, "%s", strerror(errno));

    slirp_cleanup(guest.slirp);
    guest_free(&guest);
    return checks_finish();
}
