/*
 * What the plug-in does to segments: cut those that are longer than an IPv6 link takes,
 * and, for the relaxed form of the public scripts, give a segment of the library the
 * look of one of Linux where no RFC says anything about it.
 */
#include "rig.h"

#include <string.h>

#define FIN 1
#define SYN 2
#define PSH 8

static unsigned be16(const uint8_t *bytes)
{
    return bytes[0] << 8 | bytes[1];
}

static void put16(uint8_t *bytes, unsigned value)
{
    bytes[0] = value >> 8;
    bytes[1] = value;
}

static unsigned long sum(const uint8_t *bytes, size_t len)
{
    unsigned long total = 0;
    for (size_t i = 0; i < len; i++)
        total += i % 2 ? bytes[i] : bytes[i] << 8;
    return total;
}

/* The checksum of a segment of `len` bytes between two addresses (RFC 9293 section 3.1). */
static void repair(uint8_t *tcp, size_t len, const uint8_t *addresses, size_t addresses_len)
{
    put16(tcp + 16, 0);
    unsigned long total = sum(tcp, len) + sum(addresses, addresses_len) + 6 + (len & 0xffff) + (len >> 16);
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    put16(tcp + 16, ~total & 0xffff);
}

/* The TCP header in an IP packet without options and extension headers, or NULL. */
static uint8_t *header(uint8_t *packet, size_t len)
{
    if (len >= 40 && packet[0] == 0x45 && packet[9] == 6)
        return packet + 20;
    if (len >= 60 && packet[0] >> 4 == 6 && packet[6] == 6)
        return packet + 40;
    return NULL;
}

static void repair_in(uint8_t *packet, size_t len)
{
    uint8_t *tcp = header(packet, len);
    bool ipv6 = packet[0] >> 4 == 6;
    repair(tcp, packet + len - tcp, packet + (ipv6 ? 8 : 12), ipv6 ? 32 : 8);
}

void segments_split(const uint8_t *packet, size_t len, size_t mtu, void (*take)(const uint8_t *, size_t))
{
    uint8_t part[FRAME_MAX];
    size_t offset = 60 + (len >= 60 && packet[0] >> 4 == 6 && packet[6] == 6 ? ((packet[52] >> 4) - 5) * 4 : 0);
    if (len <= mtu || packet[0] >> 4 != 6 || packet[6] != 6 || offset >= len || offset >= mtu) {
        take(packet, len);
        return;
    }
    memcpy(part, packet, offset);
    uint32_t seq = be16(packet + 44) << 16 | be16(packet + 46);
    for (size_t done = offset; done < len;) {
        size_t count = len - done < mtu - offset ? len - done : mtu - offset;
        memcpy(part + offset, packet + done, count);
        put16(part + 4, offset + count - 40);
        put16(part + 44, seq >> 16);
        put16(part + 46, seq);
        done += count;
        seq += count;
        part[53] = done < len ? packet[53] & ~(FIN | PSH) : packet[53];
        repair_in(part, offset + count);
        take(part, offset + count);
    }
}

/*
 * Puts the options of a SYN into the order of Linux, with the window scale that its tests
 * are written for: mss; sackOK and timestamps in one word; wscale. Returns the length.
 */
static size_t order_options(uint8_t *options, size_t len)
{
    uint8_t mss[4] = { 0 }, stamp[10] = { 0 }, out[40];
    bool has_mss = false, has_scale = false, has_sack = false, has_stamp = false;
    for (size_t i = 0; i < len && options[i] != 0;) {
        size_t size = options[i] == 1 ? 1 : i + 1 < len ? options[i + 1] : 0;
        if (size == 0 || i + size > len)
            break;
        if (options[i] == 2 && size == 4)
            has_mss = true, memcpy(mss, options + i, 4);
        else if (options[i] == 3)
            has_scale = true;
        else if (options[i] == 4)
            has_sack = true;
        else if (options[i] == 8 && size == 10)
            has_stamp = true, memcpy(stamp, options + i, 10);
        i += size;
    }
    size_t at = 0;
    if (has_mss)
        memcpy(out + at, mss, 4), at += 4;
    if (has_sack && has_stamp)
        out[at++] = 4, out[at++] = 2;
    else if (has_stamp || has_sack)
        out[at++] = 1, out[at++] = 1;
    if (has_stamp)
        memcpy(out + at, stamp, 10), at += 10;
    else if (has_sack)
        out[at++] = 4, out[at++] = 2;
    if (has_scale) {
        static const uint8_t scale[4] = { 1, 3, 3, 8 };
        memcpy(out + at, scale, 4), at += 4;
    }
    memcpy(options, out, at);
    return at;
}

size_t segments_relax(uint8_t *packet, size_t len)
{
    uint8_t *tcp = header(packet, len);
    if (tcp == NULL)
        return len;
    size_t offset = (tcp[12] >> 4) * 4;
    size_t payload = packet + len - tcp - offset;
    if (tcp[13] & SYN && payload == 0 && offset > 20) {
        size_t shorter = offset - 20 - order_options(tcp + 20, offset - 20);
        tcp[12] -= shorter / 4 << 4;
        len -= shorter;
        if (packet[0] >> 4 == 6) {
            put16(packet + 4, len - 40);
        } else {
            put16(packet + 2, len);
            put16(packet + 10, 0);
            unsigned long total = sum(packet, 20);
            while (total >> 16)
                total = (total & 0xffff) + (total >> 16);
            put16(packet + 10, ~total & 0xffff);
        }
    }
    if (payload > 0)
        tcp[13] |= PSH;
    repair_in(packet, len);
    return len;
}
