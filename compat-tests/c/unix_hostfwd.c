/*
 * Host forwards on Unix sockets, which QEMU offers as `hostfwd=unix:` in versions later than many a distribution's:
 * clients of a socket file on the host reach a TCP port of the guest. Version 4.7 of the interface is enough.
 */
#define _GNU_SOURCE
#include <slirp/libslirp.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "check.h"
#include "guest.h"

enum { BULK = 200000, PATIENCE = 5000 };

static uint8_t pattern[BULK];

/* What a host client has received. */
typedef struct {
    int fd;
    size_t len;
    bool ended;
    uint8_t data[BULK + 1];
} Sink;

static void drain(void *argument)
{
    Sink *sink = argument;
    ssize_t got = 1;
    while (got > 0 && sink->len < sizeof(sink->data)) {
        got = recv(sink->fd, sink->data + sink->len, sizeof(sink->data) - sink->len, MSG_DONTWAIT);
        sink->len += got > 0 ? (size_t)got : 0;
    }
    sink->ended |= got == 0;
}

static int client(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static GuestTcp *taken(Guest *guest)
{
    for (size_t i = 0; i < GUEST_CONNECTIONS; i++) {
        if (guest->tcp[i].used && guest->tcp[i].established) {
            return &guest->tcp[i];
        }
    }
    return NULL;
}

/* One client: a word to the guest, many bytes back, and an end from each side. */
static void exchange(Guest *guest, const struct sockaddr_un *address)
{
    static Sink sink;
    memset(&sink, 0, sizeof(sink));
    sink.fd = client(address);
    CHECK(sink.fd >= 0, "%s", strerror(errno));
    CHECK(send(sink.fd, "hello", 5, 0) == 5, "%s", strerror(errno));
    RUN_UNTIL(guest, taken(guest) != NULL && taken(guest)->received_len == 5, PATIENCE);
    GuestTcp *tcp = taken(guest);
    CHECK(tcp != NULL && tcp->received_len == 5, "the guest did not get the word");
    if (tcp != NULL) {
        CHECK(tcp->peer == ROUTER_ADDRESS, "from %08x", tcp->peer);
        guest_send(guest, tcp, pattern, BULK, drain, &sink);
        guest_fin(guest, tcp);
        for (int64_t end = now_ms() + PATIENCE; !sink.ended && now_ms() < end; drain(&sink)) {
            guest_turn(guest, 5);
        }
        CHECK(sink.ended && sink.len == BULK && memcmp(sink.data, pattern, BULK) == 0, "%zu bytes", sink.len);
        close(sink.fd);
        RUN_UNTIL(guest, tcp->got_fin || tcp->got_rst, PATIENCE);
        CHECK(tcp->got_fin && !tcp->got_rst, "end %d, reset %d", tcp->got_fin, tcp->got_rst);
        free_tcp(tcp);
    } else {
        close(sink.fd);
    }
}

int main(void)
{
    Guest guest = { 0 };
    SlirpConfig config = guest_config(4);
    char folder[] = "/tmp/unix_hostfwd.XXXXXX";
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct sockaddr_in inside = { .sin_family = AF_INET, .sin_port = htons(80) };
    struct stat status;
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(60);
    for (size_t i = 0; i < BULK; i++) {
        pattern[i] = (uint8_t)(i * 131 + i / 251);
    }
    guest.slirp = slirp_new(&config, &guest_callbacks, &guest);
    guest.listening = 80;
    memcpy(guest.router_mac, "\x52\x55\x0a\x00\x02\x02", 6);
    send_arp(&guest, 1, broadcast_mac, ROUTER_ADDRESS);
    handle_arrived(&guest);

    if (mkdtemp(folder) == NULL) {
        perror("folder");
        return 2;
    }
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", folder);
    inside.sin_addr.s_addr = htonl(GUEST_ADDRESS);
    const struct sockaddr *host = (const struct sockaddr *)&address, *to = (const struct sockaddr *)&inside;
    CHECK(slirp_add_hostxfwd(guest.slirp, host, sizeof(address), to, sizeof(inside), 0) == 0, "%s", strerror(errno));
    CHECK(stat(address.sun_path, &status) == 0 && S_ISSOCK(status.st_mode), "no socket file");
    exchange(&guest, &address);
    exchange(&guest, &address);
    CHECK(slirp_remove_hostxfwd(guest.slirp, host, sizeof(address), 0) == 0, "%s", strerror(errno));
    CHECK(client(&address) < 0, "the socket still takes connections");
    CHECK(slirp_remove_hostxfwd(guest.slirp, host, sizeof(address), 0) != 0, "removed twice");
    slirp_cleanup(guest.slirp);
    unlink(address.sun_path);
    rmdir(folder);
    guest_free(&guest);
    return checks_finish();
}
