/*
 * A user network on standard input and output, with the habits of programs such as reSLIRP: length-prefixed frames over
 * blocking pipes, the length and the frame in two writes; one read of the input a round, and slirp_input for each frame in
 * it; slirp_pollfds_poll before the input, and not at all when poll() timed out; sockets are asked for IN and OUT only;
 * timer handles count from zero; no timer_new_opaque, and no register_poll_fd where there is register_poll_socket.
 *
 * framed_slirp [tcp|udp HOSTPORT GUESTPORT]...   forwards at 127.0.0.1 to 10.0.2.15, and at ::1 to fd00::15
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MRU = 9000, WATCHED = 8192, TIMERS = 4 };

/* Not in libraries before 4.9. */
#pragma weak slirp_pollfds_fill_socket

static Slirp *slirp;
static struct pollfd watched[WATCHED];
static int watched_len;
static struct {
    SlirpTimerCb run;
    void *opaque;
    int64_t at_ms; /* never: INT64_MAX */
} timers[TIMERS];
static int timers_len;

static int64_t now_ns(void *opaque)
{
    struct timespec now;
    (void)opaque;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static slirp_ssize_t write_all(const void *from, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t put = write(STDOUT_FILENO, (const char *)from + done, len - done);
        if (put > 0) {
            done += (size_t)put;
        } else if (put == 0 || errno != EINTR) {
            exit(3);
        }
    }
    return (slirp_ssize_t)len;
}

static slirp_ssize_t send_packet(const void *frame, size_t len, void *opaque)
{
    uint16_t head = htons((uint16_t)len);
    (void)opaque;
    if (len > MRU) {
        return -1;
    }
    write_all(&head, sizeof(head));
    return write_all(frame, len);
}

static void guest_error(const char *text, void *opaque)
{
    (void)opaque;
    fprintf(stderr, "guest: %s\n", text);
}

static void *timer_new(SlirpTimerCb run, void *run_opaque, void *opaque)
{
    (void)opaque;
    if (timers_len == TIMERS) {
        abort();
    }
    timers[timers_len].run = run;
    timers[timers_len].opaque = run_opaque;
    timers[timers_len].at_ms = INT64_MAX;
    return (void *)(uintptr_t)timers_len++; /* the first is NULL */
}

static void timer_free(void *timer, void *opaque)
{
    (void)opaque;
    timers[(uintptr_t)timer].at_ms = INT64_MAX;
}

static void timer_mod(void *timer, int64_t at_ms, void *opaque)
{
    (void)opaque;
    timers[(uintptr_t)timer].at_ms = at_ms;
}

/* Run what is due; how long to wait for the next, in milliseconds. */
static uint32_t run_timers(void)
{
    uint32_t wait = UINT32_MAX;
    for (int i = 0; i < timers_len; i++) {
        int64_t left = timers[i].at_ms == INT64_MAX ? INT64_MAX : timers[i].at_ms - now_ns(NULL) / 1000000;
        if (left <= 0) {
            timers[i].at_ms = INT64_MAX;
            timers[i].run(timers[i].opaque);
            left = INT64_MAX;
        }
        if (left < wait) {
            wait = (uint32_t)left;
        }
    }
    return wait;
}

static int add_poll(slirp_os_socket fd, int events, void *opaque)
{
    short wanted = (short)((events & SLIRP_POLL_IN ? POLLIN : 0) | (events & SLIRP_POLL_OUT ? POLLOUT : 0));
    (void)opaque;
    for (int i = 1; i < watched_len; i++) {
        if (watched[i].fd == fd) {
            watched[i].events |= wanted;
            return i;
        }
    }
    if (watched_len == WATCHED) {
        return -1;
    }
    watched[watched_len] = (struct pollfd){ .fd = fd, .events = wanted };
    return watched_len++;
}

static int add_poll_fd(int fd, int events, void *opaque)
{
    return add_poll(fd, events, opaque);
}

static int get_revents(int index, void *opaque)
{
    (void)opaque;
    if (index < 0 || index >= watched_len) {
        return 0;
    }
    int seen = watched[index].revents;
    return (seen & POLLIN ? SLIRP_POLL_IN : 0) | (seen & POLLOUT ? SLIRP_POLL_OUT : 0) |
           (seen & POLLERR ? SLIRP_POLL_ERR : 0) | (seen & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static void nothing_fd(int fd, void *opaque)
{
    (void)fd;
    (void)opaque;
}

static void nothing_socket(slirp_os_socket fd, void *opaque)
{
    (void)fd;
    (void)opaque;
}

static void nothing(void *opaque)
{
    (void)opaque;
}

static void init_completed(Slirp *one, void *opaque)
{
    (void)one;
    (void)opaque;
}

/* Hand over the whole frames in `buffer`; the number of bytes that are left of the next one, moved to the front. */
static size_t hand_over(unsigned char *buffer, size_t len)
{
    size_t at = 0;
    while (len - at >= 2) {
        size_t size = (size_t)buffer[at] << 8 | buffer[at + 1];
        if (size > MRU) {
            fprintf(stderr, "a frame of %zu bytes\n", size);
            exit(3);
        }
        if (len - at < 2 + size) {
            break;
        }
        slirp_input(slirp, buffer + at + 2, (int)size);
        at += 2 + size;
    }
    memmove(buffer, buffer + at, len - at);
    return len - at;
}

static void add_forward(bool udp, int host_port, int guest_port)
{
    struct sockaddr_in host = { .sin_family = AF_INET, .sin_port = htons((uint16_t)host_port) }, guest = host;
    struct sockaddr_in6 host6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)host_port) }, guest6 = host6;
    int flags = udp ? SLIRP_HOSTFWD_UDP : 0;
    guest.sin_port = guest6.sin6_port = htons((uint16_t)guest_port);
    inet_pton(AF_INET, "127.0.0.1", &host.sin_addr);
    inet_pton(AF_INET, "10.0.2.15", &guest.sin_addr);
    inet_pton(AF_INET6, "::1", &host6.sin6_addr);
    inet_pton(AF_INET6, "fd00::15", &guest6.sin6_addr);
    if (slirp_add_hostxfwd(slirp, (struct sockaddr *)&host, sizeof(host), (struct sockaddr *)&guest, sizeof(guest), flags) < 0 ||
        slirp_add_hostxfwd(slirp, (struct sockaddr *)&host6, sizeof(host6), (struct sockaddr *)&guest6, sizeof(guest6),
                           flags | SLIRP_HOSTFWD_V6ONLY) < 0) {
        perror("forward");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    static unsigned char buffer[MRU + 10];
    size_t len = 0;
    bool sockets = slirp_pollfds_fill_socket != NULL;
    SlirpCb callbacks = {
        .send_packet = send_packet,
        .guest_error = guest_error,
        .clock_get_ns = now_ns,
        .timer_new = timer_new,
        .timer_free = timer_free,
        .timer_mod = timer_mod,
        .register_poll_fd = sockets ? NULL : nothing_fd,
        .unregister_poll_fd = sockets ? NULL : nothing_fd,
        .notify = nothing,
        .init_completed = init_completed,
        .register_poll_socket = nothing_socket,
        .unregister_poll_socket = nothing_socket,
    };
    SlirpConfig config = {
        .version = sockets ? 6 : 4,
        .in_enabled = true,
        .in6_enabled = true,
        .vhostname = "slirp",
        .vprefix_len = 64,
        .if_mtu = 1500,
        .if_mru = 1500,
    };
    inet_pton(AF_INET, "10.0.2.0", &config.vnetwork);
    inet_pton(AF_INET, "255.255.255.0", &config.vnetmask);
    inet_pton(AF_INET, "10.0.2.2", &config.vhost);
    inet_pton(AF_INET, "10.0.2.20", &config.vdhcp_start);
    inet_pton(AF_INET, "10.0.2.3", &config.vnameserver);
    inet_pton(AF_INET6, "fd00::", &config.vprefix_addr6);
    inet_pton(AF_INET6, "fd00::2", &config.vhost6);
    inet_pton(AF_INET6, "fd00::3", &config.vnameserver6);
    slirp = slirp_new(&config, &callbacks, NULL);
    if (slirp == NULL) {
        fprintf(stderr, "slirp_new failed\n");
        return 2;
    }
    for (int i = 1; i + 2 < argc; i += 3) {
        add_forward(strcmp(argv[i], "udp") == 0, atoi(argv[i + 1]), atoi(argv[i + 2]));
    }
    for (;;) {
        uint32_t timeout = run_timers();
        watched[0] = (struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN };
        watched_len = 1;
        if (sockets) {
            slirp_pollfds_fill_socket(slirp, &timeout, add_poll, NULL);
        } else {
            slirp_pollfds_fill(slirp, &timeout, add_poll_fd, NULL);
        }
        int ready = poll(watched, (nfds_t)watched_len, (int)timeout);
        if (ready <= 0) {
            continue;
        }
        slirp_pollfds_poll(slirp, 0, get_revents, NULL);
        if (watched[0].revents & (POLLIN | POLLHUP)) {
            ssize_t got = read(STDIN_FILENO, buffer + len, sizeof(buffer) - len);
            if (got <= 0) {
                break;
            }
            len = hand_over(buffer, len + (size_t)got);
        }
    }
    slirp_cleanup(slirp);
    return 0;
}
