/*
 * What a platform cannot do is refused at the call, with the error that the header names, and never taken for done. One
 * argument: a folder that the program may write into. Where the system has Unix sockets, forwards to and from them are not
 * refused.
 */
#define _GNU_SOURCE
#include <slirp/libslirp.h>

#include "check.h"
#include "guest.h"

#ifdef _WIN32
/* Of afunix.h, which mingw does not have. */
struct sockaddr_un {
    unsigned short sun_family;
    char sun_path[108];
};
enum { FAMILY_ERROR = WSAEAFNOSUPPORT };
#else
#include <sys/un.h>
enum { FAMILY_ERROR = EAFNOSUPPORT };
#define closesocket close
#endif

static struct sockaddr_in inside(void)
{
    struct sockaddr_in address;
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_port = htons(80);
    address.sin_addr.s_addr = htonl(GUEST_ADDRESS);
    return address;
}

static int add(Guest *guest, const void *host, size_t len, int flags)
{
    struct sockaddr_in to = inside();
    errno = 0;
    return slirp_add_hostxfwd(guest->slirp, host, (socklen_t)len, (struct sockaddr *)&to, sizeof(to), flags);
}

/* Whether the system has them; what it says otherwise is shown. */
static bool has_unix_sockets(void)
{
    os_socket fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (IS_SOCKET(fd)) {
        closesocket(fd);
        return true;
    }
#ifdef _WIN32
    int error = WSAGetLastError();
#else
    int error = errno;
#endif
    printf("note: no Unix sockets: error %d%s\n", error, error == FAMILY_ERROR ? ", the family is not supported" : "");
    return false;
}

static void forwards(Guest *guest, const char *folder, bool has_unix)
{
    struct sockaddr_un path;
    struct sockaddr_in strange = inside();
    memset(&path, 0, sizeof(path));
    path.sun_family = AF_UNIX;
    snprintf(path.sun_path, sizeof(path.sun_path), "%s/socket", folder);
    int result = add(guest, &path, sizeof(path), 0);
    if (has_unix) {
        CHECK(result == 0, "errno %d", errno);
        CHECK(slirp_remove_hostxfwd(guest->slirp, (struct sockaddr *)&path, sizeof(path), 0) == 0, "removal");
    } else {
        CHECK(result == -1 && errno == EAFNOSUPPORT, "a forward from a Unix socket: %d, errno %d", result, errno);
    }
    result = add(guest, &path, sizeof(path), SLIRP_HOSTFWD_UDP);
    CHECK(result == -1 && errno == ENOTSUP, "datagrams from a Unix socket: %d, errno %d", result, errno);
    strange.sin_family = 77;
    result = add(guest, &strange, sizeof(strange), 0);
    CHECK(result == -1 && errno == EAFNOSUPPORT, "a family that there is not: %d, errno %d", result, errno);
    /* No machine of the tests has this address (RFC 5737). */
    strange.sin_family = AF_INET;
    strange.sin_addr.s_addr = htonl(0xc0000201);
    result = add(guest, &strange, sizeof(strange), 0);
    CHECK(result == -1 && errno == EADDRNOTAVAIL, "an address of somebody else: %d, errno %d", result, errno);

    struct in_addr service;
    service.s_addr = htonl(0x0a000264);
    errno = 0;
    result = slirp_add_unix(guest->slirp, path.sun_path, &service, 1000);
    CHECK(has_unix ? result == 0 : result == -1 && errno == EAFNOSUPPORT, "a guest forward to a Unix socket: %d, errno %d", result, errno);
    char *info = slirp_connection_info(guest->slirp);
    CHECK(info != NULL && strstr(info, "HOST_FORWARD") == NULL, "%s", info);
    free(info);
}

/* A control socket that only its owner can reach: there is none on Windows, and no network without it. */
static void control(const char *folder)
{
    static char variable[1100];
    char path[1000];
    SlirpConfig config = guest_config(6);
    Guest guest;
    memset(&guest, 0, sizeof(guest));
    snprintf(path, sizeof(path), "%s/control.toml", folder);
    FILE *file = fopen(path, "w");
    if (file == NULL || fprintf(file, "[control]\nsocket = '%s/control'\n", folder) < 0 || fclose(file) != 0) {
        perror(path);
        exit(2);
    }
    snprintf(variable, sizeof(variable), "OXISLIRP_CONFIG=%s", path);
    putenv(variable);
    guest.slirp = slirp_new(&config, &guest_callbacks, &guest);
#ifdef _WIN32
    CHECK(guest.slirp == NULL, "a network without the control socket that was asked for");
#else
    CHECK(guest.slirp != NULL, "no network with a control socket");
#endif
    if (guest.slirp != NULL) {
        slirp_cleanup(guest.slirp);
    }
    guest_free(&guest);
}

int main(int argc, char **argv)
{
    Guest guest;
    SlirpConfig config = guest_config(6);
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    os_start();
    memset(&guest, 0, sizeof(guest));
    guest.slirp = slirp_new(&config, &guest_callbacks, &guest);
    CHECK(guest.slirp != NULL, "no instance");
    if (guest.slirp != NULL) {
        PART("forwards that cannot be", forwards(&guest, argv[1], has_unix_sockets()));
        slirp_cleanup(guest.slirp);
    }
    guest_free(&guest);
    PART("control socket", control(argv[1]));
    return checks_finish();
}
