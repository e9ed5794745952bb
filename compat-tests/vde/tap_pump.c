/*
 * Joins a tap to a user network of another process.
 *
 * tap_pump framed IN OUT TAP COMMAND...   two pipes; two bytes of length, big-endian, in front of each frame
 * tap_pump datagram FD TAP COMMAND...     a datagram or seqpacket socket, a frame each
 *
 * As vdens does it: one thread, a frame of each direction in turn, every write blocks.
 */
#define _GNU_SOURCE
#include "tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>

static unsigned char frame[FRAME_MAX];
static int in, out;

static void read_all(void *to, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t got = read(in, (char *)to + done, len - done);
        if (got > 0) {
            done += (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            exit(got == 0 ? 0 : 3);
        }
    }
}

static void write_all(const void *from, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t put = write(out, (const char *)from + done, len - done);
        if (put > 0) {
            done += (size_t)put;
        } else if (put < 0 && errno != EINTR) {
            exit(3);
        }
    }
}

static size_t receive(int framed)
{
    uint16_t len;
    if (!framed) {
        ssize_t got = read(in, frame, sizeof(frame));
        if (got < 0 && errno != EINTR && errno != ECONNREFUSED) {
            exit(3);
        }
        return got > 0 ? (size_t)got : 0;
    }
    read_all(&len, sizeof(len));
    read_all(frame, ntohs(len));
    return ntohs(len);
}

int main(int argc, char **argv)
{
    int framed = argc > 1 && strcmp(argv[1], "framed") == 0;
    if (argc < 5 + framed) {
        fprintf(stderr, "usage: see the head of tap_pump.c\n");
        return 2;
    }
    in = atoi(argv[2]);
    out = atoi(argv[2 + framed]);
    fcntl(in, F_SETFD, FD_CLOEXEC);
    fcntl(out, F_SETFD, FD_CLOEXEC);
    int tap = open_tap(argv[3 + framed]);
    start_command(argv + 4 + framed);
    struct pollfd wait[2] = { { .fd = in, .events = POLLIN }, { .fd = tap, .events = POLLIN } };
    while (poll(wait, 2, -1) >= 0 || errno == EINTR) {
        if (wait[0].revents & (POLLIN | POLLHUP)) {
            size_t len = receive(framed);
            /* A tap that is down takes nothing: the frame is lost, as on a cable that is not plugged in. */
            if (len > 0 && write(tap, frame, len) < 0 && errno != EIO && errno != EINTR) {
                perror("write to the tap");
            }
        }
        if (wait[1].revents & POLLIN) {
            ssize_t len = read(tap, frame, sizeof(frame));
            if (len > 0 && framed) {
                uint16_t head = htons((uint16_t)len);
                write_all(&head, sizeof(head));
                write_all(frame, (size_t)len);
            } else if (len > 0 && write(out, frame, (size_t)len) < 0 && errno != EINTR && errno != ECONNREFUSED) {
                perror("write to the socket");
                return 3;
            }
        }
    }
    return 3;
}
