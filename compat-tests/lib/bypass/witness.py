"""What the host sees. In its network namespace every address is local, so that whatever leaves the library, for anywhere, comes by
on the loopback interface, where a socket writes all of it down. Beside it the few servers that the guest may reach."""

import contextlib
import socket
import struct
import subprocess
import threading

from rig import waiting

from . import zone

RESOLVER = "127.0.0.57"
OPEN = "198.51.100.1"
OPEN_TCP, OPEN_UDP, NAMED = 7001, 7002, 7000
SECRET = b"a secret of the host"
FROM_HERE = 4  # PACKET_OUTGOING: on a loopback interface everything comes by twice
FENCE = b"fence "


def everything_is_local(verb):
    for family in ("-4", "-6"):
        subprocess.run(["ip", family, "route", verb, "local", "default", "dev", "lo"], check=True, stderr=subprocess.PIPE)


class Seen:
    """One packet: its protocol, ends and payload."""

    def __init__(self, packet):
        self.source_port = self.port = 0
        if packet[0] >> 4 == 4:
            size = (packet[0] & 15) * 4
            self.protocol, self.fragment = packet[9], struct.unpack(">H", packet[6:8])[0] & 0x1FFF
            self.source, self.to = (socket.inet_ntop(socket.AF_INET, packet[at:at + 4]) for at in (12, 16))
            rest = packet[size:struct.unpack(">H", packet[2:4])[0]]
        else:
            self.protocol, self.fragment = packet[6], 0
            self.source, self.to = (socket.inet_ntop(socket.AF_INET6, packet[at:at + 16]) for at in (8, 24))
            rest = packet[40:40 + struct.unpack(">H", packet[4:6])[0]]
        self.payload = rest
        if self.protocol in (6, 17) and not self.fragment and len(rest) >= 8:
            self.source_port, self.port = struct.unpack(">HH", rest[:4])
            self.payload = rest[(rest[12] >> 4) * 4:] if self.protocol == 6 else rest[8:]

    def ends(self):
        return {(self.protocol, self.source, self.source_port), (self.protocol, self.to, self.port)}

    def connection(self):
        return frozenset([(self.source, self.source_port), (self.to, self.port)])

    def __str__(self):
        return f"protocol {self.protocol} {self.source}:{self.source_port} > {self.to}:{self.port} {self.payload[:24]!r}"


class Witness:
    """The servers, and everything that came by. `forwards` are the ports of the program's forwards (protocol, port)."""

    def __init__(self, forwards):
        self.names = zone.Server(RESOLVER)
        self.seen, self.fence = [], -1
        # Ends at which anything may come by: the name server, what a rule opens, and those who come through a forward.
        self.open = {(17, RESOLVER, 53), (6, RESOLVER, 53), (17, OPEN, OPEN_UDP), (6, OPEN, OPEN_TCP)}
        self.open |= {(protocol, "127.0.0.1", port) for protocol, port in forwards.items()}
        self.forwards = forwards
        # Connections that were allowed: the last packets of one may come by when the next way around is tried.
        self._allowed = set()
        self._tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self._tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._tap.bind(("lo", 3))
        self._visitors = []
        self._echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._echo.bind((OPEN, OPEN_UDP))
        self._quic = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._quic.bind((zone.TLS_HOST, 443))
        self._other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._other.bind((OPEN, 0))
        self.open.add((17, OPEN, self._other.getsockname()[1]))
        self._listeners = [socket.create_server(("0.0.0.0", port), backlog=64) for port in (OPEN_TCP, NAMED, 443, 80)]
        self._listeners.append(socket.create_server(("::", NAMED), family=socket.AF_INET6, backlog=64)
                               if socket.has_ipv6 else None)
        for target, arguments in [(self._watch, ()), (self._serve_udp, ()), (self._give_back, ())] + [(self._accept, (one,)) for one in self._listeners if one]:
            threading.Thread(target=target, args=arguments, daemon=True).start()

    def _watch(self):
        with contextlib.suppress(OSError):
            while True:
                packet, (_, _, kind, _, _) = self._tap.recvfrom(1 << 16)
                if kind == FROM_HERE or len(packet) < 28 or packet[0] >> 4 not in (4, 6):
                    continue
                one = Seen(packet)
                if one.payload.startswith(FENCE) and one.port == OPEN_UDP:
                    self.fence = int(one.payload[len(FENCE):])
                self.seen.append(one)

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._talk, args=(listener.accept()[0],), daemon=True).start()

    def _talk(self, stream):
        """A server that speaks first, and gives back what it gets."""
        with contextlib.suppress(OSError), stream:
            stream.settimeout(20)
            stream.sendall(SECRET)
            while piece := stream.recv(1 << 16):
                stream.sendall(piece)

    def _serve_udp(self):
        """An echo; and the guest's way to ask for somebody who does something on the host's side."""
        with contextlib.suppress(OSError):
            while True:
                data, peer = self._echo.recvfrom(1 << 16)
                if peer is None:  # closed
                    return
                if data == b"OTHER":
                    self._other.sendto(SECRET, peer)
                elif data.startswith(b"VISIT "):
                    data = self._visit(int(data[6:]))
                self._echo.sendto(data, peer)

    def _give_back(self):
        """A server of QUIC that gives back what it gets."""
        with contextlib.suppress(OSError):
            while True:
                data, peer = self._quic.recvfrom(1 << 16)
                if peer is None:  # closed
                    return
                self._quic.sendto(data, peer)

    def _visit(self, protocol):
        """Come through a forward; says from which port (UDP), or what came of it (TCP)."""
        port = self.forwards[protocol]
        if protocol == 17:
            visitor = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            visitor.bind(("127.0.0.1", 0))
            visitor.sendto(b"visit", ("127.0.0.1", port))
            self._visitors.append(visitor)
            self.open.add((17, "127.0.0.1", visitor.getsockname()[1]))
            return b"%d" % visitor.getsockname()[1]
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as stream:
                return stream.recv(100)
        except OSError as error:
            return str(error).encode()

    def since(self, mark, fence, waits):
        """What came by from this mark on until the guest's datagram of this number."""
        waiting.until(lambda: self.fence >= fence, waits, "the guest's last datagram", every=0.005)
        return self.seen[mark:]

    def astray(self, packets, may):
        """Those that should not have been, but for those to the ends of `may`. Connections that wait for their first bytes are
        there, without any; none to another host goes behind one that is allowed."""
        found = []
        for one in packets:
            ends = one.ends()
            if (one.protocol, one.to, one.port) == (6, zone.HTTP_HOST, 80) and b"evil" in one.payload:
                found.append(str(one))
                continue
            if ends & self.open:
                continue
            if any(f"{ip}:{port}" in may for _, ip, port in ends):
                self._allowed.add(one.connection())
                continue
            if one.protocol == 6 and not one.payload and one.connection() in self._allowed:
                continue
            held = {(6, zone.TLS_HOST, 443), (6, zone.HTTP_HOST, 80), (6, zone.DENIED_HOST, 443)}
            if ends & held and ((6, one.to, one.port) not in held or not one.payload):
                continue
            found.append(str(one))
        return found

    def close(self):
        self.names.close()
        for one in [self._tap, self._echo, self._other, self._quic, *self._visitors, *self._listeners]:
            if one is not None:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
