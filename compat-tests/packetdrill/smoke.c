/*
 * Tries the plug-in without packetdrill: loads it as packetdrill does, lets a script's
 * calls open a listener and a connection, plays the remote end of each by hand, and
 * passes bytes both ways. Usage: smoke PLUGIN.SO, with SLIRP_LIB as for the plug-in.
 */
#define _GNU_SOURCE
#include "interface.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, PORT = 8080 };

static struct packetdrill_interface plugin;
static int passed, failed;

static void check(bool ok, const char *what)
{
    printf("%s %s\n", ok ? "ok" : "not ok", what);
    *(ok ? &passed : &failed) += 1;
}

static uint32_t get32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

static void put32(uint8_t *bytes, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = value >> (24 - 8 * i);
}

static unsigned checksum(const uint8_t *bytes, size_t len, unsigned long sum)
{
    for (size_t i = 0; i < len; i++)
        sum += i % 2 ? bytes[i] : bytes[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

/* A segment from 10.0.2.15 to 10.0.2.2. */
static void inject(uint16_t from, uint16_t to, uint8_t flags, uint32_t seq, uint32_t ack, const char *data)
{
    size_t len = strlen(data);
    uint8_t packet[1500] = { 0x45, [8] = 64, [9] = 6, [12] = 10, [14] = 2, [15] = 15, [16] = 10, [18] = 2, [19] = 2 };
    uint8_t *tcp = packet + 20;
    packet[2] = (40 + len) >> 8;
    packet[3] = 40 + len;
    unsigned sum = checksum(packet, 20, 0);
    packet[10] = sum >> 8;
    packet[11] = sum;
    tcp[0] = from >> 8;
    tcp[1] = from;
    tcp[2] = to >> 8;
    tcp[3] = to;
    put32(tcp + 4, seq);
    put32(tcp + 8, ack);
    tcp[12] = 0x50;
    tcp[13] = flags;
    tcp[14] = 0x7f;
    memcpy(tcp + 20, data, len);
    sum = checksum(packet + 12, 8 + 20 + len, 6 + 20 + len);
    tcp[16] = sum >> 8;
    tcp[17] = sum;
    if (plugin.netdev_send(plugin.own, packet, 40 + len) != 0)
        check(false, "a packet is taken");
}

/* What the library sent next. */
struct segment {
    uint8_t flags;
    uint16_t from, to;
    uint32_t seq, ack;
    char data[64];
};

static struct segment next(void)
{
    uint8_t packet[65536];
    size_t len = sizeof packet;
    long long at;
    struct segment segment = { 0 };
    if (plugin.netdev_receive(plugin.own, packet, &len, &at) != 0 || len < 40 || packet[0] != 0x45 || packet[9] != 6)
        return segment;
    const uint8_t *tcp = packet + 20;
    size_t header = (tcp[12] >> 4) * 4;
    segment.flags = tcp[13];
    segment.from = tcp[0] << 8 | tcp[1];
    segment.to = tcp[2] << 8 | tcp[3];
    segment.seq = get32(tcp + 4);
    segment.ack = get32(tcp + 8);
    if (len > 20 + header && len - 20 - header < sizeof segment.data)
        memcpy(segment.data, tcp + header, len - 20 - header);
    return segment;
}

static void passive(void)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(PORT) };
    inet_pton(AF_INET, "10.0.2.2", &here.sin_addr);
    int listener = plugin.socket(plugin.own, AF_INET, SOCK_STREAM, IPPROTO_TCP);
    check(listener >= 0, "socket");
    check(plugin.bind(plugin.own, listener, (struct sockaddr *)&here, sizeof here) == 0, "bind");
    check(plugin.listen(plugin.own, listener, 1) == 0, "listen");
    inject(40000, PORT, SYN, 999, 0, "");
    struct segment got = next();
    check(got.flags == (SYN | ACK) && got.ack == 1000, "a SYN is answered by a SYN-ACK");
    uint32_t theirs = got.seq + 1;
    plugin.fcntl(plugin.own, listener, F_SETFL, (long)O_NONBLOCK);
    check(plugin.accept(plugin.own, listener, NULL, NULL) == -1 && errno == EAGAIN, "accept before the handshake has ended");
    inject(40000, PORT, ACK, 1000, theirs, "");
    struct sockaddr_in peer;
    socklen_t len = sizeof peer;
    int fd = plugin.accept(plugin.own, listener, (struct sockaddr *)&peer, &len);
    check(fd >= 0 && ntohs(peer.sin_port) == 40000 && peer.sin_addr.s_addr == htonl(0x0a00020f), "accept names the guest");
    inject(40000, PORT, ACK | PSH, 1000, theirs, "hello");
    got = next();
    check(got.flags == ACK && got.ack == 1005, "data is acknowledged");
    char buffer[64] = "";
    check(plugin.read(plugin.own, fd, buffer, sizeof buffer) == 5 && strcmp(buffer, "hello") == 0, "read");
    check(plugin.write(plugin.own, fd, "world", 5) == 5, "write");
    got = next();
    check(got.seq == theirs && strcmp(got.data, "world") == 0, "what was written is sent");

    struct timeval before, after;
    plugin.gettimeofday(plugin.own, &before, NULL);
    plugin.usleep(plugin.own, 100);
    got = next();
    plugin.gettimeofday(plugin.own, &after, NULL);
    check(got.seq == theirs && strcmp(got.data, "world") == 0, "what nobody acknowledged is sent again");
    long waited = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_usec - before.tv_usec) / 1000;
    check(waited >= 150 && waited < 3000, "and virtual time has passed");
    plugin.close(plugin.own, fd);
    plugin.close(plugin.own, listener);
}

static void active(void)
{
    struct sockaddr_in there = { .sin_family = AF_INET, .sin_port = htons(PORT) };
    inet_pton(AF_INET, "10.0.2.15", &there.sin_addr);
    int fd = plugin.socket(plugin.own, AF_INET, SOCK_STREAM, IPPROTO_TCP);
    plugin.fcntl(plugin.own, fd, F_SETFL, (long)O_NONBLOCK);
    int result = plugin.connect(plugin.own, fd, (struct sockaddr *)&there, sizeof there);
    check(result == -1 && errno == EINPROGRESS, "connect has begun");
    struct segment got;
    do
        got = next();
    while (got.flags != 0 && got.to != PORT);
    check(got.flags == SYN, "the library opens a connection to the guest");
    struct pollfd waiting = { .fd = fd, .events = POLLOUT };
    check(plugin.poll(plugin.own, &waiting, 1, 0) == 0, "it does not stand yet");
    inject(PORT, got.from, SYN | ACK, 5000, got.seq + 1, "");
    check(plugin.poll(plugin.own, &waiting, 1, 0) == 1 && waiting.revents == POLLOUT, "now it stands");
    got = next();
    check(got.flags == ACK && got.ack == 5001, "the handshake is ended");
    check(plugin.close(plugin.own, fd) == 0, "close");
    got = next();
    check(got.flags == (FIN | ACK), "the end is sent");
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: smoke PLUGIN.SO\n");
        return 2;
    }
    void *handle = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    void (*init)(const char *, struct packetdrill_interface *) = NULL;
    if (handle != NULL)
        *(void **)&init = dlsym(handle, "packetdrill_interface_init");
    if (init == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    init(NULL, &plugin);
    passive();
    active();
    plugin.release(plugin.own);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
