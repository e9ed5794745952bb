"""The name server of the suite: the names under the policy, and what somebody who owns one of them could have it answer."""

import socket
import struct

from rig import names

A, CNAME, PTR, TXT, AAAA, HTTPS = 1, 5, 12, 16, 28, 65
TLS_HOST, HTTP_HOST, NAMED_HOST, DENIED_HOST, EVIL_HOST = "5.6.7.10", "5.6.7.11", "5.6.7.12", "5.6.7.66", "5.6.7.67"
NAMED_HOST6 = "2a01:db8::12"
# Rebinding: names that are allowed, and what of the inside they are said to be.
REBIND = {
    "loopback": "127.0.0.1", "loopback_other": "127.9.9.9", "gateway": "10.0.2.2", "private": "192.168.1.1", "metadata": "169.254.169.254",
    "unspecified": "0.0.0.0", "carrier": "100.64.0.1", "broadcast": "255.255.255.255",
    "loopback6": "::1", "mapped": "::ffff:127.0.0.1", "nat64": "64:ff9b::7f00:1", "nat64_local": "64:ff9b:1::7f00:1", "sixtofour": "2002:7f00:1::1",
    "compatible": "::127.0.0.1", "unique_local": "fd00::2", "link_local": "fe80::1", "site_local": "fec0::2",
}


def wire(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part) + b"\0"


def address(ip):
    return socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)


def record(name, kind, data, ttl=60):
    return wire(name) + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


def a(name, ip, ttl=60):
    return record(name, AAAA if ":" in ip else A, address(ip), ttl)


# Name: records of the answer, and of the section behind it.
ZONE = {
    "good.test": ([a("good.test", TLS_HOST)], []),
    "www.good.test": ([a("www.good.test", TLS_HOST)], []),
    "web.test": ([a("web.test", HTTP_HOST)], []),
    "one.named.test": ([a("one.named.test", NAMED_HOST), a("one.named.test", NAMED_HOST6)], []),
    "zero.named.test": ([a("zero.named.test", "5.6.7.13", 0)], []),
    "huge.named.test": ([a("huge.named.test", "5.6.7.14", 0x7FFFFFFF)], []),
    "negative.named.test": ([a("negative.named.test", "5.6.7.15", 0xFFFFFFFF)], []),
    "extra.named.test": ([a("extra.named.test", "5.6.7.16"), a("x.evil.test", EVIL_HOST)], []),
    "behind.named.test": ([a("behind.named.test", "5.6.7.17")], [a("behind.named.test", EVIL_HOST), a("x.evil.test", EVIL_HOST)]),
    "hint.named.test": ([record("hint.named.test", HTTPS, b"\0\1\0" + struct.pack(">HH", 4, 4) + address(EVIL_HOST))], []),
    "alias.good.test": ([record("alias.good.test", CNAME, wire("ads.good.test")), a("ads.good.test", DENIED_HOST)], []),
    "in.named.test": ([record("in.named.test", CNAME, wire("x.evil.test")), a("x.evil.test", "127.0.0.1")], []),
    "ads.good.test": ([a("ads.good.test", DENIED_HOST)], []),
    "corp.test": ([a("corp.test", "10.1.2.3")], []),
    "x.evil.test": ([a("x.evil.test", EVIL_HOST)], []),
}
ZONE.update({f"{key}.rebind.named.test": ([a(f"{key}.rebind.named.test", ip)], []) for key, ip in REBIND.items()})


class Server(names.NameServer):
    """Answers from `ZONE`; `heard` has what was asked, by question."""

    def __init__(self, at):
        self.heard = []
        super().__init__(at, ZONE)

    def _answer(self, query):
        try:
            name, end = names._labels(query, 12)
            kind = struct.unpack(">H", query[end:end + 2])[0]
        except (struct.error, IndexError):  # it was heard all the same
            self.heard.append((repr(query), 0))
            return None
        self.heard.append((name, kind))
        records, behind = ZONE.get(name, ([], []))
        records = [one for one in records if _kind(one) in (kind, CNAME) or "extra" in name]
        code = 0x8180 if name in ZONE else 0x8183
        head = query[:2] + struct.pack(">HHHHH", code, 1, len(records), 0, len(behind))
        return head + query[12:end + 4] + b"".join([*records, *behind])


def _kind(one):
    at = 0
    while one[at]:
        at += 1 + one[at]
    return struct.unpack(">H", one[at + 1:at + 3])[0]
