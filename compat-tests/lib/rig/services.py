"""Servers of the host side: one TCP service steered by its first line, and a UDP echo.

The first line of a TCP connection says what the service does:

    GET n       send n bytes of payload, then end
    GET /n HTTP the same as an HTTP/1.0 answer
    PUT         read to the end, answer with the SHA-256 in hexadecimal
    TAKE n      the same of n bytes, whether there is an end or not
    ECHO        send back everything until the end
    TAIL n      read to the end, and only then send n bytes (the client half-closes first)
    FIRST       end our direction at once, go on reading (the service half-closes first); the digest is recorded
    SLOW n      wait for the line `go` before reading on, then behave as PUT (fills windows on the way)
    RESET       reset the connection
    WATCH       say so, read until the end and record whether it was an end or a reset
    PEER        send the address and port of the client
"""

import contextlib
import hashlib
import itertools
import os
import queue
import socket
import struct
import threading

from . import payload

CHUNK = 1 << 18


def reset(connection):
    """Close so that the peer sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class StreamService:
    """Accepts connections of a listener, each for a thread of its own; `_one` is what becomes of it."""

    def __init__(self, family, address, backlog):
        self.accepted = 0
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(address)
        self._listener.listen(backlog)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()

    def _serve(self):
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._one, args=(connection, peer), daemon=True).start()

    def _one(self, connection, peer):
        raise NotImplementedError


class TcpService(StreamService):
    """See the head of this file. `records` receives one tuple for FIRST and WATCH."""

    def __init__(self, address="0.0.0.0", family=socket.AF_INET, port=0, backlog=256):
        self.records = queue.Queue()
        self.gate = threading.Event()
        super().__init__(family, (address, port), backlog)
        self.port = self._listener.getsockname()[1]

    def _one(self, connection, peer):
        try:
            with connection:
                connection.settimeout(120)
                line = bytearray()
                while not line.endswith(b"\n"):
                    byte = connection.recv(1)
                    if not byte:
                        return
                    line += byte
                words = line.decode("ascii", "replace").split()
                if words:
                    self._do(connection, peer, words)
        except OSError:
            return

    def _do(self, connection, peer, words):
        what = words[0]
        if what == "GET":
            size = words[1]
            if size.startswith("/"):
                size = size[1:]
                seen = bytearray()
                while not seen.endswith(b"\r\n\r\n") and seen != b"\r\n":
                    seen += connection.recv(1) or b"\r\n\r\n"
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %s\r\n\r\n" % size.encode())
            for block in payload.blocks(int(size)):
                connection.sendall(block)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(CHUNK):
                pass
        elif what in ("PUT", "SLOW"):
            if what == "SLOW":
                self.gate.wait(60)
            connection.sendall(read_digest(connection)[0].encode() + b"\n")
        elif what == "TAKE":
            connection.sendall(read_digest(connection, int(words[1]))[0].encode() + b"\n")
        elif what == "ECHO":
            while True:
                piece = connection.recv(CHUNK)
                if not piece:
                    return
                connection.sendall(piece)
        elif what == "TAIL":
            read_digest(connection)
            for block in payload.blocks(int(words[1])):
                connection.sendall(block)
        elif what == "FIRST":
            connection.sendall(b"bye\n")
            connection.shutdown(socket.SHUT_WR)
            self.records.put(("FIRST", *read_digest(connection)))
        elif what == "RESET":
            reset(connection)
        elif what == "WATCH":
            connection.sendall(b"watching\n")
            try:
                while connection.recv(CHUNK):
                    pass
                self.records.put(("WATCH", "end"))
            except ConnectionResetError:
                self.records.put(("WATCH", "reset"))
        elif what == "PEER":
            connection.sendall(f"{peer[0]} {peer[1]}\n".encode())


def read_digest(connection, size=None):
    """Read to the end of the stream, or so many bytes of it: the SHA-256 in hexadecimal, and the number of bytes."""
    state = hashlib.sha256()
    total = 0
    while total != size:
        piece = connection.recv(CHUNK if size is None else min(CHUNK, size - total))
        if not piece:
            break
        state.update(piece)
        total += len(piece)
    return state.hexdigest(), total


class RawEcho(StreamService):
    """Sends back everything at a Unix socket, without a line that says so."""

    def __init__(self, path):
        super().__init__(socket.AF_UNIX, path, 128)

    def _one(self, connection, peer):
        try:
            with connection:
                while True:
                    piece = connection.recv(CHUNK)
                    if not piece:
                        return
                    connection.sendall(piece)
        except OSError:
            return


class UdpEcho:
    """Sends every datagram back; the empty one too. `PEER` is answered with the client's address and port."""

    def __init__(self, address="127.0.0.1", family=socket.AF_INET, port=0):
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self.port = self._socket.getsockname()[1]
        self._open = True
        self.served = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while self._open:
            try:
                data, peer = self._socket.recvfrom(65536)
                self.served += 1
                if data == b"PEER":
                    data = f"{peer[0]} {peer[1]}".encode()
                self._socket.sendto(data, peer)
            except OSError:
                if not self._open:
                    return

    def close(self):
        self._open = False
        self._socket.close()


def echo_digests(address, port, sizes, family=socket.AF_INET, timeout=2):
    """Datagrams of these sizes to an echo, one after the other: SHA-256 of all that was sent and of all that came back."""
    sent, back = hashlib.sha256(), hashlib.sha256()
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.settimeout(timeout)
        one.connect((address, port))
        for number, size in enumerate(sizes):
            data = (number.to_bytes(4, "big") + payload.data(size))[:size]
            sent.update(data)
            for _ in range(3):  # one may be lost while the neighbor is looked for
                one.send(data)
                try:
                    back.update(one.recv(65536))
                    break
                except TimeoutError:
                    continue
    return sent.hexdigest(), back.hexdigest()


# Ports below those that the kernel chooses from by itself (net.ipv4.ip_local_port_range). Processes begin far from each other.
FIRST_PORT, PORTS, APART = 10_000, 20_000, 997
_asked = itertools.count()


def free_port(kind=socket.SOCK_STREAM, address="127.0.0.1"):
    """A port that is free now and stays so: none that the kernel gives to connections, and each process has its own."""
    for _ in range(PORTS):
        port = FIRST_PORT + (os.getpid() * APART + next(_asked)) % PORTS
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind((address, port))
            return port
    raise OSError("no port is free")
