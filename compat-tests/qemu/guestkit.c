/*
 * What busybox lacks in the guest: a fast upload, many connections at once, both directions of a stream, UDP echo, name
 * servers out of router advertisements. Hosts are IPv4 or IPv6 addresses.
 * Built as a static program, so that the guest needs no C library.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/icmpv6.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MANY_MAX 256

static char buffer[1 << 16];

static void fail(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static struct sockaddr_storage address(const char *host, const char *port)
{
    struct sockaddr_storage a = {0};
    struct sockaddr_in *four = (struct sockaddr_in *)&a;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&a;
    in_port_t number = htons((unsigned short)atoi(port));
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = number;
    } else if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = number;
    } else {
        errno = EINVAL;
        fail(host);
    }
    return a;
}

static socklen_t length_of(const struct sockaddr_storage *a)
{
    return a->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* A socket of the address's family, and what connecting it gives. */
static int connected(int kind, const struct sockaddr_storage *a, int *result)
{
    int s = socket(a->ss_family, kind, 0);
    if (s < 0)
        fail("socket");
    *result = connect(s, (const struct sockaddr *)a, length_of(a));
    return s;
}

static int stream_to(const char *host, const char *port)
{
    struct sockaddr_storage a = address(host, port);
    int result, s = connected(SOCK_STREAM, &a, &result);
    if (result < 0)
        fail("connect");
    return s;
}

static void send_all(int s, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = send(s, data, size, 0);
        if (n < 0)
            fail("send");
        data += n;
        size -= (size_t)n;
    }
}

/*
 * send HOST PORT SECONDS: send as fast as the host takes it. take HOST PORT SECONDS: read as fast as the host sends. Both
 * end the connection after that time and print how many bytes went through and how many milliseconds it took.
 */
static int flood(const char *host, const char *port, int seconds, int sending)
{
    int s = stream_to(host, port);
    long long total = 0, took;
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        ssize_t n = sending ? send(s, buffer, sizeof buffer, MSG_NOSIGNAL) : recv(s, buffer, sizeof buffer, 0);
        if (n <= 0)
            fail(sending ? "send" : "recv");
        total += n;
        clock_gettime(CLOCK_MONOTONIC, &now);
        took = (now.tv_sec - start.tv_sec) * 1000LL + (now.tv_nsec - start.tv_nsec) / 1000000;
    } while (took < seconds * 1000LL);
    if (sending) {
        /* What is still on its way belongs to the time. */
        shutdown(s, SHUT_WR);
        if (recv(s, buffer, 1, 0) < 0)
            fail("recv");
        clock_gettime(CLOCK_MONOTONIC, &now);
        took = (now.tv_sec - start.tv_sec) * 1000LL + (now.tv_nsec - start.tv_nsec) / 1000000;
    }
    printf("%lld %lld\n", total, took);
    return 0;
}

/* put HOST PORT FILE: upload after the word PUT, half-close, print what the service answers (its digest). */
static int put(const char *host, const char *port, const char *path)
{
    int file = open(path, O_RDONLY), s = stream_to(host, port);
    ssize_t n;
    if (file < 0)
        fail(path);
    send_all(s, "PUT\n", 4);
    while ((n = read(file, buffer, sizeof buffer)) > 0)
        send_all(s, buffer, (size_t)n);
    shutdown(s, SHUT_WR);
    while ((n = recv(s, buffer, sizeof buffer, 0)) > 0)
        fwrite(buffer, 1, (size_t)n, stdout);
    if (n < 0)
        fail("recv");
    return 0;
}

static char expected(int connection, long at)
{
    return (char)(at * 31 + connection * 7 + at / 251);
}

/* many HOST PORT COUNT SIZE: COUNT connections at once, each echoing SIZE bytes of its own; prints how many did. */
static int many(const char *host, const char *port, int count, long size)
{
    static struct pollfd polled[MANY_MAX];
    static long sent[MANY_MAX], got[MANY_MAX];
    int good = 0, open_now = count;
    time_t end = time(NULL) + 60;
    if (count > MANY_MAX)
        count = open_now = MANY_MAX;
    for (int i = 0; i < count; i++) {
        polled[i].fd = stream_to(host, port);
        polled[i].events = POLLIN | POLLOUT;
        send_all(polled[i].fd, "ECHO\n", 5);
        fcntl(polled[i].fd, F_SETFL, O_NONBLOCK);
    }
    while (open_now > 0 && time(NULL) < end) {
        poll(polled, (nfds_t)count, 1000);
        for (int i = 0; i < count; i++) {
            char piece[4096];
            if (polled[i].fd < 0)
                continue;
            if (polled[i].revents & POLLOUT) {
                long n = size - sent[i] < (long)sizeof piece ? size - sent[i] : (long)sizeof piece;
                for (long k = 0; k < n; k++)
                    piece[k] = expected(i, sent[i] + k);
                n = send(polled[i].fd, piece, (size_t)n, 0);
                if (n > 0)
                    sent[i] += n;
                if (sent[i] == size) {
                    shutdown(polled[i].fd, SHUT_WR);
                    polled[i].events = POLLIN;
                }
            }
            if (polled[i].revents & (POLLIN | POLLHUP | POLLERR)) {
                ssize_t n = recv(polled[i].fd, piece, sizeof piece, 0);
                long wrong = 0;
                for (ssize_t k = 0; k < n; k++)
                    wrong += piece[k] != expected(i, got[i] + k);
                if (n > 0)
                    got[i] += n;
                if (n == 0 && got[i] == size)
                    good++;
                if (wrong || n == 0 || (n < 0 && errno != EAGAIN)) {
                    close(polled[i].fd);
                    polled[i].fd = -1;
                    open_now--;
                }
            }
        }
    }
    printf("%d\n", good);
    return 0;
}

/* udp HOST PORT SIZE...: each size there and back, printing the sizes that came back unchanged. */
static int udp(const char *host, const char *port, int count, char **sizes)
{
    static char answer[1 << 16];
    struct sockaddr_storage a = address(host, port);
    int result, s = connected(SOCK_DGRAM, &a, &result);
    if (result < 0)
        fail("connect");
    for (int i = 0; i < count; i++) {
        size_t size = (size_t)atoi(sizes[i]);
        for (size_t k = 0; k < size; k++)
            buffer[k] = expected(i, (long)k);
        for (int attempt = 0; attempt < 2; attempt++) {
            struct pollfd p = {.fd = s, .events = POLLIN};
            send(s, buffer, size, 0);
            if (poll(&p, 1, 3000) == 1 && recv(s, answer, sizeof answer, 0) == (ssize_t)size &&
                memcmp(answer, buffer, size) == 0) {
                printf("%s ", sizes[i]);
                break;
            }
        }
    }
    printf("\n");
    return 0;
}

/*
 * talk HOST PORT FILE COUNT: send the file, print what comes back. After COUNT bytes came (or a second without any) we
 * end our direction. The standard error says how the
 * other side ended: "end", "reset", or "open" after two seconds without either.
 */
static int talk(const char *host, const char *port, const char *path, long count)
{
    int file = open(path, O_RDONLY), s = stream_to(host, port), patience = 1000;
    long got = 0, pending = 0, sent = 0;
    const char *how = "open";
    static char piece[1 << 16];
    struct pollfd p = {.fd = s, .events = POLLIN | POLLOUT};
    if (file < 0)
        fail(path);
    fcntl(s, F_SETFL, O_NONBLOCK);
    for (;;) {
        int ready = poll(&p, 1, patience);
        if (ready <= 0 && patience == 2000)
            break;
        if (p.revents & POLLOUT) {
            if (sent == pending) {
                pending = read(file, buffer, sizeof buffer);
                sent = 0;
            }
            if (pending <= 0) {
                p.events = POLLIN;
            } else {
                ssize_t n = send(s, buffer + sent, (size_t)(pending - sent), MSG_NOSIGNAL);
                sent += n > 0 ? n : 0;
            }
        }
        if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
            ssize_t n = recv(s, piece, sizeof piece, 0);
            if (n > 0) {
                fwrite(piece, 1, (size_t)n, stdout);
                got += n;
            } else if (n == 0 || errno != EAGAIN) {
                how = n == 0 ? "end" : "reset";
                break;
            }
        }
        if (p.events == POLLIN && patience == 1000 && (got >= count || ready <= 0)) {
            shutdown(s, SHUT_WR);
            patience = 2000;
        }
    }
    fflush(stdout);
    fprintf(stderr, "%s\n", how);
    return 0;
}

static void background(void)
{
    fflush(stdout);
    if (fork() != 0)
        _exit(0);
    setsid();
    int nowhere = open("/dev/null", O_RDWR);
    dup2(nowhere, 0);
    dup2(nowhere, 1);
    dup2(nowhere, 2);
}

static int bound(int kind, const char *port)
{
    struct sockaddr_storage a = address("0.0.0.0", port);
    int one = 1, s = socket(AF_INET, kind, 0);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (s < 0 || bind(s, (struct sockaddr *)&a, length_of(&a)) < 0)
        fail("bind");
    return s;
}

/* serve-udp PORT: echo in the background; the word PEER is answered with the sender's address. */
static _Noreturn void serve_udp(const char *port)
{
    int s = bound(SOCK_DGRAM, port);
    background();
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        ssize_t n = recvfrom(s, buffer, sizeof buffer, 0, (struct sockaddr *)&peer, &length);
        if (n == 4 && memcmp(buffer, "PEER", 4) == 0)
            n = snprintf(buffer, sizeof buffer, "%s", inet_ntoa(peer.sin_addr));
        if (n >= 0)
            sendto(s, buffer, (size_t)n, 0, (struct sockaddr *)&peer, length);
    }
}

/* serve-tcp PORT: send the client's address as a line, then echo; one process a connection. */
static _Noreturn void serve_tcp(const char *port)
{
    int s = bound(SOCK_STREAM, port);
    if (listen(s, 128) < 0)
        fail("listen");
    background();
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        int client = accept(s, (struct sockaddr *)&peer, &length);
        if (client >= 0 && fork() == 0) {
            ssize_t n = snprintf(buffer, sizeof buffer, "%s\n", inet_ntoa(peer.sin_addr));
            do {
                send_all(client, buffer, (size_t)n);
                n = recv(client, buffer, sizeof buffer, 0);
            } while (n > 0);
            _exit(0);
        }
        close(client);
    }
}

/* refused HOST PORT: connect and print the error's number and the milliseconds that it took. */
static int refused(const char *host, const char *port)
{
    struct sockaddr_storage a = address(host, port);
    struct timespec before, after;
    int result;
    clock_gettime(CLOCK_MONOTONIC, &before);
    connected(SOCK_STREAM, &a, &result);
    int number = result < 0 ? errno : 0;
    clock_gettime(CLOCK_MONOTONIC, &after);
    printf("%d %ld\n", number, (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000);
    return 0;
}

/* The name servers in the options of a router advertisement that the kernel hands on; how many there are. */
static int print_servers(const char *options, size_t size)
{
    int found = 0;
    for (size_t at = 0; at + 8 <= size && options[at + 1] > 0; at += 8 * (size_t)options[at + 1]) {
        size_t end = at + 8 * (size_t)options[at + 1];
        if (options[at] != 25 || end > size)
            continue;
        for (size_t server = at + 8; server + 16 <= end; server += 16) {
            char text[INET6_ADDRSTRLEN];
            inet_ntop(AF_INET6, options + server, text, sizeof text);
            printf("%s\n", text);
            found++;
        }
    }
    return found;
}

/*
 * rdnss INTERFACE: solicit a router and print the name servers (RFC 8106) that the kernel takes from its advertisement;
 * that is where rdnssd and systemd-networkd get them from as well.
 */
static int rdnss(const char *interface)
{
    struct sockaddr_nl local = {.nl_family = AF_NETLINK, .nl_groups = 1u << (RTNLGRP_ND_USEROPT - 1)};
    struct sockaddr_in6 routers = {.sin6_family = AF_INET6, .sin6_scope_id = if_nametoindex(interface)};
    struct icmp6hdr solicitation = {.icmp6_type = 133};
    int hops = 255, events = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    int raw = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
    inet_pton(AF_INET6, "ff02::2", &routers.sin6_addr);
    if (events < 0 || bind(events, (struct sockaddr *)&local, sizeof local) < 0)
        fail("netlink");
    if (raw < 0 || setsockopt(raw, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops) < 0)
        fail("raw socket");
    for (int attempt = 0; attempt < 5; attempt++) {
        struct pollfd p = {.fd = events, .events = POLLIN};
        if (sendto(raw, &solicitation, sizeof solicitation, 0, (struct sockaddr *)&routers, sizeof routers) < 0)
            fail("sendto");
        if (poll(&p, 1, 2000) != 1)
            continue;
        ssize_t size = recv(events, buffer, sizeof buffer, 0);
        struct nlmsghdr *head = (struct nlmsghdr *)buffer;
        struct nduseroptmsg *message = NLMSG_DATA(head);
        if (size < (ssize_t)NLMSG_LENGTH(sizeof *message) || head->nlmsg_type != RTM_NEWNDUSEROPT ||
            (size_t)size < NLMSG_LENGTH(sizeof *message) + message->nduseropt_opts_len)
            continue;
        if (print_servers((char *)(message + 1), message->nduseropt_opts_len) > 0)
            return 0;
    }
    printf("no name server\n");
    return 1;
}

int main(int argc, char **argv)
{
    if (argc == 5 && !strcmp(argv[1], "put"))
        return put(argv[2], argv[3], argv[4]);
    if (argc == 5 && (!strcmp(argv[1], "send") || !strcmp(argv[1], "take")))
        return flood(argv[2], argv[3], atoi(argv[4]), argv[1][0] == 's');
    if (argc == 6 && !strcmp(argv[1], "many"))
        return many(argv[2], argv[3], atoi(argv[4]), atol(argv[5]));
    if (argc > 4 && !strcmp(argv[1], "udp"))
        return udp(argv[2], argv[3], argc - 4, argv + 4);
    if (argc == 6 && !strcmp(argv[1], "talk"))
        return talk(argv[2], argv[3], argv[4], atol(argv[5]));
    if (argc == 3 && !strcmp(argv[1], "serve-udp"))
        serve_udp(argv[2]);
    if (argc == 3 && !strcmp(argv[1], "serve-tcp"))
        serve_tcp(argv[2]);
    if (argc == 4 && !strcmp(argv[1], "refused"))
        return refused(argv[2], argv[3]);
    if (argc == 3 && !strcmp(argv[1], "rdnss"))
        return rdnss(argv[2]);
    fprintf(stderr, "usage: guestkit put|send|take|many|udp|talk|serve-udp|serve-tcp|refused|rdnss ...\n");
    return 2;
}
