/*
 * The plug-in's entry, and those of a script's calls that are not about one connection's
 * bytes: options, waiting for events, the wire, and the clock.
 */
#define _GNU_SOURCE
#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* How long a script's packet is waited for when nothing else ends the wait. */
#define PATIENCE (600LL * 1000 * MILLISECOND)

static void plugin_release(void *own)
{
    (void)own;
    pthread_mutex_lock(&rig_lock);
    library_close();
    wire_close();
    pthread_mutex_unlock(&rig_lock);
}

/* What the host's own TCP and IP would heed or answer, and no library behind a socket can. */
static const char *option_name(int level, int option)
{
    static const struct {
        int level, option;
        const char *name;
    } known[] = {
        { SOL_SOCKET, SO_TIMESTAMPING, "SO_TIMESTAMPING" },
        { SOL_SOCKET, SO_ZEROCOPY, "SO_ZEROCOPY" },
        { IPPROTO_IP, IP_MTU_DISCOVER, "IP_MTU_DISCOVER" },
        { IPPROTO_IP, IP_FREEBIND, "IP_FREEBIND" },
        { IPPROTO_TCP, TCP_MAXSEG, "TCP_MAXSEG" },
        { IPPROTO_TCP, TCP_CORK, "TCP_CORK" },
        { IPPROTO_TCP, TCP_INFO, "TCP_INFO" },
        { IPPROTO_TCP, TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT" },
        { IPPROTO_TCP, TCP_FASTOPEN, "TCP_FASTOPEN" },
        { IPPROTO_TCP, TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT" },
        { IPPROTO_TCP, TCP_FASTOPEN_CONNECT, "TCP_FASTOPEN_CONNECT" },
        { IPPROTO_TCP, TCP_FASTOPEN_KEY, "TCP_FASTOPEN_KEY" },
        { IPPROTO_TCP, TCP_INQ, "TCP_INQ" },
    };
    static char number[48];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].level == level && known[i].option == option)
            return known[i].name;
    snprintf(number, sizeof number, "option %d of level %d", option, level);
    return number;
}

/* Options of the host's socket that mean the same here as on a host of its own. */
static bool has_meaning(int level, int option)
{
    static const int socket_options[] = { SO_REUSEADDR, SO_REUSEPORT, SO_LINGER,   SO_ERROR,    SO_OOBINLINE, SO_KEEPALIVE,
                                          SO_RCVLOWAT,  SO_SNDBUF,    SO_RCVBUF,   SO_TYPE,     SO_PROTOCOL,  SO_ACCEPTCONN,
                                          SO_DOMAIN,    SO_RCVTIMEO,  SO_SNDTIMEO, SO_BROADCAST };
    if (level == IPPROTO_TCP)
        return option == TCP_NODELAY;
    if (level != SOL_SOCKET)
        return false;
    for (size_t i = 0; i < sizeof socket_options / sizeof *socket_options; i++)
        if (socket_options[i] == option)
            return true;
    return false;
}

static int plugin_getsockopt(void *own, int fd, int level, int option, void *value, socklen_t *len)
{
    (void)own;
    struct end *end = end_of(fd);
    if (!has_meaning(level, option)) {
        not_applicable("%s, which the host's own TCP would answer", option_name(level, option));
        errno = ENOPROTOOPT;
        return -1;
    }
    if (level == IPPROTO_TCP && value != NULL && len != NULL && *len >= sizeof(int)) {
        memcpy(value, &end->nodelay, sizeof(int));
        *len = sizeof(int);
        return 0;
    }
    begin();
    int state = level == SOL_SOCKET && option == SO_ERROR && end->connecting ? handshake(fd) : 0;
    finish();
    if (state != 0 && value != NULL && len != NULL && *len >= sizeof(int)) {
        int error = state == EINPROGRESS ? 0 : state;
        end->connecting = state == EINPROGRESS;
        memcpy(value, &error, sizeof error);
        *len = sizeof error;
        return 0;
    }
    return getsockopt(fd, level, option, value, len);
}

static int plugin_setsockopt(void *own, int fd, int level, int option, const void *value, socklen_t len)
{
    (void)own;
    struct end *end = end_of(fd);
    if (!has_meaning(level, option)) {
        not_applicable("%s, which the host's own TCP would heed", option_name(level, option));
        errno = ENOPROTOOPT;
        return -1;
    }
    if (level == IPPROTO_TCP && value != NULL && len >= sizeof(int)) {
        /* On the real socket it stays on. */
        memcpy(&end->nodelay, value, sizeof(int));
        return 0;
    }
    if (level == SOL_SOCKET && (option == SO_RCVTIMEO || option == SO_SNDTIMEO) && len >= sizeof(struct timeval)) {
        struct timeval timeout;
        memcpy(&timeout, value, sizeof timeout);
        int64_t interval = (timeout.tv_sec * 1000000LL + timeout.tv_usec) * MICROSECOND;
        *(option == SO_RCVTIMEO ? &end->receive_timeout : &end->send_timeout) = interval;
    }
    begin();
    int result = setsockopt(fd, level, option, value, len);
    finish();
    return result;
}

static int plugin_fcntl(void *own, int fd, int command, ...)
{
    (void)own;
    va_list arguments;
    va_start(arguments, command);
    long argument = va_arg(arguments, long);
    va_end(arguments);
    struct end *end = end_of(fd);
    if (end->used && command == F_SETFL) {
        end->nonblocking = argument & O_NONBLOCK;
        return 0;
    }
    if (end->used && command == F_GETFL)
        return O_RDWR | (end->nonblocking ? O_NONBLOCK : 0);
    return fcntl(fd, command, argument);
}

static int plugin_ioctl(void *own, int fd, unsigned long request, ...)
{
    (void)own;
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (request == SIOCOUTQ || request == SIOCOUTQNSD) {
        not_applicable("SIOCOUTQ counts what the host's own TCP holds");
        errno = EINVAL;
        return -1;
    }
    begin();
    int result = ioctl(fd, request, argument);
    finish();
    return result;
}

struct polling {
    struct pollfd *fds;
    nfds_t count;
};

/* As poll, with the handshake to the guest in the place of the one on loopback. */
static bool attempt_poll(struct waiting *call)
{
    struct polling *arguments = call->arguments;
    int ready = poll(arguments->fds, arguments->count, 0);
    for (nfds_t i = 0; i < arguments->count && ready > 0; i++) {
        struct pollfd *one = &arguments->fds[i];
        if (one->revents == 0)
            continue;
        struct end *end = end_of(one->fd);
        if (end->connecting && handshake(one->fd) == EINPROGRESS)
            one->revents &= ~POLLOUT;
        if (one->revents & POLLIN && end->used && end->port != 0 && wire_pending(end->port) == NULL) {
            int listening = 0;
            socklen_t len = sizeof listening;
            getsockopt(one->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len);
            if (listening)
                one->revents &= ~POLLIN;
        }
        if (one->revents == 0)
            ready--;
    }
    call->result = ready;
    call->error = errno;
    return ready != 0;
}

static int plugin_poll(void *own, struct pollfd *fds, nfds_t count, int timeout)
{
    (void)own;
    struct polling arguments = { fds, count };
    struct waiting call = { .attempt = attempt_poll, .arguments = &arguments };
    return run(&call, timeout == 0, timeout < 0 ? 0 : (int64_t)timeout * MILLISECOND);
}

struct epolling {
    int epoll, most;
    struct epoll_event *events;
};

static bool attempt_epoll_wait(struct waiting *call)
{
    struct epolling *arguments = call->arguments;
    call->result = epoll_wait(arguments->epoll, arguments->events, arguments->most, 0);
    call->error = errno;
    return call->result != 0;
}

static int plugin_epoll_create(void *own, int size)
{
    (void)own;
    return epoll_create(size);
}

static int plugin_epoll_ctl(void *own, int epoll, int operation, int fd, struct epoll_event *event)
{
    (void)own;
    return epoll_ctl(epoll, operation, fd, event);
}

static int plugin_epoll_wait(void *own, int epoll, struct epoll_event *events, int most, int timeout)
{
    (void)own;
    struct epolling arguments = { epoll, most, events };
    struct waiting call = { .attempt = attempt_epoll_wait, .arguments = &arguments };
    return run(&call, timeout == 0, timeout < 0 ? 0 : (int64_t)timeout * MILLISECOND);
}

static int plugin_pipe(void *own, int ends[2])
{
    (void)own;
    return pipe(ends);
}

struct splicing {
    int from, to;
    loff_t *from_offset, *to_offset;
    size_t len;
    unsigned flags;
};

static bool attempt_splice(struct waiting *call)
{
    struct splicing *a = call->arguments;
    call->result = splice(a->from, a->from_offset, a->to, a->to_offset, a->len, a->flags | SPLICE_F_NONBLOCK);
    call->error = errno;
    return !(call->result < 0 && errno == EAGAIN);
}

static int plugin_splice(void *own, int from, loff_t *from_offset, int to, loff_t *to_offset, size_t len, unsigned flags)
{
    (void)own;
    struct splicing arguments = { from, to, from_offset, to_offset, len, flags };
    struct waiting call = { .attempt = attempt_splice, .arguments = &arguments, .result = -1, .error = EAGAIN };
    bool never = flags & SPLICE_F_NONBLOCK || end_of(from)->nonblocking || end_of(to)->nonblocking;
    return run(&call, never, 0);
}

static int plugin_netdev_send(void *own, const void *packet, size_t len)
{
    (void)own;
    begin();
    int result = wire_send(packet, len);
    finish();
    return result;
}

static int plugin_netdev_receive(void *own, void *packet, size_t *len, long long *at)
{
    (void)own;
    begin();
    if (!wire_waiting())
        library_advance(rig_now + PATIENCE, true);
    int64_t sent = rig_now;
    *len = wire_take(packet, *len, &sent);
    *at = sent / MICROSECOND;
    ended_at = -1;
    pthread_mutex_unlock(&rig_lock);
    if (*len == 0)
        fprintf(stderr, "no packet within %lld s\n", PATIENCE / 1000 / MILLISECOND);
    return 0;
}

static int plugin_usleep(void *own, useconds_t interval)
{
    (void)own;
    begin();
    library_advance(rig_now + (int64_t)interval * MICROSECOND, false);
    ended_at = -1;
    pthread_mutex_unlock(&rig_lock);
    return 0;
}

/* Looking at the clock takes a microsecond, so that whoever only looks at it gets somewhere. */
static int plugin_gettimeofday(void *own, struct timeval *now, struct timezone *zone)
{
    (void)own, (void)zone;
    pthread_mutex_lock(&rig_lock);
    int64_t at = ended_at;
    if (at < 0) {
        rig_now += MICROSECOND;
        at = rig_now;
    }
    ended_at = -1;
    pthread_mutex_unlock(&rig_lock);
    now->tv_sec = at / MICROSECOND / 1000000;
    now->tv_usec = at / MICROSECOND % 1000000;
    return 0;
}

/* --so_flags: "mtu=NUMBER" and "relaxed", with a comma between them. */
static void read_flags(const char *flags)
{
    char word[32];
    for (int used = 0; flags != NULL && sscanf(flags, "%31[^,]%n", word, &used) == 1; flags += flags[used] == ',' ? used + 1 : used) {
        if (strcmp(word, "relaxed") == 0)
            rig_relaxed = true;
        else if (sscanf(word, "mtu=%zu", &rig_mtu) != 1)
            fprintf(stderr, "unknown flag: %s\n", word);
    }
}

void packetdrill_interface_init(const char *flags, struct packetdrill_interface *interface)
{
    read_flags(flags);
    *interface = (struct packetdrill_interface){
        .release = plugin_release,
        .socket = do_socket,
        .bind = do_bind,
        .listen = do_listen,
        .accept = do_accept,
        .connect = do_connect,
        .read = do_read,
        .readv = do_readv,
        .recv = do_recv,
        .recvfrom = do_recvfrom,
        .recvmsg = do_recvmsg,
        .write = do_write,
        .writev = do_writev,
        .send = do_send,
        .sendto = do_sendto,
        .sendmsg = do_sendmsg,
        .fcntl = plugin_fcntl,
        .ioctl = plugin_ioctl,
        .close = do_close,
        .shutdown = do_shutdown,
        .getsockopt = plugin_getsockopt,
        .setsockopt = plugin_setsockopt,
        .poll = plugin_poll,
        .netdev_send = plugin_netdev_send,
        .netdev_receive = plugin_netdev_receive,
        .usleep = plugin_usleep,
        .gettimeofday = plugin_gettimeofday,
        .epoll_create = plugin_epoll_create,
        .epoll_ctl = plugin_epoll_ctl,
        .epoll_wait = plugin_epoll_wait,
        .pipe = plugin_pipe,
        .splice = plugin_splice,
    };
    /* packetdrill pins its memory, for a clock that is not virtual; the library need not fit what may be pinned. */
    munlockall();
    wire_open();
    library_open();
    library_settle();
}
