/*
 * A network of libvdeslirp's C API joined to a tap.
 *
 * tap_vdeslirp THREADS FOLDER [tcp|udp HOSTPORT GUESTPORT]... -- TAP COMMAND...
 *
 * THREADS is 1 (a frame of each direction in turn, as vdens does it) or 2 (one for each direction). 10.0.2.100:6000 goes to
 * the Unix socket FOLDER/service, 10.0.2.101:7 to `cat`.
 */
#define _GNU_SOURCE
#include <slirp/libvdeslirp.h>

#include "tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>

static struct vdeslirp *network;
static int tap;

static void towards_guest(void)
{
    static unsigned char frame[FRAME_MAX];
    ssize_t len = vdeslirp_recv(network, frame, sizeof(frame));
    if (len <= 0) {
        exit(3);
    }
    if (write(tap, frame, (size_t)len) < 0 && errno != EIO) {
        perror("write to the tap");
    }
}

static void towards_network(void)
{
    static unsigned char frame[FRAME_MAX];
    ssize_t len = read(tap, frame, sizeof(frame));
    if (len > 0 && vdeslirp_send(network, frame, (size_t)len) < 0) {
        perror("vdeslirp_send");
        exit(3);
    }
}

static void *downwards(void *unused)
{
    for (;;) {
        towards_guest();
    }
    return unused;
}

static struct in_addr in4(const char *text)
{
    struct in_addr address;
    inet_pton(AF_INET, text, &address);
    return address;
}

int main(int argc, char **argv)
{
    SlirpConfig config;
    char path[512];
    struct in_addr at[2] = { in4("10.0.2.100"), in4("10.0.2.101") };
    int i = 3;
    if (argc < 6) {
        fprintf(stderr, "usage: see the head of tap_vdeslirp.c\n");
        return 2;
    }
    vdeslirp_init(&config, VDE_INIT_DEFAULT);
    network = vdeslirp_open(&config);
    snprintf(path, sizeof(path), "%s/service", argv[2]);
    if (network == NULL || vdeslirp_add_unixfwd(network, path, &at[0], 6000) < 0 ||
        vdeslirp_add_cmdexec(network, "cat", &at[1], 7) < 0) {
        perror("libvdeslirp");
        return 2;
    }
    for (; i + 3 < argc && strcmp(argv[i], "--") != 0; i += 3) {
        if (vdeslirp_add_fwd(network, strcmp(argv[i], "udp") == 0, in4("127.0.0.1"), atoi(argv[i + 1]), in4("10.0.2.15"),
                             atoi(argv[i + 2])) < 0) {
            perror("vdeslirp_add_fwd");
            return 2;
        }
    }
    /* Only from here on in the guest's network: libvdeslirp's thread has to stay in the host's. */
    if (unshare(CLONE_NEWNET) != 0) {
        perror("unshare");
        return 2;
    }
    tap = open_tap(argv[i + 1]);
    start_command(argv + i + 2);
    if (atoi(argv[1]) == 2) {
        pthread_t thread;
        pthread_create(&thread, NULL, downwards, NULL);
        for (;;) {
            towards_network();
        }
    }
    struct pollfd wait[2] = { { .fd = vdeslirp_fd(network), .events = POLLIN }, { .fd = tap, .events = POLLIN } };
    while (poll(wait, 2, -1) >= 0 || errno == EINTR) {
        if (wait[0].revents & POLLIN) {
            towards_guest();
        }
        if (wait[1].revents & POLLIN) {
            towards_network();
        }
    }
    return 3;
}
