/*
 * Everything that <slirp/libslirp.h> declares, used once, with every macro where programs use it. Compiles without a
 * warning as C99, C11 and C++11; with USE_DEPRECATED it has one for each deprecated declaration.
 */
#include <slirp/libslirp.h>
#include <slirp/libslirp-version.h>

#include <stdio.h>

#if !defined(LIBSLIRP_H) || !defined(LIBSLIRP_VERSION_H_)
#error "the guards have the names that programs test"
#endif
#ifndef SLIRP_EXPORT
#error "SLIRP_EXPORT"
#endif
#if SLIRP_CONFIG_VERSION_MIN != 1 || SLIRP_CONFIG_VERSION_MAX != 6 || SLIRP_HOSTFWD_UDP != 1 || SLIRP_HOSTFWD_V6ONLY != 2
#error "numbers of the preprocessor"
#endif
#if !SLIRP_CHECK_VERSION(4, 9, 5) || SLIRP_MAJOR_VERSION != 4 || SLIRP_MINOR_VERSION != 9 || SLIRP_MICRO_VERSION != 5
#error "the version"
#endif

/* A function of the program's own may carry the marks too. */
SLIRP_DEPRECATED void old_function(void);

#ifdef __cplusplus
extern "C" {
#endif
static slirp_ssize_t read_state(void *buf, size_t len, void *opaque) { (void)buf; (void)opaque; return (slirp_ssize_t)len; }
static slirp_ssize_t send_packet(const void *buf, size_t len, void *opaque) { (void)buf; (void)opaque; return (slirp_ssize_t)len; }
static void timer(void *opaque) { (void)opaque; }
static int add_poll(int fd, int events, void *opaque) { (void)opaque; return fd + events; }
static int add_poll_socket(slirp_os_socket fd, int events, void *opaque) { (void)opaque; return fd == SLIRP_INVALID_SOCKET ? -1 : events; }
static int get_revents(int idx, void *opaque) { (void)idx; (void)opaque; return 0; }
static void guest_error(const char *msg, void *opaque) { (void)msg; (void)opaque; }
static int64_t clock_get_ns(void *opaque) { (void)opaque; return 0; }
static void *timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque) { (void)cb; (void)cb_opaque; return opaque; }
static void timer_free(void *timer, void *opaque) { (void)timer; (void)opaque; }
static void timer_mod(void *timer, int64_t expire_time, void *opaque) { (void)timer; (void)expire_time; (void)opaque; }
static void poll_fd(int fd, void *opaque) { (void)fd; (void)opaque; }
static void notify(void *opaque) { (void)opaque; }
static void init_completed(Slirp *slirp, void *opaque) { (void)slirp; (void)opaque; }
static void *timer_new_opaque(SlirpTimerId id, void *cb_opaque, void *opaque) { (void)cb_opaque; return id == SLIRP_TIMER_RA ? opaque : NULL; }
static void poll_socket(slirp_os_socket socket, void *opaque) { (void)opaque; printf("%" SLIRP_PRIfd "\n", socket); }
#ifdef __cplusplus
}
#endif

int main(void)
{
    static const SlirpReadCb reads = read_state;
    static const SlirpWriteCb writes = send_packet;
    static const SlirpTimerCb fires = timer;
    static const SlirpAddPollCb adds = add_poll;
    static const SlirpAddPollSocketCb adds_socket = add_poll_socket;
    static const SlirpGetREventsCb gets = get_revents;
    /* By position, as older programs do: the deprecated members are not named. */
    static const SlirpCb callbacks = { send_packet, guest_error, clock_get_ns, timer_new, timer_free, timer_mod, poll_fd, poll_fd,
                                       notify, init_completed, timer_new_opaque, poll_socket, poll_socket };
    static const int numbers[] = { SLIRP_POLL_IN, SLIRP_POLL_OUT, SLIRP_POLL_PRI, SLIRP_POLL_ERR, SLIRP_POLL_HUP, SLIRP_DBG_CALL,
                                   SLIRP_DBG_MISC, SLIRP_DBG_ERROR, SLIRP_DBG_TFTP, SLIRP_DBG_VERBOSE_CALL, SLIRP_TIMER_RA,
                                   SLIRP_TIMER_NUM };
    const SlirpConfig *config = NULL;
#ifdef USE_DEPRECATED
    SlirpCb old = callbacks;
    old.register_poll_fd = poll_fd;
    old.unregister_poll_fd = poll_fd;
    slirp_pollfds_fill(NULL, NULL, adds, NULL);
#endif
#ifdef _WIN32
    struct in_addr address;
    slirp_inet_aton("10.0.2.2", &address);
#endif
    printf("%s %d %d %d\n", SLIRP_VERSION_STRING, numbers[0], config == NULL, callbacks.notify == NULL);
    fires(NULL);
    return (int)(reads(NULL, 0, NULL) + writes(NULL, 0, NULL)) + adds(0, 0, NULL) + adds_socket(0, 0, NULL) + gets(0, NULL);
}
