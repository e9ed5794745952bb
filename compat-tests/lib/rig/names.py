"""A name server that answers from a table, over UDP and TCP."""

import socket
import struct
import threading


def question(name, number):
    """A query for the IPv4 address of a name (RFC 1035 section 4), with the given id."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">HH", 1, 1)


def _labels(message, at):
    parts = []
    while at < len(message) and message[at]:
        size = message[at]
        parts.append(message[at + 1:at + 1 + size].decode("ascii", "replace"))
        at += 1 + size
    return ".".join(parts).lower(), at + 1


def addresses(message, number):
    """The IPv4 addresses of an answer to `question(.., number)`; raises ValueError when it is something else."""
    got, flags, questions, answers = struct.unpack(">HHHH", message[:8])
    if got != number or not flags & 0x8000 or flags & 0xF:
        raise ValueError(f"no good answer: id {got}, flags {flags:#06x}")
    at = 12
    for _ in range(questions):
        at = _labels(message, at)[1] + 4
    found = []
    for _ in range(answers):
        kind, _class, _ttl, size = struct.unpack(">HHIH", message[at + 2:at + 12])
        if kind == 1:
            found.append(socket.inet_ntoa(message[at + 12:at + 12 + size]))
        at += 12 + size
    return found


class NameServer:
    """Serves `table` (name to list of addresses) at one address, port 53. A silent one swallows every query."""

    def __init__(self, address, table, silent=False):
        self.table = table
        self.silent = silent
        self.asked = 0
        self._open = True
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._udp = socket.socket(family, socket.SOCK_DGRAM)
        self._udp.bind((address, 53))
        self._tcp = socket.socket(family, socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._tcp.bind((address, 53))
        self._tcp.listen(16)
        threading.Thread(target=self._serve_udp, daemon=True).start()
        threading.Thread(target=self._serve_tcp, daemon=True).start()

    def close(self):
        self._open = False
        for one in (self._udp, self._tcp):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()

    def _answer(self, query):
        self.asked += 1
        if self.silent or len(query) < 17:
            return None
        name, end = _labels(query, 12)
        kind = struct.unpack(">H", query[end:end + 2])[0]
        known = name in self.table
        found = self.table.get(name, []) if kind == 1 else []
        head = query[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, len(found), 0, 0)
        records = b"".join(struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(one) for one in found)
        return head + query[12:end + 4] + records

    def _serve_udp(self):
        while self._open:
            try:
                query, peer = self._udp.recvfrom(4096)
                answer = self._answer(query)
                if answer is not None:
                    self._udp.sendto(answer, peer)
            except OSError:
                if not self._open:
                    return

    def _serve_tcp(self):
        while self._open:
            try:
                peer, _ = self._tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._one_tcp, args=(peer,), daemon=True).start()

    def _one_tcp(self, peer):
        with peer:
            peer.settimeout(10)
            try:
                with peer.makefile("rb") as stream:
                    while True:
                        head = stream.read(2)
                        if len(head) < 2:
                            return
                        answer = self._answer(stream.read(struct.unpack(">H", head)[0]))
                        if answer is not None:
                            peer.sendall(struct.pack(">H", len(answer)) + answer)
            except OSError:
                return
