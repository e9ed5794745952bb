/*
 * The cable between packetdrill and the library: IP packets on one side, Ethernet frames
 * on the other. The guest's link layer lives here (it answers ARP and neighbor
 * solicitations), and so does the knowledge of connections that the host's sockets do
 * not have: a loopback connection stands before the guest has answered.
 */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#define ETHERNET 14
#define TYPE_IPV4 0x0800
#define TYPE_ARP 0x0806
#define TYPE_IPV6 0x86dd
#define FIN 1
#define SYN 2
#define RST 4
#define ACK 16

struct packet {
    struct packet *next;
    int64_t at;
    size_t len;
    uint8_t bytes[];
};

struct queue {
    struct packet *first, **last;
};

/* Where the fields of a TCP segment in an IP packet are. */
struct segment {
    int family;
    const uint8_t *from, *to, *options;
    size_t options_len;
    uint16_t from_port, to_port;
    uint8_t flags;
};

static const uint8_t guest_mac[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
static const uint8_t router_mac[6] = { 0x52, 0x55, 0x0a, 0x00, 0x02, 0x02 };
static const uint8_t router6_mac[6] = { 0x52, 0x56, 0x00, 0x00, 0x00, 0x02 };
static const uint8_t guest_ipv4[4] = { 10, 0, 2, 15 };
static const uint8_t guest_ipv6[16] = { 0xfe, 0xc0, [15] = 0x0f };

/* Packets of the library for the script, and frames of the guest's link layer for the library. */
static struct queue to_script, to_library;
/* Newest last. The oldest makes room. */
static struct wire_connection connections[16];

static unsigned be16(const uint8_t *bytes)
{
    return bytes[0] << 8 | bytes[1];
}

static void put16(uint8_t *bytes, unsigned value)
{
    bytes[0] = value >> 8;
    bytes[1] = value;
}

static void enqueue(struct queue *queue, const uint8_t *bytes, size_t len)
{
    struct packet *packet = malloc(sizeof *packet + len);
    if (packet == NULL)
        abort();
    packet->next = NULL;
    packet->at = rig_now;
    packet->len = len;
    memcpy(packet->bytes, bytes, len);
    *queue->last = packet;
    queue->last = &packet->next;
}

static struct packet *dequeue(struct queue *queue)
{
    struct packet *packet = queue->first;
    if (packet != NULL) {
        queue->first = packet->next;
        if (queue->first == NULL)
            queue->last = &queue->first;
    }
    return packet;
}

/* Reads the ports and flags of an unfragmented TCP packet without extension headers. */
static bool read_segment(const uint8_t *packet, size_t len, struct segment *segment)
{
    const uint8_t *tcp;
    if (len >= 40 && packet[0] >> 4 == 4 && packet[9] == 6) {
        size_t header = (packet[0] & 15) * 4;
        if (header < 20 || len < header + 20)
            return false;
        *segment = (struct segment){ .family = AF_INET, .from = packet + 12, .to = packet + 16 };
        tcp = packet + header;
    } else if (len >= 60 && packet[0] >> 4 == 6 && packet[6] == 6) {
        *segment = (struct segment){ .family = AF_INET6, .from = packet + 8, .to = packet + 24 };
        tcp = packet + 40;
    } else {
        return false;
    }
    segment->from_port = be16(tcp);
    segment->to_port = be16(tcp + 2);
    segment->flags = tcp[13];
    size_t header = (tcp[12] >> 4) * 4;
    segment->options = tcp + 20;
    segment->options_len = header > 20 && header <= (size_t)(packet + len - tcp) ? header - 20 : 0;
    return true;
}

static struct wire_connection *find(int family, uint16_t guest_port, uint16_t host_port)
{
    struct wire_connection *found = NULL;
    for (size_t i = 0; i < sizeof connections / sizeof *connections; i++) {
        struct wire_connection *one = &connections[i];
        if (one->used && one->family == family && one->guest_port == guest_port && one->host_port == host_port)
            found = one;
    }
    return found;
}

static struct wire_connection *add(struct segment segment, bool from_guest)
{
    size_t last = sizeof connections / sizeof *connections - 1;
    size_t slot = 0;
    while (slot < last && connections[slot].used)
        slot++;
    if (connections[slot].used) {
        memmove(connections, connections + 1, sizeof *connections * last);
    }
    struct wire_connection *one = &connections[slot];
    *one = (struct wire_connection){ .used = true, .from_guest = from_guest, .family = segment.family };
    memcpy(one->guest, from_guest ? segment.from : segment.to, segment.family == AF_INET ? 4 : 16);
    one->guest_port = from_guest ? segment.from_port : segment.to_port;
    one->host_port = from_guest ? segment.to_port : segment.from_port;
    return one;
}

/* TCP Fast Open (RFC 7413): the option, or the one of the experiments before it. */
static bool asks_for_fast_open(const struct segment *segment)
{
    for (size_t i = 0; i + 1 < segment->options_len && segment->options[i] != 0;) {
        const uint8_t *option = segment->options + i;
        if (option[0] == 1) {
            i++;
            continue;
        }
        if (option[0] == 34 || (option[0] == 254 && i + 4 <= segment->options_len && be16(option + 2) == 0xf989))
            return true;
        if (option[1] < 2)
            return false;
        i += option[1];
    }
    return false;
}

static void follow(const uint8_t *packet, size_t len, bool from_guest)
{
    struct segment segment;
    if (!read_segment(packet, len, &segment))
        return;
    uint16_t guest_port = from_guest ? segment.from_port : segment.to_port;
    uint16_t host_port = from_guest ? segment.to_port : segment.from_port;
    struct wire_connection *one = find(segment.family, guest_port, host_port);
    if ((segment.flags & (SYN | ACK | RST)) == SYN) {
        if (from_guest && asks_for_fast_open(&segment))
            not_applicable("TCP Fast Open, which the library does not offer");
        bool over = one != NULL && (one->reset_by_guest || one->reset_by_library || one->established);
        if (one == NULL || over)
            add(segment, from_guest);
        return;
    }
    if (one == NULL)
        return;
    if (segment.flags & RST) {
        *(from_guest ? &one->reset_by_guest : &one->reset_by_library) = true;
    } else if (segment.flags & ACK && one->from_guest == from_guest) {
        /* The opener's first acknowledgment ends the handshake, as far as its own socket can know. */
        one->established = true;
    }
}

static void enqueue_frame(const uint8_t *destination, unsigned type, const uint8_t *bytes, size_t len)
{
    uint8_t frame[FRAME_MAX + ETHERNET] = { 0 };
    memcpy(frame, destination, 6);
    memcpy(frame + 6, guest_mac, 6);
    put16(frame + 12, type);
    memcpy(frame + ETHERNET, bytes, len);
    enqueue(&to_library, frame, len + ETHERNET < 60 ? 60 : len + ETHERNET);
}

static void arp(unsigned operation, const uint8_t *target_mac, const uint8_t *target)
{
    static const uint8_t head[] = { 0, 1, 8, 0, 6, 4 };
    uint8_t message[28];
    memcpy(message, head, sizeof head);
    put16(message + 6, operation);
    memcpy(message + 8, guest_mac, 6);
    memcpy(message + 14, guest_ipv4, 4);
    memcpy(message + 18, target_mac, 6);
    memcpy(message + 24, target, 4);
    enqueue_frame(target_mac, TYPE_ARP, message, sizeof message);
}

/* The checksum of an ICMPv6 message behind a plain IPv6 header (RFC 8200 section 8.1). */
static unsigned checksum6(const uint8_t *packet, size_t len)
{
    unsigned long sum = len - 40 + 58;
    for (size_t i = 8; i + 1 < len; i += 2)
        sum += be16(packet + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

/* A neighbor advertisement for the guest's address (RFC 4861 section 4.4). */
static void advertise(const uint8_t *to)
{
    uint8_t packet[40 + 32] = { 0x60, [5] = 32, [6] = 58, [7] = 255 };
    memcpy(packet + 8, guest_ipv6, 16);
    memcpy(packet + 24, to, 16);
    uint8_t *message = packet + 40;
    message[0] = 136;
    message[4] = 0x60;
    memcpy(message + 8, guest_ipv6, 16);
    message[24] = 2;
    message[25] = 1;
    memcpy(message + 26, guest_mac, 6);
    put16(message + 2, checksum6(packet, sizeof packet));
    enqueue_frame(router6_mac, TYPE_IPV6, packet, sizeof packet);
}

void wire_open(void)
{
    static const uint8_t router[4] = { 10, 0, 2, 2 };
    to_script.last = &to_script.first;
    to_library.last = &to_library.first;
    /* The question tells the library where the guest is. */
    arp(1, (const uint8_t[6]){ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, router);
}

void wire_close(void)
{
    struct packet *packet;
    while ((packet = dequeue(&to_script)) != NULL || (packet = dequeue(&to_library)) != NULL)
        free(packet);
}

void wire_frame(const uint8_t *frame, size_t len)
{
    if (len < ETHERNET + 28 || len > FRAME_MAX)
        return;
    unsigned type = be16(frame + 12);
    const uint8_t *packet = frame + ETHERNET;
    size_t room = len - ETHERNET;
    if (type == TYPE_ARP) {
        if (be16(packet + 6) == 1 && memcmp(packet + 24, guest_ipv4, 4) == 0)
            arp(2, packet + 8, packet + 14);
        return;
    }
    size_t length;
    if (type == TYPE_IPV4 && packet[0] >> 4 == 4) {
        length = be16(packet + 2);
        /* What goes to everybody is not for the script. */
        if (packet[16] == 255 || packet[16] >> 4 == 14)
            return;
    } else if (type == TYPE_IPV6 && packet[0] >> 4 == 6 && room >= 40) {
        length = 40 + be16(packet + 4);
        bool solicitation = room >= 64 && packet[6] == 58 && packet[40] == 135;
        if (solicitation && memcmp(packet + 48, guest_ipv6, 16) == 0)
            advertise(packet + 8);
        if (solicitation || packet[24] == 0xff)
            return;
    } else {
        return;
    }
    if (length > room)
        return;
    follow(packet, length, false);
    if (rig_relaxed) {
        uint8_t changed[FRAME_MAX];
        memcpy(changed, packet, length);
        enqueue(&to_script, changed, segments_relax(changed, length));
    } else {
        enqueue(&to_script, packet, length);
    }
}

bool wire_answer(void)
{
    bool some = false;
    struct packet *frame;
    while ((frame = dequeue(&to_library)) != NULL) {
        library_input(frame->bytes, frame->len);
        free(frame);
        some = true;
    }
    return some;
}

static void send_packet(const uint8_t *packet, size_t len)
{
    bool ipv6 = packet[0] >> 4 == 6;
    enqueue_frame(ipv6 ? router6_mac : router_mac, ipv6 ? TYPE_IPV6 : TYPE_IPV4, packet, len);
}

int wire_send(const uint8_t *packet, size_t len)
{
    if (len < 20 || len > FRAME_MAX)
        return -1;
    follow(packet, len, true);
    segments_split(packet, len, rig_mtu, send_packet);
    return 0;
}

bool wire_waiting(void)
{
    return to_script.first != NULL;
}

size_t wire_take(uint8_t *buffer, size_t room, int64_t *at)
{
    struct packet *packet = dequeue(&to_script);
    if (packet == NULL)
        return 0;
    size_t len = packet->len < room ? packet->len : room;
    memcpy(buffer, packet->bytes, len);
    *at = packet->at;
    free(packet);
    return len;
}

struct wire_connection *wire_pending(uint16_t host_port)
{
    for (size_t i = 0; i < sizeof connections / sizeof *connections; i++) {
        struct wire_connection *one = &connections[i];
        if (one->used && one->from_guest && one->established && !one->accepted && one->host_port == host_port)
            return one;
    }
    return NULL;
}

struct wire_connection *wire_outgoing(uint16_t host_port)
{
    struct wire_connection *found = NULL;
    for (size_t i = 0; i < sizeof connections / sizeof *connections; i++) {
        struct wire_connection *one = &connections[i];
        if (one->used && !one->from_guest && one->host_port == host_port)
            found = one;
    }
    return found;
}
