/*
 * The system calls of a script, on real sockets of the host's loopback. A listener is
 * what the guest reaches through the router's address. A connect goes through a forward:
 * the library opens the connection to the guest, which is the script's remote end.
 *
 * The real sockets never block; a call that would is attempted again as virtual time
 * passes. Where the host's end of a connection is ready before the guest's (a loopback
 * connection stands at once), the handshake on the wire decides.
 */
#define _GNU_SOURCE
#include "sockets.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

static struct end ends[1024];
/* The moment at which this thread's last call ended. Its next look at the clock sees it, however late it is. */
_Thread_local int64_t ended_at = -1;

struct end *end_of(int fd)
{
    static struct end none;
    if (fd >= 0 && fd < (int)(sizeof ends / sizeof *ends))
        return &ends[fd];
    none = (struct end){ .nonblocking = true };
    return &none;
}

void not_applicable(const char *reason, ...)
{
    va_list arguments;
    va_start(arguments, reason);
    fputs("not applicable: ", stderr);
    vfprintf(stderr, reason, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

void begin(void)
{
    pthread_mutex_lock(&rig_lock);
}

/* Lets the library see what a call has done. */
void finish(void)
{
    int error = errno;
    library_settle();
    ended_at = rig_now;
    pthread_mutex_unlock(&rig_lock);
    errno = error;
}

/* Runs a call that may wait: `never` when it must not, else no longer than `timeout` (0 for ever). */
long run(struct waiting *call, bool never, int64_t timeout)
{
    begin();
    call->deadline = never ? rig_now : timeout > 0 ? rig_now + timeout : -1;
    long result = library_wait(call);
    int error = errno;
    ended_at = call->over_at;
    pthread_mutex_unlock(&rig_lock);
    errno = error;
    return result;
}

/* Keeps what a real call answered. Whether it is over: anything but "try again". */
static bool answered(struct waiting *call, long result)
{
    call->result = result;
    call->error = errno;
    return !(result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
}

int do_socket(void *own, int domain, int type, int protocol)
{
    (void)own;
    int fd = socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    if (fd >= 0 && (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != SOCK_STREAM)
        not_applicable("a socket of type %d, not TCP", type);
    if (fd >= (int)(sizeof ends / sizeof *ends)) {
        close(fd);
        errno = EMFILE;
        return -1;
    }
    if (fd >= 0) {
        *end_of(fd) = (struct end){ .used = true, .nonblocking = type & SOCK_NONBLOCK, .family = domain };
        /* The host's own waiting to fill segments is not what is looked at. */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    }
    return fd;
}

/* The loopback address of a family with this port. */
static socklen_t loopback(int family, uint16_t port, struct sockaddr_storage *address)
{
    memset(address, 0, sizeof *address);
    address->ss_family = family;
    if (family == AF_INET6) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
        v6->sin6_port = htons(port);
        v6->sin6_addr = in6addr_loopback;
        return sizeof *v6;
    }
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    v4->sin_port = htons(port);
    v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof *v4;
}

static uint16_t port_of(const struct sockaddr *address)
{
    return ntohs(address->sa_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port
                                                 : ((const struct sockaddr_in *)address)->sin_port);
}

int do_bind(void *own, int fd, Address *address, socklen_t len)
{
    (void)own;
    if (len < sizeof(struct sockaddr_in) || (address->sa_family != AF_INET && address->sa_family != AF_INET6)) {
        errno = EINVAL;
        return -1;
    }
    struct sockaddr_storage here;
    socklen_t here_len = loopback(address->sa_family, port_of(address), &here);
    end_of(fd)->port = port_of(address);
    return bind(fd, (struct sockaddr *)&here, here_len);
}

int do_listen(void *own, int fd, int backlog)
{
    (void)own;
    begin();
    int result = listen(fd, backlog);
    finish();
    return result;
}

struct accepting {
    int fd;
    struct wire_connection *connection;
};

/* A connection exists for the script once the guest has ended the handshake, not when the host's kernel has it. */
static bool attempt_accept(struct waiting *call)
{
    struct accepting *arguments = call->arguments;
    int listening = 0;
    socklen_t len = sizeof listening;
    getsockopt(arguments->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len);
    struct wire_connection *connection = wire_pending(end_of(arguments->fd)->port);
    errno = EAGAIN;
    int fd = listening && connection == NULL ? -1 : accept4(arguments->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        arguments->connection = connection;
        connection->accepted = true;
    }
    return answered(call, fd);
}

int do_accept(void *own, int fd, struct sockaddr *address, socklen_t *len)
{
    (void)own;
    struct end *listener = end_of(fd);
    struct accepting arguments = { .fd = fd };
    struct waiting call = { .attempt = attempt_accept, .arguments = &arguments, .result = -1, .error = EAGAIN };
    int accepted = run(&call, listener->nonblocking, listener->receive_timeout);
    if (accepted < 0)
        return accepted;
    *end_of(accepted) = (struct end){ .used = true, .family = listener->family, .nodelay = listener->nodelay };
    setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    struct wire_connection *connection = arguments.connection;
    struct sockaddr_storage from;
    socklen_t from_len = loopback(connection->family, connection->guest_port, &from);
    if (connection->family == AF_INET6)
        memcpy(&((struct sockaddr_in6 *)&from)->sin6_addr, connection->guest, 16);
    else
        memcpy(&((struct sockaddr_in *)&from)->sin_addr, connection->guest, 4);
    if (address != NULL && len != NULL) {
        memcpy(address, &from, *len < from_len ? *len : from_len);
        *len = from_len;
    }
    return accepted;
}

/* What has become of the connection to the guest: 0 when it stands, EINPROGRESS, or what is wrong. */
int handshake(int fd)
{
    const struct wire_connection *connection = wire_outgoing(end_of(fd)->port);
    if (connection != NULL && connection->reset_by_guest)
        return ECONNREFUSED;
    if (connection != NULL && connection->established)
        return 0;
    struct pollfd end = { .fd = fd };
    poll(&end, 1, 0);
    return end.revents & (POLLHUP | POLLERR) ? ETIMEDOUT : EINPROGRESS;
}

static bool attempt_connect(struct waiting *call)
{
    int fd = *(int *)call->arguments;
    int state = handshake(fd);
    call->result = state == 0 ? 0 : -1;
    call->error = state;
    end_of(fd)->connecting = state == EINPROGRESS;
    return state != EINPROGRESS;
}

int do_connect(void *own, int fd, Address *address, socklen_t len)
{
    (void)own, (void)len;
    struct end *end = end_of(fd);
    if (address->sa_family == AF_UNSPEC) {
        not_applicable("connect with AF_UNSPEC ends a connection in the host's kernel only");
        errno = EAFNOSUPPORT;
        return -1;
    }
    if (end->connecting) {
        begin();
        int state = handshake(fd);
        end->connecting = state == EINPROGRESS;
        finish();
        errno = state == EINPROGRESS ? EALREADY : state;
        return state == 0 ? 0 : -1;
    }
    begin();
    struct sockaddr_storage there;
    uint16_t port = port_of(address);
    socklen_t there_len = loopback(address->sa_family, port + FORWARD_OFFSET, &there);
    int result = library_forward(address->sa_family, port);
    if (result == 0) {
        result = connect(fd, (struct sockaddr *)&there, there_len);
        struct pollfd ready = { .fd = fd, .events = POLLOUT };
        if (result < 0 && errno == EINPROGRESS && poll(&ready, 1, 1000) == 1) {
            struct sockaddr_storage here;
            socklen_t here_len = sizeof here;
            result = getsockname(fd, (struct sockaddr *)&here, &here_len);
            end->port = port_of((struct sockaddr *)&here);
            end->connecting = true;
        }
    }
    finish();
    if (result < 0)
        return result;
    struct waiting call = { .attempt = attempt_connect, .arguments = &fd, .result = -1, .error = EINPROGRESS };
    return run(&call, end->nonblocking, end->send_timeout);
}

/* A call that reads or writes. */
struct transfer {
    int fd;
    struct msghdr message;
    int flags;
    size_t done;
};

static bool attempt_receive(struct waiting *call)
{
    struct transfer *transfer = call->arguments;
    int fd = transfer->fd;
    if (end_of(fd)->connecting && handshake(fd) == EINPROGRESS) {
        call->result = -1;
        call->error = EAGAIN;
        return false;
    }
    struct msghdr message = transfer->message;
    ssize_t got = recvmsg(fd, &message, transfer->flags | MSG_DONTWAIT);
    if (got >= 0)
        transfer->message = message;
    return answered(call, got);
}

static ssize_t receive(struct transfer *transfer)
{
    if (transfer->flags & MSG_ERRQUEUE)
        not_applicable("MSG_ERRQUEUE, notices of the host's own TCP");
    struct end *end = end_of(transfer->fd);
    struct waiting call = { .attempt = attempt_receive, .arguments = transfer, .result = -1, .error = EAGAIN };
    return run(&call, end->nonblocking || transfer->flags & (MSG_DONTWAIT | MSG_ERRQUEUE), end->receive_timeout);
}

ssize_t do_recvmsg(void *own, int fd, struct msghdr *message, int flags)
{
    (void)own;
    struct transfer transfer = { .fd = fd, .message = *message, .flags = flags };
    ssize_t got = receive(&transfer);
    *message = transfer.message;
    return got;
}

ssize_t do_readv(void *own, int fd, const struct iovec *parts, int count)
{
    if (!end_of(fd)->used)
        return readv(fd, parts, count);
    if (count < 0) {
        errno = EINVAL;
        return -1;
    }
    return do_recvmsg(own, fd, &(struct msghdr){ .msg_iov = (struct iovec *)parts, .msg_iovlen = count }, 0);
}

ssize_t do_recvfrom(void *own, int fd, void *buffer, size_t size, int flags, struct sockaddr *from, socklen_t *len)
{
    struct iovec part = { buffer, size };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_name = from, .msg_namelen = len != NULL ? *len : 0 };
    ssize_t got = do_recvmsg(own, fd, &message, flags);
    if (len != NULL)
        *len = message.msg_namelen;
    return got;
}

ssize_t do_recv(void *own, int fd, void *buffer, size_t size, int flags)
{
    return do_recvfrom(own, fd, buffer, size, flags, NULL, NULL);
}

ssize_t do_read(void *own, int fd, void *buffer, size_t size)
{
    if (!end_of(fd)->used)
        return read(fd, buffer, size);
    return do_recv(own, fd, buffer, size, 0);
}

/* A blocking send is over when all is sent. */
static bool attempt_send(struct waiting *call)
{
    struct transfer *transfer = call->arguments;
    int fd = transfer->fd;
    int state = end_of(fd)->connecting ? handshake(fd) : 0;
    if (state != 0) {
        call->result = -1;
        call->error = state == EINPROGRESS ? EAGAIN : state;
        return state != EINPROGRESS;
    }
    end_of(fd)->connecting = false;
    struct iovec parts[64];
    struct msghdr message = transfer->message;
    size_t skip = transfer->done, left = 0;
    message.msg_iov = parts;
    message.msg_iovlen = 0;
    for (size_t i = 0; i < transfer->message.msg_iovlen && i < 64; i++) {
        struct iovec part = transfer->message.msg_iov[i];
        size_t passed = skip < part.iov_len ? skip : part.iov_len;
        skip -= passed;
        /* A pointer that is no memory is for the kernel to refuse. */
        parts[message.msg_iovlen++] = (struct iovec){ (char *)part.iov_base + passed, part.iov_len - passed };
        left += part.iov_len - passed;
    }
    ssize_t sent = sendmsg(fd, &message, transfer->flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0)
        transfer->done += sent;
    bool over = answered(call, sent);
    if (transfer->done > 0) {
        call->result = transfer->done;
        over = sent < 0 ? over : (size_t)sent >= left;
    }
    return over;
}

ssize_t do_sendmsg(void *own, int fd, const struct msghdr *message, int flags)
{
    (void)own;
    if (flags & (MSG_ZEROCOPY | MSG_FASTOPEN | MSG_MORE | MSG_EOR)) {
        not_applicable("%s is between a program and its own kernel",
                       flags & MSG_ZEROCOPY   ? "MSG_ZEROCOPY"
                       : flags & MSG_FASTOPEN ? "MSG_FASTOPEN"
                       : flags & MSG_MORE     ? "MSG_MORE"
                                              : "MSG_EOR");
        errno = EOPNOTSUPP;
        return -1;
    }
    struct end *end = end_of(fd);
    struct transfer transfer = { .fd = fd, .message = *message, .flags = flags };
    struct waiting call = { .attempt = attempt_send, .arguments = &transfer, .result = -1, .error = EAGAIN };
    return run(&call, end->nonblocking || flags & MSG_DONTWAIT, end->send_timeout);
}

ssize_t do_writev(void *own, int fd, const struct iovec *parts, int count)
{
    if (!end_of(fd)->used)
        return writev(fd, parts, count);
    if (count < 0) {
        errno = EINVAL;
        return -1;
    }
    return do_sendmsg(own, fd, &(struct msghdr){ .msg_iov = (struct iovec *)parts, .msg_iovlen = count }, 0);
}

ssize_t do_sendto(void *own, int fd, const void *buffer, size_t size, int flags, Address *to, socklen_t len)
{
    (void)to, (void)len;
    struct iovec part = { (void *)buffer, size };
    return do_sendmsg(own, fd, &(struct msghdr){ .msg_iov = &part, .msg_iovlen = 1 }, flags);
}

ssize_t do_send(void *own, int fd, const void *buffer, size_t size, int flags)
{
    return do_sendto(own, fd, buffer, size, flags, NULL, 0);
}

ssize_t do_write(void *own, int fd, const void *buffer, size_t size)
{
    if (!end_of(fd)->used)
        return write(fd, buffer, size);
    return do_send(own, fd, buffer, size, 0);
}

int do_close(void *own, int fd)
{
    (void)own;
    begin();
    *end_of(fd) = (struct end){ .used = false };
    int result = close(fd);
    finish();
    return result;
}

int do_shutdown(void *own, int fd, int how)
{
    (void)own;
    begin();
    int result = shutdown(fd, how);
    finish();
    return result;
}
