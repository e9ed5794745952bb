/*
 * What the test programs use of POSIX. On Windows these are the same calls of winsock, with errno set as POSIX has it, so
 * that one program runs everywhere.
 */
#ifndef POSIX_H
#define POSIX_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef _WIN32

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

typedef int os_socket;

static void os_start(void)
{
}

static int64_t os_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void os_unblock(os_socket fd)
{
    fcntl(fd, F_SETFL, O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

#else

#include <winsock2.h>
#include <ws2tcpip.h>

#define MSG_NOSIGNAL 0
#define SHUT_WR SD_SEND
#define SIGPIPE SIGINT
#define poll(fds, count, timeout) WSAPoll(fds, count, timeout)
#define SOCK_NONBLOCK 0
#define SOCK_CLOEXEC 0

typedef SOCKET os_socket;
typedef ULONG nfds_t;

static void os_start(void)
{
    WSADATA data;
    if (WSAStartup(MAKEWORD(2, 2), &data) != 0) {
        exit(2);
    }
}

static int64_t os_clock_ns(void)
{
    LARGE_INTEGER count, frequency;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&frequency);
    return (int64_t)((double)count.QuadPart * 1e9 / (double)frequency.QuadPart);
}

static void os_unblock(os_socket fd)
{
    u_long yes = 1;
    ioctlsocket(fd, FIONBIO, &yes);
}

/* The error of winsock's last call as errno has it. */
static ssize_t os_result(ssize_t result)
{
    if (result < 0) {
        int error = WSAGetLastError();
        errno = error == WSAEWOULDBLOCK ? EINPROGRESS : error == WSAEADDRINUSE ? EADDRINUSE : EIO;
    }
    return result;
}

#define close(fd) closesocket(fd)
#define connect(fd, address, len) ((int)os_result(connect(fd, address, len)))
#define recv(fd, data, len, flags) os_result(recv(fd, (char *)(data), (int)(len), flags))
#define send(fd, data, len, flags) os_result(send(fd, (const char *)(data), (int)(len), flags))
#define recvfrom(fd, data, len, flags, from, from_len) \
    os_result(recvfrom(fd, (char *)(data), (int)(len), flags, from, from_len))
#define sendto(fd, data, len, flags, to, to_len) os_result(sendto(fd, (const char *)(data), (int)(len), flags, to, to_len))

static inline os_socket accept4(os_socket listener, struct sockaddr *from, socklen_t *len, int flags)
{
    os_socket fd = accept(listener, from, len);
    (void)flags;
    if (fd != INVALID_SOCKET) {
        os_unblock(fd);
    }
    return fd;
}

#endif

/* Whether a call gave a socket. */
#define IS_SOCKET(fd) ((intptr_t)(fd) >= 0)

#endif
