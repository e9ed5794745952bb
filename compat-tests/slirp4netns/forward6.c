/*
 * IPv6 for the forwards of slirp4netns, which reads the addresses of add_hostfwd with inet_pton(AF_INET) in every version
 * up to 1.3.3. Preloaded into it, this stands before slirp_add_hostfwd and slirp_remove_hostfwd: the host address 127.6.0.1
 * is taken for ::1, and the guest address 6.6.6.6 for ::, the guest as it is known by neighbor discovery. The rest of
 * slirp4netns, its loop, its sandbox and its seccomp filter, is as the distribution made it.
 */
#include <slirp/libslirp.h>

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#define HOST 0x7f060001
#define GUEST 0x06060606

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} Address;

/* The address that stands for `marked` (in host byte order) or the IPv4 address itself; its length. */
static socklen_t address(Address *out, struct in_addr in, uint32_t marked, struct in6_addr v6, int port)
{
    memset(out, 0, sizeof(*out));
    if (ntohl(in.s_addr) == marked) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons((uint16_t)port);
        out->v6.sin6_addr = v6;
        return sizeof(out->v6);
    }
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons((uint16_t)port);
    out->v4.sin_addr = in;
    return sizeof(out->v4);
}

int slirp_add_hostfwd(Slirp *slirp, int is_udp, struct in_addr host_addr, int host_port, struct in_addr guest_addr,
                      int guest_port)
{
    Address host, guest;
    socklen_t host_len = address(&host, host_addr, HOST, in6addr_loopback, host_port);
    socklen_t guest_len = address(&guest, guest_addr, GUEST, in6addr_any, guest_port);
    return slirp_add_hostxfwd(slirp, &host.any, host_len, &guest.any, guest_len, is_udp ? SLIRP_HOSTFWD_UDP : 0);
}

int slirp_remove_hostfwd(Slirp *slirp, int is_udp, struct in_addr host_addr, int host_port)
{
    Address host;
    socklen_t host_len = address(&host, host_addr, HOST, in6addr_loopback, host_port);
    return slirp_remove_hostxfwd(slirp, &host.any, host_len, is_udp ? SLIRP_HOSTFWD_UDP : 0);
}
