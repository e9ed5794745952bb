/*
 * A saved state that moves between machines. `exchange save FILE` opens connections to guest forwards, leaves bytes under
 * way, and saves the state into FILE and what the guest knows of its connections into FILE.guest. `exchange load FILE AGAIN`
 * loads both, saves the state once more into AGAIN before anything happens, and lets the connections go on. Programs for
 * processors of 32 and 64 bits and for Windows read each other's files, and what they write into AGAIN is the same byte for
 * byte. Addresses and ports have the byte order of the machine: `exchange turn FILE AGAIN` is `load` on one of the other
 * order, and looks that nothing else differs in AGAIN.
 */
#define _GNU_SOURCE
#include <slirp/libslirp.h>

#include "check.h"
#include "guest.h"

enum { SERVICE = 0x0a000264, PORT = 1234, CONNECTIONS = 3, UNDER_WAY = 1000, GUEST_PORT = 3100 };

static uint8_t pattern[UNDER_WAY];
static uint8_t written[100];
static size_t written_len;

/* The clock stands while a state is made and saved again, and goes afterwards: the state has times in it. */
static bool clock_goes;
static int64_t started_ns;

static int64_t standing_clock_ns(void *opaque)
{
    (void)opaque;
    return 1000000000 + (clock_goes ? os_clock_ns() - started_ns : 0);
}

static slirp_ssize_t on_write(const void *buf, size_t len, void *opaque)
{
    (void)opaque;
    if (len <= sizeof(written) - written_len) {
        memcpy(written + written_len, buf, len);
        written_len += len;
    }
    return (slirp_ssize_t)len;
}

static slirp_ssize_t to_file(const void *buf, size_t len, void *opaque)
{
    return fwrite(buf, 1, len, opaque) == len ? (slirp_ssize_t)len : -1;
}

static slirp_ssize_t from_file(void *buf, size_t len, void *opaque)
{
    return (slirp_ssize_t)fread(buf, 1, len, opaque);
}

static FILE *open_file(const char *path, const char *suffix, const char *mode)
{
    char name[1000];
    snprintf(name, sizeof(name), "%s%s", path, suffix);
    FILE *file = fopen(name, mode);
    if (file == NULL) {
        perror(name);
        exit(2);
    }
    return file;
}

static void start(Guest *guest, SlirpCb *callbacks)
{
    SlirpConfig config = guest_config(6);
    struct in_addr address = { .s_addr = htonl(SERVICE) };
    memset(guest, 0, sizeof(*guest));
    *callbacks = guest_callbacks;
    callbacks->clock_get_ns = standing_clock_ns;
    guest->slirp = slirp_new(&config, callbacks, guest);
    if (guest->slirp == NULL || slirp_add_guestfwd(guest->slirp, on_write, NULL, &address, PORT) != 0) {
        fprintf(stderr, "no instance, or no guest forward\n");
        exit(2);
    }
}

static void save_state(Guest *guest, const char *path)
{
    FILE *file = open_file(path, "", "wb");
    int result = slirp_state_save(guest->slirp, to_file, file);
    CHECK(result == 0 && ftell(file) > 131 && fclose(file) == 0, "result %d", result);
}

static void find_router(Guest *guest)
{
    send_arp(guest, 1, broadcast_mac, ROUTER_ADDRESS);
    handle_arrived(guest);
    CHECK(guest->inbox_len == 1, "%zu frames", guest->inbox_len);
    if (guest->inbox_len == 1) {
        memcpy(guest->router_mac, guest->inbox[0].data + 22, 6);
    }
    empty_inbox(guest);
}

static void save(const char *path)
{
    Guest guest;
    SlirpCb callbacks;
    struct in_addr address = { .s_addr = htonl(SERVICE) };
    start(&guest, &callbacks);
    find_router(&guest);
    for (int i = 0; i < CONNECTIONS; i++) {
        GuestTcp *tcp = new_tcp(&guest, SERVICE, PORT, (uint16_t)(GUEST_PORT + i));
        guest_connect(&guest, tcp);
        CHECK(tcp->established && !tcp->got_rst, "no connection");
        guest_send(&guest, tcp, (const uint8_t *)"before", 6, NULL, NULL);
    }
    CHECK(written_len == 6 * CONNECTIONS, "%zu bytes", written_len);
    /* These are sent to the guest, which is gone before it has them. */
    slirp_socket_recv(guest.slirp, address, PORT, pattern, UNDER_WAY);
    for (size_t i = 0; i < guest.arrived_len; i++) {
        free(guest.arrived[i].data);
    }
    guest.arrived_len = 0;
    save_state(&guest, path);
    FILE *file = open_file(path, ".guest", "w");
    for (int i = 0; i < CONNECTIONS; i++) {
        GuestTcp *tcp = &guest.tcp[i];
        fprintf(file, "%lu %lu %lu %lu\n", (unsigned long)tcp->snd_una, (unsigned long)tcp->snd_nxt, (unsigned long)tcp->rcv_nxt,
                (unsigned long)tcp->peer_window);
    }
    for (int i = 0; i < 6; i++) {
        fprintf(file, "%d ", guest.router_mac[i]);
    }
    CHECK(fclose(file) == 0, "%s", strerror(errno));
    slirp_cleanup(guest.slirp);
    guest_free(&guest);
}

static void load(const char *path, const char *again)
{
    Guest guest;
    SlirpCb callbacks;
    start(&guest, &callbacks);
    FILE *file = open_file(path, ".guest", "r");
    for (int i = 0; i < CONNECTIONS; i++) {
        unsigned long una, nxt, rcv, window;
        CHECK(fscanf(file, "%lu %lu %lu %lu", &una, &nxt, &rcv, &window) == 4, "line %d", i);
        GuestTcp *tcp = new_tcp(&guest, SERVICE, PORT, (uint16_t)(GUEST_PORT + i));
        tcp->established = true;
        tcp->snd_una = (uint32_t)una;
        tcp->snd_nxt = (uint32_t)nxt;
        tcp->rcv_nxt = (uint32_t)rcv;
        tcp->peer_window = (uint32_t)window;
    }
    for (int i = 0; i < 6; i++) {
        int byte = 0;
        CHECK(fscanf(file, "%d", &byte) == 1, "byte %d", i);
        guest.router_mac[i] = (uint8_t)byte;
    }
    fclose(file);
    file = open_file(path, "", "rb");
    int result = slirp_state_load(guest.slirp, slirp_state_version(), from_file, file);
    CHECK(result == 0 && fgetc(file) == EOF, "result %d at %ld", result, ftell(file));
    fclose(file);
    save_state(&guest, again);

    started_ns = os_clock_ns();
    clock_goes = true;
    size_t total = 0;
    for (int i = 0; i < CONNECTIONS; i++) {
        guest_send(&guest, &guest.tcp[i], (const uint8_t *)"after", 5, NULL, NULL);
        CHECK(!guest.tcp[i].got_rst, "connection %d was reset", i);
    }
    CHECK(written_len == 5 * CONNECTIONS && memcmp(written, "afterafterafter", written_len) == 0, "%zu bytes", written_len);
    /* What was under way comes again, to whichever of them the library had it for. */
    int64_t end = now_ms() + 20000;
    while (total < UNDER_WAY && now_ms() < end) {
        guest_turn(&guest, 20);
        total = 0;
        for (int i = 0; i < CONNECTIONS; i++) {
            total += guest.tcp[i].received_len;
        }
    }
    CHECK(total == UNDER_WAY, "%zu of %d bytes", total, UNDER_WAY);
    for (int i = 0; i < CONNECTIONS; i++) {
        size_t len = guest.tcp[i].received_len;
        CHECK(len == 0 || (len == UNDER_WAY && memcmp(guest.tcp[i].received, pattern, len) == 0), "other bytes");
    }
    slirp_cleanup(guest.slirp);
    guest_free(&guest);
}

/* The next byte of both files. */
static void read_both(FILE *one, FILE *other, int *byte, int *other_byte)
{
    *byte = fgetc(one);
    *other_byte = fgetc(other);
}

/* That a state differs from another one in the order of addresses and ports, and in nothing else. */
static void check_turned(const char *path, const char *again)
{
    /* Where the record of a connection has them, and how many bytes: address and port of the forward, and of the guest. */
    static const struct { long at, length; } turned[] = { { 7, 4 }, { 11, 2 }, { 15, 4 }, { 19, 2 } };
    FILE *one = open_file(path, "", "rb");
    FILE *other = open_file(again, "", "rb");
    long begins = 0, length = 0, same = 0;
    int byte = 0, other_byte = 0;
    fseek(one, 0, SEEK_END);
    length = ftell(one);
    fseek(one, 0, SEEK_SET);
    /* Behind the connections there is what the shortest state has. */
    const long each = (length - 131) / CONNECTIONS;
    CHECK(each > 0 && (length - 131) % CONNECTIONS == 0, "%ld bytes", length);
    for (; begins < length - 131 && each > 0; begins += each) {
        uint8_t record[21], other_record[21];
        CHECK(fread(record, 1, sizeof(record), one) == sizeof(record)
                  && fread(other_record, 1, sizeof(other_record), other) == sizeof(other_record), "at %ld", begins);
        for (size_t i = 0; i < sizeof(turned) / sizeof(turned[0]); i++) {
            uint8_t *field = record + turned[i].at;
            for (long j = 0; j < turned[i].length / 2; j++) {
                uint8_t first = field[j];
                field[j] = field[turned[i].length - 1 - j];
                field[turned[i].length - 1 - j] = first;
            }
        }
        CHECK(memcmp(record, other_record, sizeof(record)) == 0, "the connection at %ld", begins);
        for (same = sizeof(record); same < each && byte == other_byte; same++) {
            read_both(one, other, &byte, &other_byte);
        }
    }
    while (byte == other_byte && byte != EOF) {
        read_both(one, other, &byte, &other_byte);
    }
    CHECK(byte == EOF && other_byte == EOF, "%d and %d before %ld", byte, other_byte, ftell(one));
    fclose(one);
    fclose(other);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i * 7 + i / 251);
    }
    os_start();
    if (argc == 3 && strcmp(argv[1], "save") == 0) {
        save(argv[2]);
    } else if (argc == 4 && strcmp(argv[1], "load") == 0) {
        load(argv[2], argv[3]);
    } else if (argc == 4 && strcmp(argv[1], "turn") == 0) {
        load(argv[2], argv[3]);
        check_turned(argv[2], argv[3]);
    } else {
        fprintf(stderr, "usage: %s save FILE | load FILE AGAIN | turn FILE AGAIN\n", argv[0]);
        return 2;
    }
    return checks_finish();
}
