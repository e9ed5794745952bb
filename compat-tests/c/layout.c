/*
 * Sizes, offsets, constants and types of the public headers, checked by the
 * compiler: with 64 and with 32 bits, on Unix and on Windows (LP64, ILP32 and
 * LLP64). Compiles as C99, C11 and C++11.
 */
#ifdef LAYOUT_FLAT_INCLUDE
#include <libslirp.h>
#else
#include <slirp/libslirp.h>
#endif

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define CHECK(name, condition) typedef char check_##name[(condition) ? 1 : -1]
#define WIDE (sizeof(void *) == 8)
/* Where a member is with pointers of 64 bits, and with such of 32. */
#define AT(type, member, wide, narrow) CHECK(type##_##member, offsetof(struct type, member) == (WIDE ? (wide) : (narrow)))
/* An address of IPv6 is made of words that have two bytes on Windows, and four elsewhere. */
#ifdef _WIN32
#define AT_IN6(member, words_of_two, words_of_four) CHECK(SlirpConfig_##member, offsetof(struct SlirpConfig, member) == (words_of_two))
#else
#define AT_IN6(member, words_of_two, words_of_four) CHECK(SlirpConfig_##member, offsetof(struct SlirpConfig, member) == (words_of_four))
#endif

CHECK(size_config, sizeof(SlirpConfig) == (WIDE ? 192 : 148));
AT(SlirpConfig, version, 0, 0);
AT(SlirpConfig, restricted, 4, 4);
AT(SlirpConfig, in_enabled, 8, 8);
AT(SlirpConfig, vnetwork, 12, 12);
AT(SlirpConfig, vnetmask, 16, 16);
AT(SlirpConfig, vhost, 20, 20);
AT(SlirpConfig, in6_enabled, 24, 24);
AT_IN6(vprefix_addr6, 26, 28);
AT_IN6(vprefix_len, 42, 44);
AT_IN6(vhost6, 44, 48);
AT(SlirpConfig, vhostname, 64, 64);
AT(SlirpConfig, tftp_server_name, 72, 68);
AT(SlirpConfig, tftp_path, 80, 72);
AT(SlirpConfig, bootfile, 88, 76);
AT(SlirpConfig, vdhcp_start, 96, 80);
AT(SlirpConfig, vnameserver, 100, 84);
AT(SlirpConfig, vnameserver6, 104, 88);
AT(SlirpConfig, vdnssearch, 120, 104);
AT(SlirpConfig, vdomainname, 128, 108);
AT(SlirpConfig, if_mtu, 136, 112);
AT(SlirpConfig, if_mru, 144, 116);
AT(SlirpConfig, disable_host_loopback, 152, 120);
AT(SlirpConfig, enable_emu, 153, 121);
AT(SlirpConfig, outbound_addr, 160, 124);
AT(SlirpConfig, outbound_addr6, 168, 128);
AT(SlirpConfig, disable_dns, 176, 132);
AT(SlirpConfig, disable_dhcp, 177, 133);
AT(SlirpConfig, mfr_id, 180, 136);
AT(SlirpConfig, oob_eth_addr, 184, 140);

CHECK(size_callbacks, sizeof(SlirpCb) == (WIDE ? 104 : 52));
AT(SlirpCb, send_packet, 0, 0);
AT(SlirpCb, guest_error, 8, 4);
AT(SlirpCb, clock_get_ns, 16, 8);
AT(SlirpCb, timer_new, 24, 12);
AT(SlirpCb, timer_free, 32, 16);
AT(SlirpCb, timer_mod, 40, 20);
AT(SlirpCb, register_poll_fd, 48, 24);
AT(SlirpCb, unregister_poll_fd, 56, 28);
AT(SlirpCb, notify, 64, 32);
AT(SlirpCb, init_completed, 72, 36);
AT(SlirpCb, timer_new_opaque, 80, 40);
AT(SlirpCb, register_poll_socket, 88, 44);
AT(SlirpCb, unregister_poll_socket, 96, 48);

CHECK(poll_in, SLIRP_POLL_IN == 1);
CHECK(poll_out, SLIRP_POLL_OUT == 2);
CHECK(poll_pri, SLIRP_POLL_PRI == 4);
CHECK(poll_err, SLIRP_POLL_ERR == 8);
CHECK(poll_hup, SLIRP_POLL_HUP == 16);
CHECK(dbg_call, SLIRP_DBG_CALL == 1);
CHECK(dbg_misc, SLIRP_DBG_MISC == 2);
CHECK(dbg_error, SLIRP_DBG_ERROR == 4);
CHECK(dbg_tftp, SLIRP_DBG_TFTP == 8);
CHECK(dbg_verbose, SLIRP_DBG_VERBOSE_CALL == 16);
CHECK(fwd_udp, SLIRP_HOSTFWD_UDP == 1);
CHECK(fwd_v6only, SLIRP_HOSTFWD_V6ONLY == 2);
CHECK(timer_ra, SLIRP_TIMER_RA == 0);
CHECK(timer_num, SLIRP_TIMER_NUM == 1);
CHECK(size_timer_id, sizeof(SlirpTimerId) == 4);
CHECK(size_ssize, sizeof(slirp_ssize_t) == sizeof(size_t));
#ifdef _WIN32
CHECK(size_socket, sizeof(slirp_os_socket) == sizeof(void *));
#else
CHECK(size_socket, sizeof(slirp_os_socket) == sizeof(int));
#endif
CHECK(no_socket, SLIRP_INVALID_SOCKET == (slirp_os_socket)-1);
CHECK(config_versions, SLIRP_CONFIG_VERSION_MIN == 1 && SLIRP_CONFIG_VERSION_MAX == 6);
CHECK(version, SLIRP_MAJOR_VERSION == 4 && SLIRP_MINOR_VERSION == 9 && SLIRP_MICRO_VERSION == 5);
CHECK(version_same, SLIRP_CHECK_VERSION(4, 9, 5));
CHECK(version_older, SLIRP_CHECK_VERSION(4, 7, 9) && SLIRP_CHECK_VERSION(3, 99, 99));
CHECK(version_newer, !SLIRP_CHECK_VERSION(4, 9, 6) && !SLIRP_CHECK_VERSION(4, 10, 0) && !SLIRP_CHECK_VERSION(5, 0, 0));

#if !SLIRP_CHECK_VERSION(4, 9, 0)
#error "the version macro must work in the preprocessor"
#endif

/* The prototypes, as programs have relied on them: an assignment fails to compile when one differs. */
struct prototypes {
    Slirp *(*create)(const SlirpConfig *, const SlirpCb *, void *);
    Slirp *(*init)(int, bool, struct in_addr, struct in_addr, struct in_addr, bool, struct in6_addr, uint8_t,
                   struct in6_addr, const char *, const char *, const char *, const char *, struct in_addr,
                   struct in_addr, struct in6_addr, const char **, const char *, const SlirpCb *, void *);
    void (*cleanup)(Slirp *);
    void (*fill)(Slirp *, uint32_t *, SlirpAddPollCb, void *);
    void (*fill_socket)(Slirp *, uint32_t *, SlirpAddPollSocketCb, void *);
    void (*poll)(Slirp *, int, SlirpGetREventsCb, void *);
    void (*input)(Slirp *, const uint8_t *, int);
    void (*handle_timer)(Slirp *, SlirpTimerId, void *);
    int (*add_hostfwd)(Slirp *, int, struct in_addr, int, struct in_addr, int);
    int (*remove_hostfwd)(Slirp *, int, struct in_addr, int);
    int (*add_hostxfwd)(Slirp *, const struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t, int);
    int (*remove_hostxfwd)(Slirp *, const struct sockaddr *, socklen_t, int);
    int (*add_exec)(Slirp *, const char *, struct in_addr *, int);
    int (*add_unix)(Slirp *, const char *, struct in_addr *, int);
    int (*add_guestfwd)(Slirp *, SlirpWriteCb, void *, struct in_addr *, int);
    int (*remove_guestfwd)(Slirp *, struct in_addr, int);
    size_t (*can_recv)(Slirp *, struct in_addr, int);
    void (*recv)(Slirp *, struct in_addr, int, const uint8_t *, int);
    char *(*connection_info)(Slirp *);
    char *(*neighbor_info)(Slirp *);
    int (*save)(Slirp *, SlirpWriteCb, void *);
    int (*state_version)(void);
    int (*load)(Slirp *, int, SlirpReadCb, void *);
    const char *(*version_string)(void);
    void (*set_debug)(unsigned int);
    void (*reset_debug)(unsigned int);
#ifdef _WIN32
    int (*aton)(const char *, struct in_addr *);
#endif
};

int main(void)
{
    /* Not static: what a DLL has is no constant. */
    const struct prototypes all = {
        slirp_new,           slirp_init,          slirp_cleanup,       slirp_pollfds_fill,    slirp_pollfds_fill_socket,
        slirp_pollfds_poll,  slirp_input,         slirp_handle_timer,  slirp_add_hostfwd,     slirp_remove_hostfwd,
        slirp_add_hostxfwd,  slirp_remove_hostxfwd, slirp_add_exec,    slirp_add_unix,        slirp_add_guestfwd,
        slirp_remove_guestfwd, slirp_socket_can_recv, slirp_socket_recv, slirp_connection_info, slirp_neighbor_info,
        slirp_state_save,    slirp_state_version, slirp_state_load,    slirp_version_string,  slirp_set_debug,
        slirp_reset_debug,
#ifdef _WIN32
        slirp_inet_aton,
#endif
    };
    if (strncmp(all.version_string(), SLIRP_VERSION_STRING, 5) != 0 || all.state_version() != 4) {
        printf("0 passed, 1 failed\n");
        return 1;
    }
    printf("1 passed, 0 failed\n");
    return 0;
}
