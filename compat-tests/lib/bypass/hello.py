"""First bytes of connections: ClientHellos of TLS, and questions to the name server, as bytes."""

import struct

from . import zone


def vector(data):
    return struct.pack(">H", len(data)) + data


def extension(kind, data):
    return struct.pack(">H", kind) + vector(data)


def server_names(*names):
    return extension(0, vector(b"".join(b"\0" + vector(name.encode("latin-1")) for name in names)))


def message(*extensions):
    """A ClientHello (RFC 8446 section 4.1.2) without records."""
    body = b"\3\3" + b"\7" * 32 + b"\0" + vector(b"\x13\1\x13\2") + b"\1\0" + vector(b"".join(extensions))
    return b"\1" + len(body).to_bytes(3, "big") + body


def records(handshake, length=16384):
    return b"".join(b"\x16\3\1" + vector(handshake[at:at + length]) for at in range(0, len(handshake), length))


def hello(*names):
    return records(message(extension(21, bytes(300)), *([server_names(*names)] if names else [])))


def question(name, kind=zone.A, flags=0x0100, questions=1, cls=1, number=0x4242):
    """A query; `name` is a text, or the octets of the question's name."""
    labels = zone.wire(name) if isinstance(name, str) else name
    return struct.pack(">HHHHHH", number, flags, questions, 0, 0, 0) + labels + struct.pack(">HH", kind, cls)


def _name(message, at):
    parts, end = [], None
    for _ in range(64):
        size = message[at]
        if size >= 0xC0:
            end = end or at + 2
            at = struct.unpack(">H", message[at:at + 2])[0] & 0x3FFF
        elif size:
            parts.append(message[at + 1:at + 1 + size].decode("latin-1"))
            at += 1 + size
        else:
            break
    return ".".join(parts).lower(), end or at + 1


def answers(message):
    """The code of an answer, and all its records: (name, type, time to live, data)."""
    _, flags, questions, *counts = struct.unpack(">HHHHHH", message[:12])
    at, found = 12, []
    for _ in range(questions):
        at = _name(message, at)[1] + 4
    for _ in range(sum(counts)):
        name, at = _name(message, at)
        kind, _, ttl, size = struct.unpack(">HHIH", message[at:at + 10])
        if kind != 41:
            found.append((name, kind, ttl, message[at + 10:at + 10 + size]))
        at += 10 + size
    return flags & 15, found
