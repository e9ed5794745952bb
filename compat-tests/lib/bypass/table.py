"""The table: what a guest tries to get around the policy of `suite.py`. Each row is a function that runs in the guest. What it
returns is what the guest has got and must not have; for a control, which has to work, what went wrong."""

import contextlib
import socket
import struct

from . import frames, initials, zone
from .frames import ACK, SYN
from .hello import answers, extension, hello, message, question, records, server_names

GATEWAY, GATEWAY6, RESOLVER, RESOLVER6 = "10.0.2.2", "fd00::2", "10.0.2.3", "fd00::3"
OPEN, OPEN_TCP, OPEN_UDP, NAMED = "198.51.100.1", 7001, 7002, 7000
INSIDE_TCP, INSIDE_UDP = 2222, 2223
SHUT = 7099
LOOPBACK6 = ["::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.2.2", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::1",
             "::5efe:7f00:1", "fec0::2", "fe80::2", "fd00::2", "fd00::9"]
TABLE = {}


def row(what, control=False, may=()):
    """`may`: ends at which the host may see packets of this row."""
    def put(function):
        TABLE[function.__name__] = (function, what, control, may)
        return function
    return put


def fence(number=[0]):
    """A datagram that is allowed, there and back: all frames before it have been looked at by then. Its number."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(1)
        one.connect((OPEN, OPEN_UDP))
        for _ in range(8):
            number[0] += 1
            with contextlib.suppress(OSError):
                one.send(b"fence %d" % number[0])
                while one.recv(100) != b"fence %d" % number[0]:
                    pass
                return number[0]
    raise OSError("the network is dead")


def family(ip):
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def connected(to, port, timeout=2):
    """A connection that must not be."""
    try:
        socket.create_connection((to, port), timeout).close()
        return [f"connected to {to} port {port}"]
    except OSError:
        return []


def datagram(to, port, data=b"bypass"):
    """A datagram that must not arrive, and whatever is answered."""
    with socket.socket(family(to), socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        with contextlib.suppress(OSError):
            one.sendto(data, (to, port))
        fence()
        one.setblocking(False)
        with contextlib.suppress(OSError):
            return [f"{one.recv(2000)[:40]!r} from {to} port {port}"]
    return []


def said(to, port, data, piece=1 << 16, wants=None, urgent=False, shut=False):
    """Say these first bytes. Without `wants` nothing may come back, and the connection has to end; with it, this has to come."""
    got = b""
    try:
        with socket.create_connection((to, port), 3) as stream:
            stream.settimeout(3)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError):
                if urgent:
                    stream.send(data[:1], socket.MSG_OOB)
                for at in range(0, len(data), piece):
                    stream.sendall(data[at:at + piece])
                if shut:
                    stream.shutdown(socket.SHUT_WR)
            while not wants or not got.endswith(wants):
                more = stream.recv(1 << 16)
                if not more:
                    break
                got += more
    except TimeoutError:
        return [f"got {got[:40]!r} in three seconds, and no end"]
    except OSError as error:
        return [f"{error}, after {got[:40]!r}"] if got or wants else []
    if wants:
        return [] if got.endswith(wants) else [f"got {got[:40]!r}"]
    return [f"got {got[:40]!r}"] if got else []


def asked(query, over="udp", to=RESOLVER, piece=1 << 16):
    """The code and the records of an answer, or nothing."""
    try:
        if over == "tcp":
            with socket.create_connection((to, 53), 2) as stream:
                stream.settimeout(2)
                data = len(query).to_bytes(2, "big") + query
                for at in range(0, len(data), piece):
                    stream.sendall(data[at:at + piece])
                with stream.makefile("rb") as reader:
                    return answers(reader.read(int.from_bytes(reader.read(2), "big")))
        with socket.socket(family(to), socket.SOCK_DGRAM) as one:
            one.settimeout(2)
            one.connect((to, 53))
            one.send(query)
            return answers(one.recv(4096))
    except (OSError, struct.error, IndexError):
        return None, []


def records_of(query, **how):
    """No record may come."""
    return [f"record {one}" for one in asked(query, **how)[1]]


def ask(name, kind=zone.A):
    """The addresses of a name that may be asked for."""
    return [socket.inet_ntop(socket.AF_INET if one[1] == zone.A else socket.AF_INET6, one[3])
            for one in asked(question(name, kind))[1] if one[1] in (zone.A, zone.AAAA)]


def silently(to, port=SHUT):
    """Connections and datagrams that a kernel would keep to itself."""
    frames.send(frames.ip(to, 6, frames.tcp(to, port)), frames.ip(to, 17, frames.udp(to, port)))
    return []


# Addresses and ports

@row("an allowed address, another port")
def another_port():
    return connected(OPEN, SHUT) + datagram(OPEN, SHUT)


@row("an allowed port, another address")
def another_address():
    return connected("198.51.100.2", OPEN_TCP) + connected("9.9.9.9", OPEN_TCP) + connected("2606:4700::1", OPEN_TCP)


@row("an allowed port in the other protocol")
def another_protocol():
    return datagram(OPEN, OPEN_TCP) + connected(OPEN, OPEN_UDP)


@row("the number of a name that was not asked for")
def number_without_name():
    return connected(zone.NAMED_HOST, NAMED) + connected(zone.NAMED_HOST6, NAMED)


@row("the same with the name in the hello")
def number_with_server_name():
    return said(zone.TLS_HOST, 443, hello("good.test"))


@row("port 0, to and from")
def port_zero():
    for to in (OPEN, GATEWAY, GATEWAY6):
        frames.send(frames.ip(to, 6, frames.tcp(to, 0)), frames.ip(to, 17, frames.udp(to, 0)))
    frames.send(frames.ip(OPEN, 17, frames.udp(OPEN, SHUT, source_port=0)), frames.ip(OPEN, 6, frames.tcp(OPEN, SHUT, source_port=0)))
    return []


@row("10.0.2.2 and 10.0.2.3 at other ports")
def gateway_ports():
    return [one for ip in (GATEWAY, RESOLVER, "10.0.2.77") for port in (22, NAMED, OPEN_TCP, SHUT)
            for one in connected(ip, port) + datagram(ip, port)]


@row("fd00::2 and fd00::3 at other ports")
def gateway6_ports():
    return [one for ip in (GATEWAY6, RESOLVER6, "fd00::77") for port in (22, NAMED, OPEN_TCP)
            for one in connected(ip, port) + datagram(ip, port)]


@row("TFTP")
def tftp():
    return datagram(GATEWAY, 69, b"\0\1secret\0octet\0") + datagram(GATEWAY6, 69, b"\0\1secret\0octet\0")


@row("a guest forward")
def guest_forward():
    return connected("10.0.2.101", 7)


def _inside(ip):
    def one():
        return silently(ip) + silently(ip, NAMED) + silently(ip, 22) + silently(ip, 443)
    one.__name__ = f"inside_{ip}"
    row(f"the inside as {ip}")(one)


for _ip in ("127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", *LOOPBACK6):
    _inside(_ip)


# Names

@row("a name that no rule has, UDP")
def dns_other_name():
    return records_of(question("x.evil.test")) + records_of(question("covert.x.evil.test", zone.TXT))


@row("the same over TCP")
def dns_tcp():
    return records_of(question("x.evil.test"), over="tcp") + records_of(question("x.evil.test"), over="tcp", to=RESOLVER6)


@row("the same over IPv6")
def dns_udp6():
    return records_of(question("x.evil.test"), to=RESOLVER6)


@row("the same in segments of one octet")
def dns_tcp_cut():
    return records_of(question("x.evil.test"), over="tcp", piece=1)


@row("the same behind an allowed question on one connection")
def dns_pipelined():
    with socket.create_connection((RESOLVER, 53), 2) as stream:
        stream.settimeout(2)
        stream.sendall(b"".join(len(one).to_bytes(2, "big") + one for one in
                                (question("good.test"), question("x.evil.test", number=2), question("good.test", number=3))))
        with stream.makefile("rb") as reader:
            got = [answers(reader.read(int.from_bytes(reader.read(2), "big"))) for _ in range(3)]
    return [str(one) for _, found in got for one in found if one[0] != "good.test"]


@row("a name that is denied below one that is allowed, also in upper case and with a dot")
def dns_denied_name():
    return records_of(question("ads.good.test")) + records_of(question("ADS.Good.TEST.")) + records_of(question("x.ads.good.test"))


@row("two questions in a message")
def dns_two_questions():
    both = question("good.test", questions=2) + question("x.evil.test")[12:]
    return records_of(both) + records_of(both, over="tcp")


@row("ANY, NULL, AXFR")
def dns_types():
    return [one for kind in (255, 10, 252) for one in records_of(question("good.test", kind), over="tcp")]


@row("the class CHAOS")
def dns_class():
    return records_of(question("good.test", cls=3))


@row("labels with dots, NUL, blanks in them")
def dns_odd_labels():
    names = (b"\x0bx.evil.test\4good\4test\0", b"\x0bx.evil.test\0", b"\5x\0yz \4good\4test\0", b"\4good\5test\0\0")
    return [one for name in names for one in records_of(question(name))]


@row("compressed questions")
def dns_pointers():
    return records_of(question(b"\xc0\x0c")) + records_of(question(b"\4good\xc0\x20") + zone.wire("evil.test"))


@row("answers, updates and notices for questions")
def dns_opcodes():
    return [one for flags in (0x8180, 0x2800, 0x2000, 0x1000, 0x0140) for one in records_of(question("x.evil.test", flags=flags))]


@row("octets behind the question")
def dns_trailing():
    return records_of(question("good.test") + b"a secret that is told to whoever serves good.test")


@row("names of numbers (PTR)")
def dns_reverse():
    return records_of(question("1.0.0.127.in-addr.arpa", zone.PTR))


@row("other name servers, UDP and TCP; the host's own by its number")
def dns_other_server():
    query = question("good.test")
    silently("127.0.0.57", 53)
    return datagram("9.9.9.9", 53, query) + connected("9.9.9.9", 53) + datagram("2620:fe::9", 53, query)


@row("a name server that DHCP could have given: the gateway")
def dns_gateway():
    return datagram(GATEWAY, 53, question("good.test")) + connected(GATEWAY, 53)


@row("DNS over TLS")
def dns_over_tls():
    return [one for ip in (RESOLVER, GATEWAY, "9.9.9.9", "2620:fe::9", zone.TLS_HOST) for one in connected(ip, 853)]


@row("DNS over HTTPS at a resolver's address")
def dns_over_https():
    return said("9.9.9.9", 443, hello("good.test")) + said("1.1.1.1", 443, hello("dns.example")) + connected(RESOLVER, 443)


@row("DNS over QUIC")
def dns_over_quic():
    return [one for ip in ("9.9.9.9", RESOLVER) for port in (853, 784, 8853) for one in datagram(ip, port, b"\xc3\0\0\0\1" + bytes(1200))]


@row("QUIC where TLS is allowed")
def quic():
    ask("good.test")
    return datagram(zone.TLS_HOST, 443, b"\xc3\0\0\0\1" + bytes(1195))


@row("multicast DNS, LLMNR, SSDP")
def multicast_names():
    return [one for ip, port in (("224.0.0.251", 5353), ("224.0.0.252", 5355), ("239.255.255.250", 1900), ("ff02::fb%tap0", 5353))
            for one in datagram(ip, port, question("x.evil.test"))]


@row("an answer that the guest gives itself")
def dns_own_answer():
    query = question("one.named.test", flags=0x8180)
    forged = query[:6] + b"\0\1" + query[8:] + zone.a("one.named.test", zone.EVIL_HOST)
    frames.send(frames.ip4(frames.GUEST, 17, frames.udp(frames.GUEST, 40000, forged, RESOLVER, 53), RESOLVER),
                frames.ip4(RESOLVER, 17, frames.udp(RESOLVER, 53, forged, RESOLVER, 53), RESOLVER))
    return connected(zone.EVIL_HOST, NAMED)


def _rebind(key, ip):
    def one():
        got = ask(f"{key}.rebind.named.test", zone.AAAA if ":" in ip else zone.A)
        return [f"the answer has {ip}"] * (ip in got) + silently(ip, NAMED)
    return one


for _key, _ip in zone.REBIND.items():
    _one = _rebind(_key, _ip)
    _one.__name__ = f"rebind_{_key}"
    row(f"a name that becomes {_ip}")(_one)


@row("a name that is an alias of one at the loopback")
def rebind_alias():
    got = ask("in.named.test")
    return [f"the answer has {got}"] * bool(got) + silently("127.0.0.1", NAMED)


@row("an answer that lives for 68 years, or for less than nothing")
def ttl_huge():
    lives = [one[2] for name in ("huge.named.test", "negative.named.test") for one in asked(question(name))[1]]
    return [f"lives {seconds} s" for seconds in lives if seconds > 3600] + ["no answer"] * (not lives)


@row("an address of a record that does not belong to the question")
def extra_record():
    found = [f"record {one}" for one in asked(question("extra.named.test"))[1] if one[0] != "extra.named.test"]
    return found + connected(zone.EVIL_HOST, NAMED)


@row("an address of the section behind the answer")
def extra_section():
    asked(question("behind.named.test"))
    return connected(zone.EVIL_HOST, NAMED)


@row("an address that an HTTPS record hints at")
def https_hint():
    found = [f"hint {one}" for one in asked(question("hint.named.test", zone.HTTPS))[1] if zone.address(zone.EVIL_HOST) in one[3]]
    return found + connected(zone.EVIL_HOST, NAMED)


@row("an alias of a name that is denied, whose name is said then")
def alias_of_denied():
    ask("alias.good.test")
    return said(zone.DENIED_HOST, 443, hello("ads.good.test"))


@row("an address of a name at a port of another rule")
def name_at_another_port():
    ask("good.test"), ask("one.named.test")
    return connected(zone.TLS_HOST, NAMED) + connected(zone.NAMED_HOST, 443) + connected(zone.TLS_HOST, 444) + connected(zone.NAMED_HOST, 80)


# First bytes

def _hello(name, what, data, **how):
    def one():
        ask("good.test")
        return said(zone.TLS_HOST, 443, data, **how)
    one.__name__ = f"tls_{name}"
    row(what)(one)


_ECH = extension(0xFE0D, b"\7" * 200)
_hello("other_name", "a name of server that no rule has", hello("x.evil.test"))
_hello("denied_name", "one that is denied", hello("ads.good.test"))
_hello("denied_upper", "the same in upper case, with a dot", hello("ADS.GOOD.test."))
_hello("no_name", "none", hello())
_hello("two_names", "two", hello("good.test", "x.evil.test"))
_hello("two_extensions", "two extensions with one each", records(message(server_names("good.test"), server_names("x.evil.test"))))
_hello("longer_name", "one that begins like an allowed one", hello("good.test.evil.test"))
_hello("ends_like", "one that ends like an allowed one", hello("evilgood.test"))
_hello("number", "a number", hello(zone.TLS_HOST))
_hello("nul", "a name with NUL in it", hello("good.test\0.evil.test"))
_hello("cut", "another name, octet by octet", hello("x.evil.test"), piece=1)
_hello("records", "another name, over records", records(message(server_names("x.evil.test")), 5))
_hello("hidden", "an encrypted name behind another one", records(message(server_names("x.evil.test"), _ECH)))
_hello("only_hidden", "an encrypted name alone", records(message(_ECH)))
_hello("ssl2", "a hello of SSL 2", b"\x80\x2e\1\0\2\0\x15\0\0\0\x10" + bytes(37))
_hello("no_tls", "no TLS", b"SSH-2.0-OpenSSH_9.2\r\n")
_hello("http", "HTTP where TLS is to be", b"GET / HTTP/1.1\r\nHost: good.test\r\n\r\n")
_hello("long", "a hello that does not end", records(b"\1\0\xff\xff" + bytes(60000)))
_hello("urgent", "an allowed name, with urgent data before it", hello("good.test"), urgent=True)
_hello("half", "half a hello, then the end", hello("good.test")[:30], shut=True)


def _quic(name, what, *datagrams, port=443, host=zone.TLS_HOST):
    """Datagrams behind each other from one port, of which none may arrive."""
    def one():
        ask("good.test")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
            stream.bind(("0.0.0.0", 0))
            for data in datagrams:
                with contextlib.suppress(OSError):
                    stream.sendto(data, (host, port))
            fence()
            stream.setblocking(False)
            with contextlib.suppress(OSError):
                return [f"got {stream.recv(2000)[:40]!r}"]
        return []
    one.__name__ = f"quic_{name}"
    row("QUIC: " + what)(one)


def _said(*names, **how):
    return initials.initial(initials.crypto(0, message(*([server_names(*names)] if names else []))), **how)


_BAD = message(server_names("x.evil.test"))
_quic("other_name", "a name of server that no rule has", _said("x.evil.test"))
_quic("denied_name", "one that is denied", _said("ads.good.test"))
_quic("version_2", "the same in version 2", _said("ads.good.test", version=initials.TWO))
_quic("no_name", "none", _said())
_quic("two_names", "two", _said("good.test", "x.evil.test"))
_quic("hidden", "an encrypted name behind another one", initials.initial(initials.crypto(0, message(server_names("x.evil.test"), _ECH))))
_quic("cut", "another name in frames of one octet, backwards",
      initials.initial(b"".join(initials.crypto(at, _BAD[at:at + 1]) for at in range(len(_BAD) - 1, -1, -1))))
_quic("packets", "another name in two packets, the second one first", initials.initial(initials.crypto(60, _BAD[60:]), 1), initials.initial(initials.crypto(0, _BAD[:60]), 0))
_quic("coalesced", "an allowed name and behind it, in one datagram, another", _said("good.test", pad=0) + _said("x.evil.test", to=b"another!", pad=0))
_quic("overlapping", "an allowed name that is said over by another", initials.initial(
    initials.crypto(0, message(server_names("good.test.aa"))) + initials.crypto(0, _BAD)))
_quic("negotiation", "a version that there is not first, then another name", _said("good.test", wire=0x1A2A3A4A), _said("x.evil.test"))
_quic("draft", "a version of a draft", _said("good.test", wire=0xFF00001D))
_quic("google", "Google's own QUIC", b"\x0dbypass!!Q043\1" + bytes(1100))
_quic("short", "a packet of a connection that does not exist", b"\x40" + bytes(range(100)))
_quic("moved", "the migration of a connection to another port of the guest's", b"\x47bypass!!" + bytes(range(60)))
_quic("handshake", "a packet of the handshake first", initials.HANDSHAKE + bytes(1100))
_quic("port", "an allowed name at another port", _said("good.test"), port=4433)
_quic("address", "an allowed name at another address", _said("good.test"), host="9.9.9.9")
_quic("doq", "DNS at the port of DNS over QUIC", _said("good.test"), port=853)
_quic("no_quic", "DTLS, and something else", b"\x16\xfe\xfd" + bytes(50), b"bypass")


def _behind(name, what, *second):
    """The same behind a connection of QUIC that is allowed."""
    def one():
        ask("good.test")
        got = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
            stream.settimeout(3)
            stream.connect((zone.TLS_HOST, 443))
            first = _said("good.test")
            stream.send(first)
            if stream.recv(2000) != first:
                return ["the first one is not there"]
            for data in second:
                with contextlib.suppress(OSError):
                    stream.send(data)
            fence()
            stream.setblocking(False)
            # A refusal is told once, in the place of a datagram.
            for _ in range(2 * len(second) + 2):
                with contextlib.suppress(OSError):
                    got.append(stream.recv(2000))
        return [f"got {one[:40]!r}" for one in got if one in second[len(second) - 1:]]
    one.__name__ = f"quic_behind_{name}"
    row("QUIC, behind an allowed connection: " + what, may=(f"{zone.TLS_HOST}:443",))(one)


_behind("other", "another one with another name", _said("x.evil.test", to=b"another!"))
_behind("same_keys", "the same with the connection ID of the first", _said("x.evil.test", number=9))
_behind("coalesced", "one within the datagram of a handshake", initials.HANDSHAKE + _said("x.evil.test", to=b"another!"))
_behind("done", "one when the first has begun", initials.HANDSHAKE + b"\x40" + bytes(30), _said("x.evil.test", to=b"another!"))
_behind("version", "a version that is not known", _said("good.test", wire=0xFF00001D))


def _request(name, what, data):
    def one():
        ask("web.test")
        return said(zone.HTTP_HOST, 80, data)
    one.__name__ = f"http_{name}"
    row(what)(one)


_request("other_host", "another host", b"GET / HTTP/1.1\r\nHost: x.evil.test\r\n\r\n")
_request("two_hosts", "two hosts", b"GET / HTTP/1.1\r\nHost: web.test\r\nHost: x.evil.test\r\n\r\n")
_request("absolute", "another one in the target", b"GET http://x.evil.test/ HTTP/1.1\r\nHost: web.test\r\n\r\n")
_request("absolute_host", "an allowed one in the target, another host", b"GET http://web.test/ HTTP/1.1\r\nHost: x.evil.test\r\n\r\n")
_request("folded", "a host whose line goes on", b"GET / HTTP/1.1\r\nHost: web.test\r\n x.evil.test\r\n\r\n")
_request("folded_before", "a host within another line", b"GET / HTTP/1.1\r\nX: y\r\n Host: web.test\r\nHost: x.evil.test\r\n\r\n")
_request("h2c", "HTTP/2 without TLS", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
_request("connect", "CONNECT", b"CONNECT x.evil.test:443 HTTP/1.1\r\nHost: web.test\r\n\r\n")
_request("no_host", "no host", b"GET / HTTP/1.0\r\n\r\n")
_request("old", "HTTP/0.9", b"GET /\r\n")
_request("blank", "a blank before the colon", b"GET / HTTP/1.1\r\nHost : web.test\r\nHost: x.evil.test\r\n\r\n")
_request("half_lines", "lines that end in half", b"GET / HTTP/1.1\nX: y\rHost: web.test\r\nHost: x.evil.test\r\n\r\n")
_request("user", "a user before another host", b"GET http://web.test@x.evil.test/ HTTP/1.1\r\nHost: web.test@x.evil.test\r\n\r\n")


def _later(name, what, second, first=b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n", at_once=False, control=False):
    """Two requests on one connection; "evil" is what the second one has, or a control's "last"."""
    def one():
        ask("web.test")
        got, wants = b"", b"last" if control else b"evil"
        with contextlib.suppress(ConnectionError), socket.create_connection((zone.HTTP_HOST, 80), 3) as stream:
            stream.settimeout(3)
            stream.sendall(first + second if at_once else first)
            while not at_once and not got.endswith(first):
                got += stream.recv(1 << 16) or b"an end" + first
            if not at_once:
                stream.sendall(second)
            while wants not in got and (more := stream.recv(1 << 16)):
                got += more
        return [] if (wants in got) == control else [f"got {got[-60:]!r}"]
    one.__name__ = f"http_later_{name}"
    row(what, control=control, may=(f"{zone.HTTP_HOST}:80",))(one)


_OTHER = b"GET / HTTP/1.1\r\nHost: x.evil.test\r\n\r\n"


def _post(fields, body=b""):
    return b"POST / HTTP/1.1\r\nHost: web.test\r\n" + fields + b"\r\n\r\n" + body


_later("other_host", "another host in a second request", _OTHER)
_later("pipelined", "the same at once", _OTHER, at_once=True)
_later("absolute", "another host in the target of a second one", b"GET http://x.evil.test/ HTTP/1.1\r\nHost: web.test\r\n\r\n")
_later("folded", "a second host whose line goes on", b"GET / HTTP/1.1\r\nHost: web.test\r\n x.evil.test\r\n\r\n")
_later("no_host", "a second request without a host", b"GET /evil HTTP/1.0\r\n\r\n")
_later("connect", "CONNECT behind a request", b"CONNECT x.evil.test:443 HTTP/1.1\r\nHost: web.test\r\n\r\n")
_later("empty_line", "an empty line before another host", b"\r\n" + _OTHER)
_later("body", "another host behind a body", _OTHER, first=_post(b"Content-Length: 5", b"hello"))
_later("chunks", "another host behind chunks", _OTHER, first=_post(b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"))
_later("chunk_ends_early", "chunks that end for some readers, with an extension", _post(b"Transfer-Encoding: chunked", b"0;x\n\r\n\r\n" + _OTHER))
_later("both_lengths", "a length and chunks, which end before it", _post(b"Content-Length: %d\r\nTransfer-Encoding: chunked" % (5 + len(_OTHER)),
                                                                      b"0\r\n\r\n" + _OTHER))
_later("both_lengths_cut", "a length and chunks, which end behind it", _post(b"Content-Length: 4\r\nTransfer-Encoding: chunked",
                                                                          b"%x\r\n" % len(_OTHER) + _OTHER + b"\r\n0\r\n\r\n"))
_later("two_lengths", "two lengths", _post(b"Content-Length: 0\r\nContent-Length: %d" % len(_OTHER), _OTHER))
_later("body_of_get", "a body where some readers have none", b"GET / HTTP/1.1\r\nHost: web.test\r\nContent-Length: %d\r\n\r\n" % len(_OTHER) + _OTHER)
_later("web_socket", "another host behind a WebSocket that the server does not want", _OTHER,
       first=b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
_later("h2c", "HTTP/2 behind an upgrade", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nevil",
       first=b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
_later("same_host", "further requests to the same host, with bodies", _post(b"Content-Length: 4", b"last"),
       first=_post(b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"), control=True)


# Internet protocol

@row("pings of the outside, with contents, and other kinds of ICMP")
def icmp():
    frames.send(*(frames.ip4(ip, 1, _icmp(kind)) for ip in ("9.9.9.9", OPEN, "127.0.0.1") for kind in (8, 13, 15, 17, 10, 0, 5)))
    return []


def _icmp(kind, data=b"a secret"):
    head = struct.pack(">BBHHH", kind, 0, 0, 7, 1) + data
    return head[:2] + struct.pack(">H", frames.total(head)) + head[4:]


@row("pings of the outside over IPv6")
def icmp6():
    for ip in ("2606:4700::1", "::1", "ff02::1", "::ffff:9.9.9.9"):
        head = struct.pack(">BBHHH", 128, 0, 0, 7, 1) + b"a secret"
        frames.send(frames.ip6(ip, 58, frames.summed(frames.GUEST6, ip, 58, head, 2)))
    return []


@row("groups and broadcasts")
def groups():
    for ip in ("224.0.0.1", "239.1.2.3", "255.255.255.255", "10.0.2.255", "ff02::1", "ff05::1:3", "ff0e::1"):
        silently(ip), silently(ip, OPEN_UDP), silently(ip, OPEN_TCP)
    return []


def _protocol(number, name):
    def one():
        frames.send(frames.ip(OPEN, number, bytes(40)), frames.ip(GATEWAY, number, bytes(40)), frames.ip("2606:4700::1", number, bytes(40)))
        return []
    one.__name__ = f"protocol_{name.lower()}"
    row(f"{name} (protocol {number})")(one)


for _number, _name in ((132, "SCTP"), (47, "GRE"), (50, "ESP"), (136, "UDP-Lite"), (33, "DCCP"), (2, "IGMP"), (255, "raw")):
    _protocol(_number, _name)


@row("packets in packets (IPIP, 6in4, 4in6)")
def tunnels():
    inner, inner6 = frames.ip4(OPEN, 17, frames.udp(OPEN, SHUT))[2:], frames.ip6("::1", 17, frames.udp("::1", SHUT))[2:]
    frames.send(frames.ip4(OPEN, 4, inner), frames.ip4(OPEN, 41, inner6), frames.ip6("2606:4700::1", 4, inner), frames.ip6("::1", 41, inner6))
    return []


@row("source routes to somewhere else")
def source_route():
    for kind in (131, 137, 7, 68):
        options = bytes([kind, 7, 4]) + frames.packed("9.9.9.9") + b"\0"
        frames.send(frames.ip4("9.9.9.8", 17, frames.udp("9.9.9.8", SHUT), options=options),
                    frames.ip4(GATEWAY, 6, frames.tcp(GATEWAY, SHUT), options=options))
    return []


@row("routing headers of IPv6")
def routing_header():
    for kind in (0, 2, 4):
        head = bytes([17, 2, kind, 1, 0, 0, 0, 0]) + frames.packed("::1")
        frames.send(frames.ip6("2606:4700::1", 43, head + frames.udp("2606:4700::1", SHUT)))
    return []


@row("ports behind other headers of IPv6")
def extension_headers():
    options = bytes([60, 0, 1, 4, 0, 0, 0, 0])
    frames.send(frames.ip6("::1", 0, options + bytes([6, 0, 1, 4, 0, 0, 0, 0]) + frames.tcp("::1", SHUT)),
                frames.ip6("2606:4700::1", 60, bytes([17, 0, 1, 4, 0, 0, 0, 0]) + frames.udp("2606:4700::1", SHUT)))
    return []


def _cut(to, protocol, data, *parts):
    """Fragments (from, to) of the data."""
    if ":" in to:
        frames.send(*(frames.ip6(to, 44, frames.fragment6(protocol, begin, end < len(data), data[begin:end])) for begin, end in parts))
    else:
        frames.send(*(frames.ip4(to, protocol, data[begin:end], number=9, offset=begin, more=end < len(data)) for begin, end in parts))


@row("fragments that hide the port")
def fragments():
    for to in (OPEN, "2606:4700::1"):
        data = frames.udp(to, SHUT, bytes(64))
        _cut(to, 17, data, (8, 40), (40, 72), (0, 8))
        _cut(to, 17, data, (0, 8), (8, 72))
    return []


@row("tiny fragments, whose first has no flags of TCP")
def fragments_tiny():
    for to in (OPEN, "2606:4700::1"):
        _cut(to, 6, frames.tcp(to, SHUT, data=bytes(4)), (0, 8), (8, 16), (16, 24))
    return []


@row("fragments that overlap: an allowed port first, or last")
def fragments_overlapping():
    good, bad = frames.udp(OPEN, OPEN_UDP, bytes(40)), frames.udp(OPEN, SHUT, bytes(40))
    for first, second in ((good, bad), (bad, good)):
        frames.send(frames.ip4(OPEN, 17, first[:16], number=11, more=True), frames.ip4(OPEN, 17, second[:16], number=11, more=True),
                    frames.ip4(OPEN, 17, first[16:], number=11, offset=16))
    for to in ("2606:4700::1",):
        data = frames.udp(to, SHUT, bytes(40))
        _cut(to, 17, data, (0, 16), (8, 32), (0, 16), (16, 48))
    return []


@row("atomic fragments")
def fragments_atomic():
    for to in ("::1", "2606:4700::1"):
        _cut(to, 17, frames.udp(to, SHUT), (0, 14))
        _cut(to, 6, frames.tcp(to, SHUT), (0, 20))
    return []


@row("other addresses of the guest")
def second_address():
    for source, to in (("10.0.2.77", "9.9.9.9"), ("10.0.2.15", GATEWAY), ("fd00::77", "2606:4700::1"), ("fe80::77", "fd00::2")):
        frames.send(frames.ip(to, 6, frames.tcp(to, SHUT, source=source), source), frames.ip(to, 17, frames.udp(to, SHUT, source=source), source))
    return []


@row("addresses of others as the guest's")
def spoofed_source():
    for source, to in (("127.0.0.1", GATEWAY), ("10.0.2.2", GATEWAY), ("9.9.9.9", OPEN), ("0.0.0.0", OPEN), ("255.255.255.255", OPEN),
                       ("::1", "fd00::2"), ("::", "fd00::2"), ("2606:4700::9", "2606:4700::1")):
        frames.send(frames.ip(to, 6, frames.tcp(to, SHUT, source=source), source), frames.ip(to, 17, frames.udp(to, SHUT, source=source), source))
    return []


@row("segments of no connection: ACK, SYN with ACK or FIN, none, all flags")
def odd_segments():
    for flags in (ACK, ACK | 8, SYN | ACK, SYN | 1, 0, 63, 1, 4, SYN | 32, SYN | 0xC0):
        frames.send(*(frames.ip(to, 6, frames.tcp(to, SHUT, flags, b"bypass", source_port=41000 + flags)) for to in (OPEN, GATEWAY, GATEWAY6)))
    return []


@row("bytes in a SYN to an address whose connections say a name")
def data_in_syn():
    ask("good.test")
    for data in (b"bypass", hello("x.evil.test")):
        frames.send(frames.ip4(zone.TLS_HOST, 6, frames.tcp(zone.TLS_HOST, 443, SYN, data, source_port=41000 + len(data))))
    return []


@row("frames to other cards, with tags, with headers of 802.2")
def odd_frames():
    plain = frames.ip4(OPEN, 17, frames.udp(OPEN, SHUT))
    for link in (b"\xff" * 6, bytes.fromhex("01005e000001"), bytes.fromhex("525400aabbcc"), bytes(6)):
        frames.send(plain, link=link)
    frames.send(b"\x81\0\0\1" + plain, b"\x88\xa8\0\1" + plain, struct.pack(">H", 8 + len(plain)) + b"\xaa\xaa\3\0\0\0" + plain)
    return []


# Ways in

def _told(command):
    """Let the host's side do something: what it says."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(8)
        one.connect((OPEN, OPEN_UDP))
        one.send(command)
        return one.recv(100)


@row("a datagram of another peer, to a port that the guest has used")
def other_peer():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(2)
        one.sendto(b"OTHER", (OPEN, OPEN_UDP))
        got = [one.recvfrom(100)]
        fence()
        one.setblocking(False)
        with contextlib.suppress(OSError):
            got.append(one.recvfrom(100))
    return [str(one) for one in got if one != (b"OTHER", (OPEN, OPEN_UDP))]


@row("through a forward by UDP, there and back", control=True)
def forward_udp():
    with _visited() as (one, peer, _):
        one.sendto(b"answer", peer)
    return []


@contextlib.contextmanager
def _visited():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("0.0.0.0", INSIDE_UDP))
        one.settimeout(5)
        port = int(_told(b"VISIT 17"))
        data, peer = one.recvfrom(100)
        if data != b"visit" or peer != (GATEWAY, port):
            raise OSError(f"{data!r} of {peer}, not of port {port}")
        yield one, peer, port


@row("an answer to another port, and to another peer, than who came through a forward")
def forward_answers():
    with _visited() as (one, _, port):
        for peer in ((GATEWAY, port + 1), (GATEWAY, 22), ("198.51.100.2", port), ("9.9.9.9", 53)):
            with contextlib.suppress(OSError):
                one.sendto(b"bypass", peer)
        fence()
    return []


@row("a connection back to who came through a forward")
def forward_back():
    with _visited() as (_, peer, port):
        return connected(GATEWAY, port) + connected(OPEN, port)


@row("through a forward by TCP", control=True)
def forward_tcp():
    with socket.create_server(("0.0.0.0", INSIDE_TCP)) as listener, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect((OPEN, OPEN_UDP))
        one.settimeout(5)
        listener.settimeout(5)
        one.send(b"VISIT 6")
        stream, peer = listener.accept()
        with stream:
            stream.sendall(b"from the guest")
        got = one.recv(100)
    return [] if got == b"from the guest" and peer[0] == GATEWAY else [f"{got!r} of {peer}"]


# What has to work, lest a dead network look safe

@row("an allowed address and port", control=True)
def allowed_tcp():
    return said(OPEN, OPEN_TCP, b"hello", wants=b"hello") + said(f"::ffff:{OPEN}", OPEN_TCP, b"hello", wants=b"hello")


@row("allowed names", control=True)
def allowed_names():
    got = [ask("good.test"), ask("one.named.test"), ask("one.named.test", zone.AAAA), ask("corp.test")]
    wanted = [[zone.TLS_HOST], [zone.NAMED_HOST], [zone.NAMED_HOST6], ["10.1.2.3"]]
    over = asked(question("www.good.test"), over="tcp", piece=1)[1]
    return [] if got == wanted and len(over) == 1 else [f"{got}, over TCP {over}"]


@row("a connection to an allowed name, also with a time to live of 0, and of the inside where a rule says so", control=True,
     may=(f"{zone.NAMED_HOST}:7000", f"{zone.NAMED_HOST6}:7000", "5.6.7.13:7000", "10.1.2.3:7000"))
def allowed_connection():
    ips = ask("one.named.test") + ask("one.named.test", zone.AAAA) + ask("zero.named.test") + ask("corp.test")
    return [one for ip in ips for one in said(ip, NAMED, b"hello", wants=b"hello")] + ["too few"] * (len(ips) != 4)


def _greets(name, data, host, port, ask_for, **how):
    def one():
        ask(ask_for)
        return said(host, port, data, wants=data[-8:], **how)
    one.__name__ = f"allowed_{name}"
    row("an allowed name in first bytes: " + name.replace("_", " "), control=True, may=(f"{host}:{port}",))(one)


_greets("tls", hello("good.test"), zone.TLS_HOST, 443, "good.test")
_greets("tls_upper_case_dot", hello("WWW.Good.Test."), zone.TLS_HOST, 443, "good.test")
_greets("tls_cut", hello("good.test"), zone.TLS_HOST, 443, "good.test", piece=1)
_greets("tls_records", records(message(extension(21, bytes(64)), server_names("good.test")), 5), zone.TLS_HOST, 443, "good.test")
_greets("tls_hidden_behind", records(message(server_names("good.test"), _ECH)), zone.TLS_HOST, 443, "good.test")
@row("an allowed name in first datagrams, in two packets", control=True, may=(f"{zone.TLS_HOST}:443",))
def allowed_quic():
    ask("good.test")
    whole = message(extension(21, bytes(1500)), server_names("WWW.good.test"))
    datagrams = [initials.initial(initials.crypto(900, whole[900:]), 1), initials.initial(initials.crypto(0, whole[:900]), 0), b"\x40" + bytes(range(90))]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(3)
        one.connect((zone.TLS_HOST, 443))
        for data in datagrams:
            one.send(data)
        got = [one.recv(2000) for _ in datagrams]
    return [] if got == datagrams else [f"got {[one[:10] for one in got]}"]


_greets("http", b"GET / HTTP/1.1\r\nhost: WEB.test\r\n\r\n", zone.HTTP_HOST, 80, "web.test")


def run(name):
    """Do one row: what it found, and the number of the fence behind it."""
    try:
        found = TABLE[name][0]()
    except OSError as error:
        found = [f"{type(error).__name__}: {error}"]
    return {"found": found, "fence": fence()}
