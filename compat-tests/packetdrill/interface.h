/*
 * What packetdrill asks of a shared object that it loads with --so_filename: a function
 * `packetdrill_interface_init`, which fills a table of functions. The table is declared
 * here anew, from the order and the types of its members alone; packetdrill calls
 * nothing else, and nothing of packetdrill is needed to build this.
 *
 * The functions mean what the system calls of the same names mean, and report errors in
 * the same way. Each gets `own` as its first argument.
 */
#ifndef INTERFACE_H
#define INTERFACE_H

#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef const struct sockaddr Address;

struct packetdrill_interface {
    void *own;
    void (*release)(void *own);
    int (*socket)(void *own, int domain, int type, int protocol);
    int (*bind)(void *own, int fd, Address *address, socklen_t len);
    int (*listen)(void *own, int fd, int backlog);
    int (*accept)(void *own, int fd, struct sockaddr *address, socklen_t *len);
    int (*connect)(void *own, int fd, Address *address, socklen_t len);
    ssize_t (*read)(void *own, int fd, void *buffer, size_t size);
    ssize_t (*readv)(void *own, int fd, const struct iovec *parts, int count);
    ssize_t (*recv)(void *own, int fd, void *buffer, size_t size, int flags);
    ssize_t (*recvfrom)(void *own, int fd, void *buffer, size_t size, int flags, struct sockaddr *from, socklen_t *len);
    ssize_t (*recvmsg)(void *own, int fd, struct msghdr *message, int flags);
    ssize_t (*write)(void *own, int fd, const void *buffer, size_t size);
    ssize_t (*writev)(void *own, int fd, const struct iovec *parts, int count);
    ssize_t (*send)(void *own, int fd, const void *buffer, size_t size, int flags);
    ssize_t (*sendto)(void *own, int fd, const void *buffer, size_t size, int flags, Address *to, socklen_t len);
    ssize_t (*sendmsg)(void *own, int fd, const struct msghdr *message, int flags);
    int (*fcntl)(void *own, int fd, int command, ...);
    int (*ioctl)(void *own, int fd, unsigned long request, ...);
    int (*close)(void *own, int fd);
    int (*shutdown)(void *own, int fd, int how);
    int (*getsockopt)(void *own, int fd, int level, int option, void *value, socklen_t *len);
    int (*setsockopt)(void *own, int fd, int level, int option, const void *value, socklen_t len);
    int (*poll)(void *own, struct pollfd *fds, nfds_t count, int timeout);
    /* Takes an IP packet of the script's remote end. 0, or -1. */
    int (*netdev_send)(void *own, const void *packet, size_t len);
    /*
     * Gives the next IP packet for the script's remote end, waiting for it. `*len` is the room at `packet`, then the
     * length; 0 when nothing came. `*at` is the time in microseconds at which it was sent. 0, or -1.
     */
    int (*netdev_receive)(void *own, void *packet, size_t *len, long long *at);
    int (*usleep)(void *own, useconds_t interval);
    int (*gettimeofday)(void *own, struct timeval *now, struct timezone *zone);
    int (*epoll_create)(void *own, int size);
    int (*epoll_ctl)(void *own, int epoll, int operation, int fd, struct epoll_event *event);
    int (*epoll_wait)(void *own, int epoll, struct epoll_event *events, int most, int timeout);
    int (*pipe)(void *own, int ends[2]);
    int (*splice)(void *own, int from, loff_t *from_offset, int to, loff_t *to_offset, size_t len, unsigned flags);
};

/* The one name that is exported. `flags` is the text of --so_flags, or NULL. */
__attribute__((visibility("default"))) void packetdrill_interface_init(const char *flags, struct packetdrill_interface *interface);

#endif
