/*
 * A user network over libvdeslirp with every forward that it offers, and a guest that makes its frames by hand at the
 * other end. libvdeslirp runs the library's loop in a thread of its own; this program only sees frames on a socket.
 *
 * The variable UPSTREAM says that the installed upstream library is under test: a check that asks for more than it
 * gives is then skipped when it fails.
 */
#define _GNU_SOURCE
#include <slirp/libvdeslirp.h>

#define GUEST_OWN_LINK
#include "../c/check.h"
#include "../c/guest.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/un.h>

enum { BULK = 1 << 20, PATIENCE = 5000 };

static struct vdeslirp *network;
static uint8_t pattern[BULK];
static bool upstream;

/* A check that only counts where more than upstream's behavior is promised. */
#define CHECK_BEYOND(condition, ...)                                       \
    do {                                                                   \
        if (upstream && !(condition)) {                                    \
            printf("skip upstream does not do this: %s\n", #condition);    \
        } else {                                                           \
            CHECK(condition, __VA_ARGS__);                                 \
        }                                                                  \
    } while (0)

static void guest_transmit(Guest *guest, const void *frame, size_t len)
{
    (void)guest;
    if (vdeslirp_send(network, frame, len) != (ssize_t)len) {
        perror("vdeslirp_send");
        exit(2);
    }
}

/* Takes what has arrived, after waiting for at most `sleep` milliseconds. */
static void guest_turn(Guest *guest, uint32_t sleep)
{
    uint8_t frame[2048];
    struct pollfd wait = { .fd = vdeslirp_fd(network), .events = POLLIN };
    while (poll(&wait, 1, (int)sleep) == 1 && wait.revents & POLLIN) {
        ssize_t len = vdeslirp_recv(network, frame, sizeof(frame));
        if (len <= 0) {
            break;
        }
        guest_send_packet(frame, (size_t)len, guest);
        sleep = 0;
    }
    handle_arrived(guest);
}

static struct in_addr in4(uint32_t address)
{
    return (struct in_addr){ htonl(address) };
}

static void open_network(void)
{
    SlirpConfig config;
    vdeslirp_init(&config, VDE_INIT_DEFAULT);
    network = vdeslirp_open(&config);
    if (network == NULL) {
        perror("vdeslirp_open");
        exit(2);
    }
}

/* A blocking socket at 127.0.0.1 and a free port, which is stored in host byte order. */
static int loopback_socket(int type, uint16_t *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = in4(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        perror("socket");
        exit(2);
    }
    *port = ntohs(address.sin_port);
    return fd;
}

static uint16_t free_port(int type)
{
    uint16_t port;
    close(loopback_socket(type, &port));
    return port;
}

/* A client's socket connected to a loopback port, or -1. Its reads wait for two seconds at most. */
static int client(int type, uint16_t port)
{
    uint16_t own;
    struct timeval patience = { .tv_sec = 2 };
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = in4(INADDR_LOOPBACK) };
    int fd = loopback_socket(type, &own);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Serves one connection of the listening socket that `argument` points to: echoes until its end, then ends. */
static void *echo_once(void *argument)
{
    static char piece[65536];
    int fd = accept(*(int *)argument, NULL, NULL);
    ssize_t got;
    while (fd >= 0 && (got = recv(fd, piece, sizeof(piece), 0)) > 0) {
        if (send(fd, piece, (size_t)got, MSG_NOSIGNAL) != got) {
            break;
        }
    }
    close(fd);
    return NULL;
}

static GuestTcp *connected(Guest *guest, uint32_t address, uint16_t port)
{
    static uint16_t own = 40000;
    GuestTcp *tcp = new_tcp(guest, address, port, ++own);
    guest_connect(guest, tcp);
    return tcp;
}

/* After its forward is gone, an address is one outside, which this host cannot reach. */
static void nobody_there(Guest *guest, uint32_t address, uint16_t port)
{
    GuestTcp *tcp = new_tcp(guest, address, port, 39999);
    empty_inbox(guest);
    send_segment(guest, tcp, tcp->snd_nxt++, TCP_SYN, NULL, 0);
    RUN_UNTIL(guest, tcp->established || tcp->got_rst || guest->inbox_len > 0, PATIENCE);
    CHECK(!tcp->established && (tcp->got_rst || guest->inbox_len > 0), "the address still answers, or nothing did");
    empty_inbox(guest);
    free_tcp(tcp);
}

/* Sends the pattern, ends, and expects the pattern and an end. */
static void echo_through(Guest *guest, GuestTcp *tcp)
{
    CHECK(tcp->established, "no handshake");
    guest_send(guest, tcp, pattern, BULK, NULL, NULL);
    RUN_UNTIL(guest, tcp->received_len >= BULK, PATIENCE);
    guest_fin(guest, tcp);
    RUN_UNTIL(guest, tcp->got_fin || tcp->got_rst, PATIENCE);
    CHECK(tcp->received_len == BULK && memcmp(tcp->received, pattern, BULK) == 0, "%zu bytes", tcp->received_len);
    CHECK(tcp->got_fin && !tcp->got_rst, "end %d, reset %d", tcp->got_fin, tcp->got_rst);
    free_tcp(tcp);
}

/* What a connection to `port` of 10.0.2.2 carries: an echo service on the host, in its own thread. */
static void tcp_out(Guest *guest)
{
    uint16_t port;
    pthread_t server;
    int listening = loopback_socket(SOCK_STREAM, &port);
    listen(listening, 1);
    pthread_create(&server, NULL, echo_once, &listening);
    echo_through(guest, connected(guest, ROUTER_ADDRESS, port));
    shutdown(listening, SHUT_RDWR); /* ends a server that nobody reached */
    pthread_join(server, NULL);
    close(listening);

    GuestTcp *tcp = connected(guest, ROUTER_ADDRESS, port);
    CHECK(tcp->got_rst, "a closed port took the connection");
    free_tcp(tcp);
}

static void udp_out(Guest *guest)
{
    uint16_t port;
    size_t len = 0;
    char question[16];
    struct sockaddr_in peer;
    socklen_t peer_len = sizeof(peer);
    struct timeval patience = { .tv_sec = 2 };
    int server = loopback_socket(SOCK_DGRAM, &port);
    setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    send_udp(guest, guest->router_mac, GUEST_ADDRESS, 5000, ROUTER_ADDRESS, port, "question", 8);
    ssize_t got = recvfrom(server, question, sizeof(question), 0, (struct sockaddr *)&peer, &peer_len);
    CHECK(got == 8 && memcmp(question, "question", 8) == 0, "%zd bytes", got);
    sendto(server, "answer", 6, 0, (struct sockaddr *)&peer, peer_len);
    RUN_UNTIL(guest, find_ip(guest, 17, 2, 5000, &len) != NULL, PATIENCE);
    const uint8_t *answer = find_ip(guest, 17, 2, 5000, &len);
    CHECK(answer != NULL && len == 14 && get16(answer) == port && memcmp(answer + 8, "answer", 6) == 0, "%zu", len);
    empty_inbox(guest);
    close(server);
}

/* Reads what has come for a host client without waiting. */
typedef struct {
    int fd;
    size_t len;
    uint8_t data[BULK + 1];
} Sink;

static void drain(void *argument)
{
    Sink *sink = argument;
    ssize_t got;
    while (sink->len < sizeof(sink->data) &&
           (got = recv(sink->fd, sink->data + sink->len, sizeof(sink->data) - sink->len, MSG_DONTWAIT)) > 0) {
        sink->len += (size_t)got;
    }
}

/* The connection that the guest took last, or NULL. */
static GuestTcp *taken(Guest *guest, uint16_t port)
{
    for (size_t i = 0; i < GUEST_CONNECTIONS; i++) {
        if (guest->tcp[i].used && guest->tcp[i].port == port && guest->tcp[i].established) {
            return &guest->tcp[i];
        }
    }
    return NULL;
}

static void tcp_forward(Guest *guest)
{
    static Sink sink;
    struct in_addr loopback = in4(INADDR_LOOPBACK), to = in4(GUEST_ADDRESS);
    uint16_t port = free_port(SOCK_STREAM);
    CHECK(vdeslirp_add_fwd(network, 0, loopback, port, to, 80) == 0, "%s", strerror(errno));
    guest->listening = 80;
    sink.fd = client(SOCK_STREAM, port);
    CHECK(sink.fd >= 0, "%s", strerror(errno));
    RUN_UNTIL(guest, taken(guest, 80) != NULL, PATIENCE);
    GuestTcp *tcp = taken(guest, 80);
    CHECK(tcp != NULL, "the guest saw no connection");
    if (tcp != NULL) {
        CHECK(tcp->peer == ROUTER_ADDRESS, "from %08x", tcp->peer);
        CHECK(send(sink.fd, "hello", 5, 0) == 5, "%s", strerror(errno));
        RUN_UNTIL(guest, tcp->received_len == 5, PATIENCE);
        CHECK(tcp->received_len == 5 && memcmp(tcp->received, "hello", 5) == 0, "%zu bytes", tcp->received_len);
        guest_send(guest, tcp, pattern, BULK, drain, &sink);
        guest_fin(guest, tcp);
        int64_t end = now_ms() + PATIENCE;
        while (sink.len < BULK && now_ms() < end) {
            guest_turn(guest, 5);
            drain(&sink);
        }
        CHECK(sink.len == BULK && memcmp(sink.data, pattern, BULK) == 0, "%zu bytes", sink.len);
        CHECK(recv(sink.fd, sink.data, 1, 0) == 0, "no end");
        shutdown(sink.fd, SHUT_WR);
        RUN_UNTIL(guest, tcp->got_fin, PATIENCE);
        CHECK(tcp->got_fin, "the guest saw no end");
        free_tcp(tcp);
    }
    close(sink.fd);
    guest->listening = 0;
    CHECK(vdeslirp_remove_fwd(network, 0, loopback, port) == 0, "%s", strerror(errno));
    CHECK(client(SOCK_STREAM, port) < 0, "the port still takes connections");
}

static void udp_forward(Guest *guest)
{
    struct in_addr loopback = in4(INADDR_LOOPBACK);
    uint16_t port = free_port(SOCK_DGRAM), from[2] = { 0, 0 };
    size_t len = 0;
    char answer[8];
    CHECK(vdeslirp_add_fwd(network, 1, loopback, port, in4(GUEST_ADDRESS), 53) == 0, "%s", strerror(errno));
    int clients[2] = { client(SOCK_DGRAM, port), client(SOCK_DGRAM, port) };
    for (int i = 0; i < 2; i++) {
        empty_inbox(guest);
        CHECK(send(clients[i], i ? "two" : "one", 3, 0) == 3, "%s", strerror(errno));
        RUN_UNTIL(guest, find_ip(guest, 17, 2, 53, &len) != NULL, PATIENCE);
        const uint8_t *datagram = find_ip(guest, 17, 2, 53, &len);
        CHECK(datagram != NULL && len == 11 && memcmp(datagram + 8, i ? "two" : "one", 3) == 0, "%zu bytes", len);
        from[i] = datagram != NULL ? get16(datagram) : 0;
    }
    CHECK_BEYOND(from[0] != from[1], "the guest cannot tell the clients apart: port %d", from[0]);
    /* The guest answers the first client last, so that nothing like "the latest client" is enough. */
    for (int i = 1; i >= 0; i--) {
        send_udp(guest, guest->router_mac, GUEST_ADDRESS, 53, ROUTER_ADDRESS, from[i], i ? "TWO" : "ONE", 3);
        ssize_t got = recv(clients[i], answer, sizeof(answer), 0);
        CHECK_BEYOND(got == 3 && memcmp(answer, i ? "TWO" : "ONE", 3) == 0, "client %d got %zd bytes", i, got);
    }
    empty_inbox(guest);
    CHECK(vdeslirp_remove_fwd(network, 1, loopback, port) == 0, "%s", strerror(errno));
    close(clients[0]);
    close(clients[1]);
}

static void unix_forward(Guest *guest, const char *folder)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct in_addr at = in4(0x0a000264), none = { 0 };
    pthread_t server;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/service", folder);
    int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listening, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(listening, 1) != 0) {
        perror("Unix socket");
        exit(2);
    }
    CHECK(vdeslirp_add_unixfwd(network, address.sun_path, &at, 6000) == 0, "%s", strerror(errno));
    CHECK(vdeslirp_add_unixfwd(network, address.sun_path, &none, 6001) == 0, "%s", strerror(errno));
    uint32_t chosen = ntohl(none.s_addr);
    CHECK_BEYOND(chosen == 0x0a000204, "the address is %08x", chosen);
    pthread_create(&server, NULL, echo_once, &listening);
    echo_through(guest, connected(guest, ntohl(at.s_addr), 6000));
    shutdown(listening, SHUT_RDWR); /* ends a server that nobody reached */
    pthread_join(server, NULL);

    close(listening);
    GuestTcp *tcp = connected(guest, ntohl(at.s_addr), 6000);
    RUN_UNTIL(guest, tcp->got_fin || tcp->got_rst, PATIENCE);
    CHECK(tcp->got_fin || tcp->got_rst, "nobody listens, and the guest's connection stays");
    free_tcp(tcp);

    CHECK(vdeslirp_remove_unixfwd(network, at, 6000) == 0, "%s", strerror(errno));
    nobody_there(guest, ntohl(at.s_addr), 6000);
    unlink(address.sun_path);
}

/* What a command prints until its end; the result is freed by the next call. */
static const char *command_says(Guest *guest, uint32_t address, uint16_t port, const char *input)
{
    static char said[4096];
    GuestTcp *tcp = connected(guest, address, port);
    CHECK(tcp->established, "no handshake");
    if (input != NULL) {
        guest_send(guest, tcp, (const uint8_t *)input, strlen(input), NULL, NULL);
    }
    RUN_UNTIL(guest, tcp->got_fin || tcp->got_rst, PATIENCE);
    CHECK(tcp->got_fin && !tcp->got_rst, "end %d, reset %d", tcp->got_fin, tcp->got_rst);
    snprintf(said, sizeof(said), "%.*s", (int)tcp->received_len, tcp->received ? (const char *)tcp->received : "");
    free_tcp(tcp);
    return said;
}

static void command_forward(Guest *guest)
{
    struct in_addr at = in4(0x0a000265);
    uint32_t address = ntohl(at.s_addr);
    CHECK(vdeslirp_add_cmdexec(network, "cat", &at, 7) == 0, "%s", strerror(errno));
    echo_through(guest, connected(guest, address, 7));

    /* A second start of the same command, beside a first one that still runs. */
    GuestTcp *first = connected(guest, address, 7), *second = connected(guest, address, 7);
    guest_send(guest, second, (const uint8_t *)"second", 6, NULL, NULL);
    guest_send(guest, first, (const uint8_t *)"first", 5, NULL, NULL);
    RUN_UNTIL(guest, first->received_len == 5 && second->received_len == 6, PATIENCE);
    CHECK(first->received_len == 5 && memcmp(first->received, "first", 5) == 0, "%zu bytes", first->received_len);
    CHECK(second->received_len == 6 && memcmp(second->received, "second", 6) == 0, "%zu", second->received_len);
    for (int i = 0; i < 2; i++) {
        GuestTcp *tcp = i ? second : first;
        guest_fin(guest, tcp);
        RUN_UNTIL(guest, tcp->got_fin, PATIENCE);
        CHECK(tcp->got_fin, "the command did not end with its input");
        free_tcp(tcp);
    }

    CHECK(vdeslirp_add_cmdexec(network, "printf '%s|' \"a b\" c\\ d '' \"it's\"", &at, 8) == 0, "%s", strerror(errno));
    const char *said = command_says(guest, address, 8, NULL);
    CHECK(strcmp(said, "a b|c d||it's|") == 0, "%s", said);

    const char *script = "sh -c 'read word; echo \"got $word\" >&2; ls -l /proc/self/fd >&2'";
    CHECK(vdeslirp_add_cmdexec(network, script, &at, 9) == 0, "%s", strerror(errno));
    said = command_says(guest, address, 9, "something\n");
    CHECK(strncmp(said, "got something", 13) == 0, "%s", said);
    /* ls itself opens the folder that it lists: descriptor 3. A fourth would be one of ours. */
    CHECK(strstr(said, " 2 -> ") != NULL && strstr(said, " 4 -> ") == NULL, "%s", said);

    CHECK(vdeslirp_add_cmdexec(network, "no-such-program-anywhere", &at, 10) == 0, "%s", strerror(errno));
    said = command_says(guest, address, 10, NULL);
    CHECK(said[0] == 0, "%s", said);
    CHECK(vdeslirp_add_cmdexec(network, "echo 'no end", &at, 11) == 0, "%s", strerror(errno));
    said = command_says(guest, address, 11, NULL);
    CHECK(said[0] == 0, "%s", said);

    CHECK(vdeslirp_remove_cmdexec(network, at, 7) == 0, "%s", strerror(errno));
    nobody_there(guest, address, 7);
}

static void gateway(Guest *guest)
{
    static const uint8_t wanted[6] = { 0x52, 0x55, 10, 0, 2, 2 };
    send_arp(guest, 1, broadcast_mac, ROUTER_ADDRESS);
    RUN_UNTIL(guest, guest->inbox_len > 0, PATIENCE);
    CHECK(guest->inbox_len == 1 && memcmp(guest->inbox[0].data + 22, wanted, 6) == 0, "%zu frames", guest->inbox_len);
    memcpy(guest->router_mac, wanted, 6);
    empty_inbox(guest);
}

static int entries(const char *folder)
{
    int count = 0;
    DIR *dir = opendir(folder);
    while (dir != NULL && readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

/* The path of the libslirp that is mapped has to be the one that LIBRARY names; with `system` it only has to be one. */
static void prove_library(void)
{
    const char *wanted = getenv("LIBRARY");
    char line[4096], found[4096] = "", *path;
    int others = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        line[strcspn(line, "\n")] = 0;
        path = strchr(line, '/');
        if (path == NULL || strstr(path, "libslirp.so") == NULL) {
            continue;
        }
        others += found[0] != 0 && strcmp(found, path) != 0;
        snprintf(found, sizeof(found), "%s", path);
    }
    fclose(maps);
    printf("# library: %s\n", found);
    CHECK(others == 0 && wanted != NULL && strcmp(found, wanted) == 0, "mapped: %s, wanted: %s", found, wanted);
}

int main(int argc, char **argv)
{
    Guest guest = { 0 };
    if (argc != 2) {
        fprintf(stderr, "usage: forwards FOLDER\n");
        return 2;
    }
    upstream = getenv("UPSTREAM") != NULL;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    alarm(60);
    for (size_t i = 0; i < BULK; i++) {
        pattern[i] = (uint8_t)(i * 131 + i / 251 + i / 65536 * 17);
    }
    prove_library();
    int descriptors = entries("/proc/self/fd"), threads = entries("/proc/self/task");
    open_network();
    gateway(&guest);
    tcp_out(&guest);
    udp_out(&guest);
    tcp_forward(&guest);
    udp_forward(&guest);
    unix_forward(&guest, argv[1]);
    command_forward(&guest);
    CHECK(vdeslirp_close(network) == 0, "%s", strerror(errno));
    guest_free(&guest);
    for (int i = 0; i < 10; i++) {
        open_network();
        CHECK(vdeslirp_add_fwd(network, 0, in4(INADDR_LOOPBACK), free_port(SOCK_STREAM), in4(GUEST_ADDRESS), 80) == 0,
              "%s", strerror(errno));
        CHECK(vdeslirp_close(network) == 0, "%s", strerror(errno));
    }
    /* What a command's end leaves behind may take a moment. */
    for (int64_t end = now_ms() + 1000; now_ms() < end && entries("/proc/self/fd") > descriptors;) {
        poll(NULL, 0, 10);
    }
    int left = entries("/proc/self/fd");
    CHECK_BEYOND(left == descriptors, "%d descriptors, before %d", left, descriptors);
    left = entries("/proc/self/task");
    CHECK(left == threads, "%d threads, before %d", left, threads);
    return checks_finish();
}
