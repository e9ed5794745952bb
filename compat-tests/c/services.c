/*
 * What the virtual network serves by files and programs of the host: names by a server that OXISLIRP_CONFIG names, files by
 * TFTP, and a command behind a guest forward. Two arguments: a folder that the program may write into, and a command that
 * says "ready" when it is started, gives back what it is told, and ends with its input.
 */
#define _GNU_SOURCE
#include <slirp/libslirp.h>

#include "check.h"
#include "guest.h"
#include "host.h"

enum { FILE_BYTES = 1300, BLOCK = 512, COMMAND_ADDRESS = 0x0a000265 };

static Slirp *new_instance(Guest *guest, const char *folder)
{
    SlirpConfig config = guest_config(6);
    config.tftp_path = folder;
    return slirp_new(&config, &guest_callbacks, guest);
}

/* The guest asks the virtual name server, and the answer is that of the server which the file names. */
static void names(Guest *guest, os_socket server)
{
    uint8_t query[] = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04host\x04test\x00\x00\x01\x00\x01";
    uint8_t data[600];
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    ssize_t got = -1;
    size_t len = 0, size = sizeof(query) - 1;
    send_udp(guest, guest->router_mac, GUEST_ADDRESS, 5300, NAME_SERVER_ADDRESS, 53, query, size);
    RUN_UNTIL(guest, (got = recvfrom(server, data, sizeof(data), 0, (struct sockaddr *)&from, &from_len)) >= 0, 3000);
    CHECK(got == (ssize_t)size && memcmp(data + 2, query + 2, size - 2) == 0, "%zd bytes of a query", got);
    if (got < 12) {
        return;
    }
    data[2] = 0x81;
    data[3] = 0x83;
    CHECK(sendto(server, data, (size_t)got, 0, (struct sockaddr *)&from, from_len) == got, "sendto");
    RUN_UNTIL(guest, find_ip(guest, 17, 2, 5300, &len) != NULL, 3000);
    const uint8_t *answer = find_ip(guest, 17, 2, 5300, &len);
    CHECK(answer != NULL && len == 8 + size, "%zu bytes of an answer", len);
    if (answer != NULL && len == 8 + size) {
        CHECK(get16(answer) == 53 && get16(answer + 8) == 0x1234 && answer[11] == 0x83, "another answer");
    }
    empty_inbox(guest);
}

static const uint8_t *tftp_reply(Guest *guest, size_t *len)
{
    RUN_UNTIL(guest, find_ip(guest, 17, 2, 6900, len) != NULL, 3000);
    return find_ip(guest, 17, 2, 6900, len);
}

static void files(Guest *guest, const uint8_t *content)
{
    static const char missing[] = "\0\1..\\..\\secret\0octet", request[] = "\0\1boot/kernel\0octet";
    size_t len = 0;
    send_udp(guest, guest->router_mac, GUEST_ADDRESS, 6900, ROUTER_ADDRESS, 69, missing, sizeof(missing));
    const uint8_t *reply = tftp_reply(guest, &len);
    CHECK(reply != NULL && len > 12 && get16(reply + 8) == 5, "a name that leads out is no error");
    empty_inbox(guest);
    send_udp(guest, guest->router_mac, GUEST_ADDRESS, 6900, ROUTER_ADDRESS, 69, request, sizeof(request));
    for (uint16_t block = 1; (size_t)(block - 1) * BLOCK <= FILE_BYTES; block++) {
        size_t at = (size_t)(block - 1) * BLOCK, wanted = FILE_BYTES - at < BLOCK ? FILE_BYTES - at : BLOCK;
        reply = tftp_reply(guest, &len);
        bool whole = reply != NULL && len == 12 + wanted && get16(reply + 8) == 3 && get16(reply + 10) == block;
        CHECK(whole && memcmp(reply + 12, content + at, wanted) == 0, "block %d of %zu bytes", block, len);
        if (!whole) {
            break;
        }
        uint8_t acknowledgment[4] = { 0, 4, 0, 0 };
        put16(acknowledgment + 2, block);
        empty_inbox(guest);
        send_udp(guest, guest->router_mac, GUEST_ADDRESS, 6900, ROUTER_ADDRESS, 69, acknowledgment, 4);
        guest_turn(guest, 0);
    }
    empty_inbox(guest);
}

static void command(Guest *guest, const char *line)
{
    struct in_addr address;
    address.s_addr = htonl(COMMAND_ADDRESS);
    CHECK(slirp_add_exec(guest->slirp, "no/such/program", &address, 7000) == 0, "a program that may come to be");
    CHECK(slirp_add_exec(guest->slirp, line, &address, 7001) == 0, "%s", strerror(errno));
    GuestTcp *tcp = new_tcp(guest, COMMAND_ADDRESS, 7001, 4100);
    guest_connect(guest, tcp);
    RUN_UNTIL(guest, tcp->received_len >= 5 || tcp->got_rst, 20000);
    CHECK(tcp->established && tcp->received_len >= 5, "%zu bytes", tcp->received_len);
    CHECK(tcp->received_len >= 5 && memcmp(tcp->received, "ready", 5) == 0, "other bytes");
    size_t before = tcp->received_len;
    guest_send(guest, tcp, (const uint8_t *)"a word\n", 7, NULL, NULL);
    guest_fin(guest, tcp);
    RUN_UNTIL(guest, tcp->got_fin || tcp->got_rst, 20000);
    CHECK(tcp->got_fin && !tcp->got_rst, "no end");
    bool back = false;
    for (size_t at = 5; at + 6 <= tcp->received_len; at++) {
        back |= memcmp(tcp->received + at, "a word", 6) == 0;
    }
    CHECK(back, "%zu bytes came back", tcp->received_len - before);
    free_tcp(tcp);
    tcp = new_tcp(guest, COMMAND_ADDRESS, 7000, 4101);
    guest_connect(guest, tcp);
    RUN_UNTIL(guest, tcp->got_rst || tcp->got_fin, 5000);
    CHECK(tcp->got_rst || tcp->got_fin, "a program that is not there answers");
    free_tcp(tcp);
}

static void write_file(const char *folder, const char *name, const void *data, size_t len)
{
    char path[1000];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, len, file) != len || fclose(file) != 0) {
        perror(path);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    static uint8_t content[FILE_BYTES];
    static char config[1100], text[200];
    Guest guest;
    uint16_t port;
    if (argc != 3) {
        fprintf(stderr, "usage: %s FOLDER COMMAND\n", argv[0]);
        return 2;
    }
    memset(&guest, 0, sizeof(guest));
    os_start();
    os_socket server = loopback_socket(SOCK_DGRAM, &port);
    for (size_t i = 0; i < FILE_BYTES; i++) {
        content[i] = (uint8_t)(i * 13 + i / 256);
    }
    write_file(argv[1], "boot/kernel", content, FILE_BYTES);
    snprintf(text, sizeof(text), "[dns]\nservers = [\"127.0.0.1:%d\"]\n", port);
    write_file(argv[1], "config.toml", text, strlen(text));
    snprintf(config, sizeof(config), "OXISLIRP_CONFIG=%s/config.toml", argv[1]);
    putenv(config);
    guest.slirp = new_instance(&guest, argv[1]);
    CHECK(guest.slirp != NULL, "no instance");
    if (guest.slirp != NULL) {
        send_arp(&guest, 1, broadcast_mac, ROUTER_ADDRESS);
        handle_arrived(&guest);
        CHECK(guest.inbox_len == 1, "%zu frames", guest.inbox_len);
        if (guest.inbox_len == 1) {
            memcpy(guest.router_mac, guest.inbox[0].data + 22, 6);
        }
        empty_inbox(&guest);
        PART("DNS", names(&guest, server));
        PART("TFTP", files(&guest, content));
        PART("command behind a guest forward", command(&guest, argv[2]));
        slirp_cleanup(guest.slirp);
    }
    close(server);
    guest_free(&guest);
    return checks_finish();
}
