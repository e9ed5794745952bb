/*
 * What the calls in sockets.c and plugin.c share.
 */
#ifndef SOCKETS_H
#define SOCKETS_H

#include "interface.h"
#include "rig.h"

/* What a script believes about a descriptor. */
struct end {
    bool used, nonblocking, connecting;
    int family;
    uint16_t port;
    int nodelay;
    /* SO_RCVTIMEO and SO_SNDTIMEO in nanoseconds, 0 for none. */
    int64_t receive_timeout, send_timeout;
};

struct end *end_of(int fd);
/* The moment at which this thread's last call ended, or -1. Its next look at the clock sees it, however late it is. */
extern _Thread_local int64_t ended_at;
/* Around a call that does not wait: takes the lock; then lets the library see what was done. */
void begin(void);
void finish(void);
/* Runs a call that may wait: `never` when it must not, else no longer than `timeout` (0 for ever). */
long run(struct waiting *call, bool never, int64_t timeout);
/* What has become of the connection to the guest: 0 when it stands, EINPROGRESS, or what is wrong. */
int handshake(int fd);

int do_socket(void *own, int domain, int type, int protocol);
int do_bind(void *own, int fd, Address *address, socklen_t len);
int do_listen(void *own, int fd, int backlog);
int do_accept(void *own, int fd, struct sockaddr *address, socklen_t *len);
int do_connect(void *own, int fd, Address *address, socklen_t len);
ssize_t do_read(void *own, int fd, void *buffer, size_t size);
ssize_t do_readv(void *own, int fd, const struct iovec *parts, int count);
ssize_t do_recv(void *own, int fd, void *buffer, size_t size, int flags);
ssize_t do_recvfrom(void *own, int fd, void *buffer, size_t size, int flags, struct sockaddr *from, socklen_t *len);
ssize_t do_recvmsg(void *own, int fd, struct msghdr *message, int flags);
ssize_t do_write(void *own, int fd, const void *buffer, size_t size);
ssize_t do_writev(void *own, int fd, const struct iovec *parts, int count);
ssize_t do_send(void *own, int fd, const void *buffer, size_t size, int flags);
ssize_t do_sendto(void *own, int fd, const void *buffer, size_t size, int flags, Address *to, socklen_t len);
ssize_t do_sendmsg(void *own, int fd, const struct msghdr *message, int flags);
int do_close(void *own, int fd);
int do_shutdown(void *own, int fd, int how);

#endif
