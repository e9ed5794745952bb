/* The host's side of the test programs. */
#ifndef HOST_H
#define HOST_H

#include "posix.h"

/* A non-blocking socket at 127.0.0.1 and a free port, which is stored in host byte order. */
static os_socket loopback_socket(int type, uint16_t *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    os_socket fd = socket(AF_INET, type, 0);
    if (!IS_SOCKET(fd) || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        perror("socket");
        exit(2);
    }
    os_unblock(fd);
    *port = ntohs(address.sin_port);
    return fd;
}

#endif
