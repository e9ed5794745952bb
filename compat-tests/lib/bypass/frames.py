"""Frames that no kernel would send, as bytes: the guest writes them to its interface."""

import socket
import struct

VIRTUAL_MAC = bytes.fromhex("52550a000202")
GUEST, GUEST6 = "10.0.2.100", "fd00::100"
SYN, RST, ACK = 2, 4, 16


def total(data):
    """The internet checksum."""
    data += b"\0" * (len(data) % 2)
    value = sum(struct.unpack(f">{len(data) // 2}H", data))
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return ~value & 0xFFFF


def packed(ip):
    return socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)


def summed(source, to, protocol, segment, at):
    """The segment with its checksum, which lies at this octet."""
    head = packed(source) + packed(to) + struct.pack(">IHBB", len(segment), 0, 0, protocol)
    return segment[:at] + struct.pack(">H", total(head + segment) or 0xFFFF) + segment[at + 2:]


def source_for(to):
    return GUEST6 if ":" in to else GUEST


def udp(to, port, data=b"bypass", source=None, source_port=40000):
    head = struct.pack(">HHHH", source_port, port, 8 + len(data), 0)
    return summed(source or source_for(to), to, 17, head + data, 6)


def tcp(to, port, flags=SYN, data=b"", source=None, source_port=40000, sequence=1000, urgent=0):
    head = struct.pack(">HHIIBBHHH", source_port, port, sequence, 77 if flags & ACK else 0, 0x50, flags, 65000, 0, urgent)
    return summed(source or source_for(to), to, 6, head + data, 16)


def ip4(to, protocol, content, source=GUEST, number=1, offset=0, more=False, options=b""):
    head = struct.pack(">BBHHHBBH", 0x45 + len(options) // 4, 0, 20 + len(options) + len(content), number,
                       (0x2000 if more else 0) | offset // 8, 64, protocol, 0) + packed(source) + packed(to) + options
    return b"\x08\0" + head[:10] + struct.pack(">H", total(head)) + head[12:] + content


def ip6(to, next_header, content, source=GUEST6):
    return b"\x86\xdd" + struct.pack(">IHBB", 0x60000000, len(content), next_header, 64) + packed(source) + packed(to) + content


def ip(to, protocol, content, source=None):
    return ip6(to, protocol, content, source or GUEST6) if ":" in to else ip4(to, protocol, content, source or GUEST)


def fragment6(next_header, offset, more, content, number=9):
    """The content behind a fragment header."""
    return struct.pack(">BBHI", next_header, 0, offset | more, number) + content


def send(*packets, link=VIRTUAL_MAC):
    """Write the packets, each with its EtherType in front, to the interface."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("tap0", 0))
        mine = raw.getsockname()[4]
        for packet in packets:
            raw.send((link + mine + packet).ljust(60, b"\0"))
