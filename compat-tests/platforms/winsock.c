/* What the Winsock at hand does, without the library, in what the tests of resets, urgent data and refusals ask of it. */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <mswsock.h>
#include <iphlpapi.h>
#include <icmpapi.h>

#include <stdio.h>
#include <string.h>

static SOCKET listener;
static struct sockaddr_in place;

static void connect_two(SOCKET *one, SOCKET *other)
{
    *one = socket(AF_INET, SOCK_STREAM, 0);
    connect(*one, (struct sockaddr *)&place, sizeof(place));
    *other = accept(listener, NULL, NULL);
}

/* The result of a call, and its error. */
static void said(const char *what, int result)
{
    printf("%s: %d", what, result);
    if (result < 0) {
        printf(", error %d", WSAGetLastError());
    }
    printf("\n");
}

/* A datagram whose control message asks for another address than the system chooses. */
static void leave_from_an_address(void)
{
    char control[WSA_CMSG_SPACE(sizeof(struct in_pktinfo))], bytes[8];
    SOCKET from = socket(AF_INET, SOCK_DGRAM, 0), to = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in all = { 0 }, at = { 0 }, sender = { 0 };
    WSABUF text = { 4, "tell" };
    WSAMSG message = { (struct sockaddr *)&at, sizeof(at), &text, 1, { sizeof(control), control }, 0 };
    WSACMSGHDR *header = WSA_CMSG_FIRSTHDR(&message);
    DWORD sent;
    int len = sizeof(at);

    all.sin_family = at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(from, (struct sockaddr *)&all, sizeof(all));
    bind(to, (struct sockaddr *)&at, sizeof(at));
    getsockname(to, (struct sockaddr *)&at, &len);
    memset(control, 0, sizeof(control));
    header->cmsg_level = IPPROTO_IP;
    header->cmsg_type = IP_PKTINFO;
    header->cmsg_len = WSA_CMSG_LEN(sizeof(struct in_pktinfo));
    ((struct in_pktinfo *)WSA_CMSG_DATA(header))->ipi_addr.s_addr = inet_addr("127.0.0.7");
    said("WSASendMsg from 127.0.0.7 by IP_PKTINFO", WSASendMsg(from, &message, 0, &sent, NULL, NULL));
    len = sizeof(sender);
    recvfrom(to, bytes, sizeof(bytes), 0, (struct sockaddr *)&sender, &len);
    printf("its sender (127.0.0.7): %s\n", inet_ntoa(sender.sin_addr));
}

int main(void)
{
    WSADATA data;
    SOCKET one, other, datagrams;
    struct sockaddr_in foreign = { 0 }, closed;
    struct linger none = { 1, 0 };
    char bytes[8];
    int len = sizeof(place), yes = 1;
    u_long mark = 0;

    WSAStartup(0x202, &data);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    place.sin_family = AF_INET;
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(listener, (struct sockaddr *)&place, sizeof(place));
    listen(listener, 5);
    getsockname(listener, (struct sockaddr *)&place, &len);

    connect_two(&one, &other);
    setsockopt(one, SOL_SOCKET, SO_LINGER, (char *)&none, sizeof(none));
    closesocket(one);
    said("recv behind a close with SO_LINGER of 0 (a reset: -1, error 10054)", recv(other, bytes, sizeof(bytes), 0));

    connect_two(&one, &other);
    setsockopt(other, SOL_SOCKET, SO_OOBINLINE, (char *)&yes, sizeof(yes));
    send(one, "abcd!", 5, MSG_OOB);
    Sleep(200);
    said("recv of what is before the urgent byte", recv(other, bytes, sizeof(bytes), 0));
    ioctlsocket(other, SIOCATMARK, &mark);
    printf("SIOCATMARK at the urgent byte (at the mark: 0): %lu\n", mark);

    datagrams = socket(AF_INET, SOCK_DGRAM, 0);
    closed = place;
    connect(datagrams, (struct sockaddr *)&closed, sizeof(closed));
    send(datagrams, "x", 1, 0);
    Sleep(200);
    mark = 1;
    ioctlsocket(datagrams, FIONBIO, &mark);
    said("recv behind a datagram to a closed port (refused: error 10054)", recv(datagrams, bytes, sizeof(bytes), 0));

    foreign.sin_family = AF_INET;
    foreign.sin_addr.s_addr = inet_addr("192.0.2.1");
    datagrams = socket(AF_INET, SOCK_DGRAM, 0);
    said("bind of datagrams to 192.0.2.1, which is not here (refused: error 10049)", bind(datagrams, (struct sockaddr *)&foreign, sizeof(foreign)));
    one = socket(AF_INET, SOCK_STREAM, 0);
    said("bind of a stream to it", bind(one, (struct sockaddr *)&foreign, sizeof(foreign)));
    leave_from_an_address();
    said("socket(AF_UNIX)", socket(AF_UNIX, SOCK_STREAM, 0) == INVALID_SOCKET ? -1 : 0);
    said("Icmp6CreateFile", Icmp6CreateFile() == INVALID_HANDLE_VALUE ? -1 : 0);
    return 0;
}
