/*
 * The main paths through the library, from C, with frames made by hand on one
 * side and sockets on the loopback interface on the other. It asks for nothing
 * newer than version 4.7 of the interface, so that other implementations can
 * run it too, and it is short enough for a memory checker.
 */
#define _GNU_SOURCE
#include <slirp/libslirp.h>

#include <signal.h>

#include "check.h"
#include "guest.h"
#include "host.h"

enum { BULK = 300000 };

static uint8_t pattern[BULK];

static struct in_addr ipv4(uint32_t address)
{
    struct in_addr result;
    result.s_addr = htonl(address);
    return result;
}

static Slirp *new_instance(Guest *guest)
{
    SlirpConfig config = guest_config(4);
    config.vhostname = "guest";
    config.vdomainname = "example.net";
    return slirp_new(&config, &guest_callbacks, guest);
}

static os_socket connect_loopback(uint16_t port)
{
    uint16_t own;
    struct sockaddr_in address;
    os_socket fd = loopback_socket(SOCK_STREAM, &own);
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 && errno != EINPROGRESS) {
        perror("connect");
        exit(2);
    }
    return fd;
}

static void arp(Guest *guest)
{
    send_arp(guest, 1, broadcast_mac, ROUTER_ADDRESS);
    handle_arrived(guest);
    CHECK(guest->inbox_len == 1, "%zu frames", guest->inbox_len);
    if (guest->inbox_len == 1) {
        const uint8_t *reply = guest->inbox[0].data;
        static const uint8_t wanted[6] = { 0x52, 0x55, 10, 0, 2, 2 };
        CHECK(get16(reply + 12) == 0x0806 && get16(reply + 20) == 2, "not an ARP reply");
        CHECK(memcmp(reply + 22, wanted, 6) == 0 && get32(reply + 28) == ROUTER_ADDRESS, "wrong sender");
        CHECK(memcmp(reply + 32, guest_mac, 6) == 0, "wrong target");
        memcpy(guest->router_mac, reply + 22, 6);
    }
    empty_inbox(guest);
}

/* The value of a DHCP option, or NULL. */
static const uint8_t *dhcp_option(const uint8_t *bootp, size_t len, uint8_t code)
{
    for (size_t i = 240; i + 1 < len && bootp[i] != 255; i += bootp[i] == 0 ? 1 : 2u + bootp[i + 1]) {
        if (bootp[i] == code && i + 2 + bootp[i + 1] <= len) {
            return bootp + i + 2;
        }
    }
    return NULL;
}

static void dhcp(Guest *guest)
{
    for (uint8_t type = 1; type <= 3; type += 2) {
        uint8_t bootp[300];
        size_t len = 0;
        memset(bootp, 0, sizeof(bootp));
        bootp[0] = 1;
        bootp[1] = 1;
        bootp[2] = 6;
        put32(bootp + 4, 0x01020304);
        memcpy(bootp + 28, guest_mac, 6);
        put32(bootp + 236, 0x63825363);
        bootp[240] = 53;
        bootp[241] = 1;
        bootp[242] = type;
        bootp[243] = 50;
        bootp[244] = 4;
        put32(bootp + 245, GUEST_ADDRESS);
        bootp[249] = 255;
        send_udp(guest, broadcast_mac, 0, 68, 0xffffffff, 67, bootp, sizeof(bootp));
        handle_arrived(guest);
        const uint8_t *reply = find_ip(guest, 17, 2, 68, &len);
        CHECK(reply != NULL && len > 8 + 240, "no reply to DHCP message %d", type);
        if (reply != NULL && len > 8 + 240) {
            reply += 8;
            len -= 8;
            const uint8_t *kind = dhcp_option(reply, len, 53), *router = dhcp_option(reply, len, 3);
            const uint8_t *mask = dhcp_option(reply, len, 1), *name = dhcp_option(reply, len, 12);
            CHECK(kind != NULL && *kind == (type == 1 ? 2 : 5), "type %d", kind ? *kind : -1);
            CHECK(get32(reply + 4) == 0x01020304, "transaction id");
            CHECK(get32(reply + 16) == GUEST_ADDRESS, "address %08x", (unsigned)get32(reply + 16));
            CHECK(router != NULL && get32(router) == ROUTER_ADDRESS, "router");
            CHECK(mask != NULL && get32(mask) == 0xffffff00, "mask");
            CHECK(name != NULL && memcmp(name, "guest", 5) == 0, "host name");
        }
        empty_inbox(guest);
    }
}

static void ping(Guest *guest)
{
    uint8_t echo[8 + 56];
    size_t len = 0;
    memset(echo, 0, sizeof(echo));
    echo[0] = 8;
    put16(echo + 4, 0x1234);
    put16(echo + 6, 7);
    memcpy(echo + 8, pattern, sizeof(echo) - 8);
    send_ip(guest, guest->router_mac, GUEST_ADDRESS, ROUTER_ADDRESS, 1, echo, sizeof(echo), 2);
    RUN_UNTIL(guest, find_ip(guest, 1, 4, 0x1234, &len) != NULL, 2000);
    const uint8_t *reply = find_ip(guest, 1, 4, 0x1234, &len);
    CHECK(reply != NULL && len == sizeof(echo), "no echo reply of %zu bytes", sizeof(echo));
    if (reply != NULL && len == sizeof(echo)) {
        CHECK(reply[0] == 0 && get16(reply + 6) == 7, "not the reply");
        CHECK(memcmp(reply + 8, pattern, len - 8) == 0, "other data");
        CHECK(sum_bytes(reply, len, 0) == 0xffff, "checksum");
    }
    empty_inbox(guest);
}

static void udp(Guest *guest)
{
    uint16_t port;
    os_socket fd = loopback_socket(SOCK_DGRAM, &port);
    for (int round = 0; round < 3; round++) {
        struct sockaddr_in from;
        socklen_t from_len = sizeof(from);
        uint8_t data[1400];
        size_t size = (size_t)round * 600, len = 0;
        ssize_t got = -1;
        send_udp(guest, guest->router_mac, GUEST_ADDRESS, 4000, ROUTER_ADDRESS, port, pattern + round, size);
        RUN_UNTIL(guest, (got = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &from_len)) >= 0, 2000);
        CHECK(got == (ssize_t)size && memcmp(data, pattern + round, size) == 0, "%zd of %zu bytes", got, size);
        if (got < 0) {
            break;
        }
        data[0] = 'r';
        size_t answer = size + 1;
        data[answer - 1] = 'e';
        CHECK(sendto(fd, data, answer, 0, (struct sockaddr *)&from, from_len) == (ssize_t)answer, "sendto");
        RUN_UNTIL(guest, find_ip(guest, 17, 2, 4000, &len) != NULL, 2000);
        const uint8_t *reply = find_ip(guest, 17, 2, 4000, &len);
        CHECK(reply != NULL && len == 8 + answer, "%zu bytes", len);
        if (reply != NULL && len == 8 + answer) {
            CHECK(get16(reply) == port, "from port %d", get16(reply));
            CHECK(get32(reply - 8) == ROUTER_ADDRESS, "from %08x", (unsigned)get32(reply - 8));
            CHECK(memcmp(reply + 8, data, answer) == 0, "other data");
        }
        empty_inbox(guest);
    }
    close(fd);
}

/* A host socket that collects what it receives. */
typedef struct {
    os_socket fd;
    uint8_t *data;
    size_t len, size;
    bool eof;
} Sink;

static void drain(void *arg)
{
    Sink *sink = arg;
    uint8_t chunk[16384];
    ssize_t got;
    while ((got = recv(sink->fd, chunk, sizeof(chunk), 0)) > 0) {
        sink->data = grow(sink->data, &sink->size, 1, sink->len + (size_t)got);
        memcpy(sink->data + sink->len, chunk, (size_t)got);
        sink->len += (size_t)got;
    }
    sink->eof |= got == 0;
}

/* Sends `len` bytes of the pattern from the host and checks that the guest gets exactly them after what it has. */
static void host_sends(Guest *guest, GuestTcp *tcp, os_socket fd, size_t len)
{
    size_t start = tcp->received_len, sent = 0;
    int64_t end = now_ms() + 20000;
    while ((sent < len || tcp->received_len - start < len) && !tcp->got_rst && now_ms() < end) {
        if (sent < len) {
            ssize_t n = send(fd, pattern + sent, len - sent, MSG_NOSIGNAL);
            sent += n > 0 ? (size_t)n : 0;
        }
        guest_turn(guest, 5);
    }
    CHECK(tcp->received_len - start == len, "%zu of %zu bytes", tcp->received_len - start, len);
    CHECK(tcp->received_len - start == len && memcmp(tcp->received + start, pattern, len) == 0, "other data");
}

static void tcp_to_host(Guest *guest)
{
    uint16_t port;
    os_socket listener = loopback_socket(SOCK_STREAM, &port);
    listen(listener, 8);
    GuestTcp *tcp = new_tcp(guest, ROUTER_ADDRESS, port, 3000);
    guest_connect(guest, tcp);
    CHECK(tcp->established && !tcp->got_rst, "no connection");
    Sink sink = { .fd = (os_socket)-1 };
    RUN_UNTIL(guest, IS_SOCKET(sink.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)), 2000);
    CHECK(IS_SOCKET(sink.fd), "nothing to accept");
    if (IS_SOCKET(sink.fd) && tcp->established) {
        guest_send(guest, tcp, pattern, BULK, drain, &sink);
        RUN_UNTIL(guest, (drain(&sink), sink.len >= BULK), 5000);
        CHECK(sink.len == BULK && memcmp(sink.data, pattern, BULK) == 0, "%zu of %d bytes", sink.len, BULK);
        host_sends(guest, tcp, sink.fd, BULK);

        char *info = slirp_connection_info(guest->slirp);
        CHECK(info != NULL && strstr(info, "TCP[ESTABLISHED]") != NULL, "%s", info);
        CHECK(info != NULL && strstr(info, "UDP[") != NULL, "%s", info);
        free(info);

        /* The guest closes its half first; the host can still send. */
        guest_fin(guest, tcp);
        RUN_UNTIL(guest, (drain(&sink), sink.eof), 5000);
        CHECK(sink.eof && sink.len == BULK, "no end of data");
        host_sends(guest, tcp, sink.fd, 5000);
        close(sink.fd);
        RUN_UNTIL(guest, tcp->got_fin, 5000);
        CHECK(tcp->got_fin && !tcp->got_rst, "no FIN");
        CHECK(tcp->snd_una == tcp->snd_nxt, "FIN was not acknowledged");
    }
    free(sink.data);
    free_tcp(tcp);

    /* The host closes first. */
    tcp = new_tcp(guest, ROUTER_ADDRESS, port, 3001);
    guest_connect(guest, tcp);
    os_socket fd = (os_socket)-1;
    RUN_UNTIL(guest, IS_SOCKET(fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)), 2000);
    close(fd);
    RUN_UNTIL(guest, tcp->got_fin, 5000);
    CHECK(tcp->got_fin, "no FIN");
    guest_fin(guest, tcp);
    RUN_UNTIL(guest, tcp->snd_una == tcp->snd_nxt, 5000);
    CHECK(tcp->snd_una == tcp->snd_nxt && !tcp->got_rst, "FIN was not acknowledged");
    free_tcp(tcp);
    close(listener);

    /* Nobody listens any more. */
    tcp = new_tcp(guest, ROUTER_ADDRESS, port, 3002);
    guest_connect(guest, tcp);
    CHECK(tcp->got_rst, "no RST from a closed port");
    free_tcp(tcp);
}

static void host_forward(Guest *guest)
{
    struct in_addr local = ipv4(INADDR_LOOPBACK), any = ipv4(INADDR_ANY);
    uint16_t port;
    close(loopback_socket(SOCK_STREAM, &port));
    CHECK(slirp_add_hostfwd(guest->slirp, 0, local, port, any, 22) == 0, "%s", strerror(errno));
    errno = 0;
    CHECK(slirp_add_hostfwd(guest->slirp, 0, local, port, any, 22) == -1 && errno == EADDRINUSE, "errno %d", errno);
    char *info = slirp_connection_info(guest->slirp);
    CHECK(info != NULL && strstr(info, "TCP[HOST_FORWARD]") != NULL, "%s", info);
    free(info);

    guest->listening = 22;
    os_socket fd = connect_loopback(port);
    GuestTcp *tcp = &guest->tcp[0];
    RUN_UNTIL(guest, tcp->established, 5000);
    CHECK(tcp->established && tcp->port == 22 && tcp->peer == ROUTER_ADDRESS, "no connection");
    if (tcp->established) {
        Sink sink = { .fd = fd };
        host_sends(guest, tcp, fd, 20000);
        guest_send(guest, tcp, pattern, 20000, drain, &sink);
        RUN_UNTIL(guest, (drain(&sink), sink.len >= 20000), 5000);
        CHECK(sink.len == 20000 && memcmp(sink.data, pattern, 20000) == 0, "%zu bytes", sink.len);
        CHECK(slirp_remove_hostfwd(guest->slirp, 0, local, port) == 0, "removal");
        CHECK(slirp_remove_hostfwd(guest->slirp, 0, local, port) == -1, "second removal");
        host_sends(guest, tcp, fd, 100);
        shutdown(fd, SHUT_WR);
        RUN_UNTIL(guest, tcp->got_fin, 5000);
        CHECK(tcp->got_fin, "no FIN");
        guest_fin(guest, tcp);
        RUN_UNTIL(guest, (drain(&sink), sink.eof), 5000);
        CHECK(sink.eof && !tcp->got_rst, "no end of data");
        free(sink.data);
    }
    close(fd);
    guest->listening = 0;
    free_tcp(tcp);

    /* UDP, with the guest's answer coming back from the forwarded port. */
    size_t len = 0;
    uint16_t own;
    uint8_t data[100];
    struct sockaddr_in address;
    close(loopback_socket(SOCK_DGRAM, &port));
    CHECK(slirp_add_hostfwd(guest->slirp, 1, local, port, any, 53) == 0, "%s", strerror(errno));
    fd = loopback_socket(SOCK_DGRAM, &own);
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr = local;
    sendto(fd, "query", 5, 0, (struct sockaddr *)&address, sizeof(address));
    RUN_UNTIL(guest, find_ip(guest, 17, 2, 53, &len) != NULL, 2000);
    const uint8_t *query = find_ip(guest, 17, 2, 53, &len);
    CHECK(query != NULL && len == 13 && memcmp(query + 8, "query", 5) == 0, "%zu bytes", len);
    if (query != NULL) {
        ssize_t got = -1;
        CHECK(get16(query) == own && get32(query - 8) == ROUTER_ADDRESS, "from port %d", get16(query));
        send_udp(guest, guest->router_mac, GUEST_ADDRESS, 53, ROUTER_ADDRESS, own, "answer", 6);
        RUN_UNTIL(guest, (got = recv(fd, data, sizeof(data), 0)) >= 0, 2000);
        CHECK(got == 6 && memcmp(data, "answer", 6) == 0, "%zd bytes", got);
    }
    empty_inbox(guest);
    CHECK(slirp_remove_hostfwd(guest->slirp, 1, local, port) == 0, "removal");
    close(fd);
}

/* What a guest forward's callback received. */
static uint8_t written[1000];
static size_t written_len;

static slirp_ssize_t on_write(const void *buf, size_t len, void *opaque)
{
    if (opaque == &written_len && len <= sizeof(written) - written_len) {
        memcpy(written + written_len, buf, len);
        written_len += len;
    }
    return (slirp_ssize_t)len;
}

/* A saved state in memory. */
typedef struct {
    uint8_t *data;
    size_t len, size, read;
} Tape;

static slirp_ssize_t tape_write(const void *buf, size_t len, void *opaque)
{
    Tape *tape = opaque;
    tape->data = grow(tape->data, &tape->size, 1, tape->len + len);
    memcpy(tape->data + tape->len, buf, len);
    tape->len += len;
    return (slirp_ssize_t)len;
}

static slirp_ssize_t tape_read(void *buf, size_t len, void *opaque)
{
    Tape *tape = opaque;
    size_t n = tape->len - tape->read < len ? tape->len - tape->read : len;
    memcpy(buf, tape->data + tape->read, n);
    tape->read += n;
    return (slirp_ssize_t)n;
}

/* Saves the state, and loads it into a new instance, where the connection to the guest forward must go on. */
static void state(Guest *guest, struct in_addr address, GuestTcp *tcp)
{
    Tape tape = { NULL, 0, 0, 0 };
    int result = 0;
#if SLIRP_CHECK_VERSION(4, 8, 0)
    result = slirp_state_save(guest->slirp, tape_write, &tape);
#else
    slirp_state_save(guest->slirp, tape_write, &tape);
#endif
    if (result < 0) {
        printf("note: the state was not saved: %s\n", strerror(-result));
        free(tape.data);
        return;
    }
    CHECK(result == 0 && tape.len > 131, "result %d, %zu bytes", result, tape.len);
    Guest other;
    memset(&other, 0, sizeof(other));
    memcpy(other.router_mac, guest->router_mac, 6);
    other.slirp = new_instance(&other);
    written_len = 0;
    CHECK(slirp_add_guestfwd(other.slirp, on_write, &written_len, &address, 1234) == 0, "guest forward");
    result = slirp_state_load(other.slirp, slirp_state_version(), tape_read, &tape);
    CHECK(result == 0 && tape.read == tape.len, "result %d, %zu of %zu bytes", result, tape.read, tape.len);
    other.tcp[0] = *tcp;
    other.tcp[0].received = NULL;
    other.tcp[0].received_len = other.tcp[0].received_size = 0;
    guest_send(&other, &other.tcp[0], (const uint8_t *)"after", 5, NULL, NULL);
    CHECK(written_len == 5 && memcmp(written, "after", 5) == 0, "%zu bytes", written_len);
    slirp_cleanup(other.slirp);
    guest_free(&other);
    free(tape.data);
}

static void guest_forward(Guest *guest)
{
    struct in_addr address = ipv4(0x0a000264);
    CHECK(slirp_add_guestfwd(guest->slirp, on_write, &written_len, &address, 1234) == 0, "guest forward");
#if SLIRP_CHECK_VERSION(4, 9, 2)
    CHECK(slirp_add_guestfwd(guest->slirp, on_write, &written_len, &address, 1234) == -1, "the same again");
#endif
    CHECK(slirp_socket_can_recv(guest->slirp, address, 1234) == 0, "no connection yet");
    GuestTcp *tcp = new_tcp(guest, 0x0a000264, 1234, 3100);
    guest_connect(guest, tcp);
    CHECK(tcp->established && !tcp->got_rst, "no connection");
    guest_send(guest, tcp, (const uint8_t *)"to the application", 18, NULL, NULL);
    CHECK(written_len == 18 && memcmp(written, "to the application", 18) == 0, "%zu bytes", written_len);

    size_t room = slirp_socket_can_recv(guest->slirp, address, 1234);
    CHECK(room >= 1000, "room for %zu bytes", room);
    slirp_socket_recv(guest->slirp, address, 1234, pattern, 1000);
    RUN_UNTIL(guest, tcp->received_len >= 1000, 2000);
    CHECK(tcp->received_len == 1000 && memcmp(tcp->received, pattern, 1000) == 0, "%zu bytes", tcp->received_len);
    state(guest, address, tcp);

    send_segment(guest, tcp, tcp->snd_nxt, TCP_RST | TCP_ACK, NULL, 0);
    guest_turn(guest, 0);
    CHECK(slirp_socket_can_recv(guest->slirp, address, 1234) == 0, "after the reset");
    CHECK(slirp_remove_guestfwd(guest->slirp, address, 1234) == 0, "removal");
    CHECK(slirp_remove_guestfwd(guest->slirp, address, 1234) == -1, "second removal");
    free_tcp(tcp);
}

static void neighbors(Guest *guest)
{
    char *info = slirp_neighbor_info(guest->slirp);
    CHECK(info != NULL && strstr(info, "52:54:00:12:34:56  10.0.2.15") != NULL, "%s", info);
    free(info);
}

/* An instance is freed while connections of all kinds are open. */
static void cleanup_in_the_middle(Guest *guest)
{
    struct in_addr local = ipv4(INADDR_LOOPBACK), any = ipv4(INADDR_ANY);
    uint16_t port, udp_port;
    os_socket listener = loopback_socket(SOCK_STREAM, &port), fd = loopback_socket(SOCK_DGRAM, &udp_port);
    listen(listener, 8);
    slirp_add_hostfwd(guest->slirp, 0, local, 0, any, 80);
    slirp_add_hostfwd(guest->slirp, 1, local, 0, any, 80);
    GuestTcp *tcp = new_tcp(guest, ROUTER_ADDRESS, port, 3200);
    guest_connect(guest, tcp);
    CHECK(tcp->established, "no connection");
    os_socket accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    send_udp(guest, guest->router_mac, GUEST_ADDRESS, 4001, ROUTER_ADDRESS, udp_port, "x", 1);
    /* A handshake and some data that are still under way. */
    GuestTcp *half = new_tcp(guest, ROUTER_ADDRESS, port, 3201);
    send_segment(guest, half, half->snd_nxt++, TCP_SYN, NULL, 0);
    send_segment(guest, tcp, tcp->snd_nxt, TCP_ACK | TCP_PSH, pattern, 1000);
    handle_arrived(guest);
    slirp_cleanup(guest->slirp);
    uint8_t data[2000];
    ssize_t got, total = 0;
    while (IS_SOCKET(accepted) && (got = recv(accepted, data, sizeof(data), 0)) > 0) {
        total += got;
    }
    CHECK(IS_SOCKET(accepted) && total == 1000, "%zd bytes before the end", total);
    close(accepted);
    close(fd);
    close(listener);
}

int main(void)
{
    Guest guest;
    memset(&guest, 0, sizeof(guest));
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i * 7 + i / 251);
    }
    os_start();
    signal(SIGPIPE, SIG_IGN);
    guest.slirp = new_instance(&guest);
    CHECK(guest.slirp != NULL, "no instance");
    if (guest.slirp != NULL) {
        PART("ARP", arp(&guest));
        PART("DHCP", dhcp(&guest));
        PART("ping of the gateway", ping(&guest));
        PART("UDP with the host", udp(&guest));
        PART("TCP to the host, 300000 bytes each way compared", tcp_to_host(&guest));
        PART("host forward", host_forward(&guest));
        PART("guest forward, saved state", guest_forward(&guest));
        PART("neighbors", neighbors(&guest));
        PART("cleanup with connections open", cleanup_in_the_middle(&guest));
    }
    guest_free(&guest);
    printf("library version %s\n", slirp_version_string());
    return checks_finish();
}
