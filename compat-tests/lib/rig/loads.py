"""Loads that one thread makes over many sockets at once: TCP connections, datagrams that come back, name queries.

Used by the guest's agent, and by the host side through forwards. Each has a limit, and ends early when nothing at all has
moved for a while: what stands still is told from what is slow. Every byte counts towards a SHA-256.
"""

import errno
import hashlib
import selectors
import socket
import struct
import time

from . import names, payload

CHUNK = 1 << 17
# Longer than any wait of a sender whose first repetition was lost as well.
STILL = 6.0
AGAIN = 1.0


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def result(done, total, started, still, **more):
    return {"done": done, "total": total, "seconds": time.monotonic() - started, "still": still, **more}


class _Stream:
    """One connection to a `services.TcpService`: what is to be sent, and the digest of what has to come."""

    def __init__(self, number, what, size):
        self.what = what
        self.size = size
        self.sent = self.received = 0
        self.right = False
        self.error = None
        self._hash = hashlib.sha256()
        self._answer = bytearray()
        self._pending = memoryview(b"")
        self._mine = hashlib.sha256()
        self._source = self._outgoing(number)
        self.socket = None

    def _outgoing(self, number):
        if self.what == "down":
            yield b"GET %d\n" % self.size
            return
        if self.what != "cat":
            yield b"ECHO\n" if self.what == "echo" else b"PUT\n"
        # A number in front, so that no connection can be taken for another one.
        head = number.to_bytes(8, "big")[:self.size]
        self._mine.update(head)
        yield head
        for block in payload.blocks(self.size - len(head)):
            self._mine.update(block)
            yield block

    def open(self, host, port):
        self.socket = socket.socket(family_of(host), socket.SOCK_STREAM)
        self.socket.setblocking(False)
        code = self.socket.connect_ex((host, port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "connect")

    def write(self):
        """Send what fits; False when everything has been sent."""
        while True:
            if not self._pending:
                block = next(self._source, None)
                if block is None:
                    if self.what != "down":
                        self.socket.shutdown(socket.SHUT_WR)
                    return False
                self._pending = memoryview(block)
            try:
                count = self.socket.send(self._pending[:CHUNK])
            except BlockingIOError:
                return True
            self.sent += count
            self._pending = self._pending[count:]
            if self._pending:
                return True

    def read(self):
        """Take what has come; False at the end, where `right` tells whether all of it was right."""
        piece = self.socket.recv(CHUNK)
        if piece:
            self.received += len(piece)
            if self.what == "up":
                self._answer += piece
            else:
                self._hash.update(piece)
            return True
        if self.what == "up":
            self.right = self._answer.decode("ascii", "replace").strip() == self._mine.hexdigest()
        elif self.what in ("echo", "cat"):
            self.right = self._hash.digest() == self._mine.digest()
        else:
            self.right = self._hash.hexdigest() == payload.digest(self.size)
        if not self.right:
            self.error = f"ended after {self.received} octets with a wrong digest"
        return False

    def state(self):
        return f"{self.what}: sent {self.sent}, received {self.received} of {self.size}" + (f", {self.error}" if self.error else "")


def streams(host, port, jobs, limit, still=STILL):
    """TCP connections all at once. `jobs`: [what, size, count], where what is echo, down or up; or [what, size, count, host,
    port] for another service. A service of `cat` sends back all that comes, and is told nothing before."""
    started = moved = time.monotonic()
    selector = selectors.DefaultSelector()
    every, stands = [], False
    for what, size, count, *other in jobs:
        for _ in range(count):
            one = _Stream(len(every), what, size)
            every.append(one)
            try:
                one.open(*(other or (host, port)))
                selector.register(one.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, one)
            except OSError as error:
                one.error = str(error)
    while selector.get_map():
        now = time.monotonic()
        stands = now - moved > still
        if stands or now - started > limit:
            break
        for key, events in selector.select(0.2):
            one = key.data
            moved = now
            try:
                if events & selectors.EVENT_WRITE and not one.write():
                    selector.modify(one.socket, selectors.EVENT_READ, one)
                if events & selectors.EVENT_READ and not one.read():
                    selector.unregister(one.socket)
                    one.socket.close()
            except BlockingIOError:
                continue
            except OSError as error:
                one.error = str(error)
                selector.unregister(one.socket)
                one.socket.close()
    selector.close()
    for one in every:
        if one.socket is not None:
            one.socket.close()
    wrong = [one.state() for one in every if not one.right]
    return result(len(every) - len(wrong), len(every), started, stands, wrong=wrong[:3])


class _Echo:
    """Datagrams there and back on one socket, one under way at a time."""

    def __init__(self, number, host, port, count, size):
        self.socket = socket.socket(family_of(host), socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect((host, port))
        self._number, self._count, self._size = number, count, size
        self._at = 0
        self.repeats = 0
        self.done = False

    def send(self, now):
        head = struct.pack(">II", self._number, self._at)
        self._data = (head + payload.data(self._size))[:self._size]
        self.since = now
        self.socket.send(self._data)

    def receive(self, now):
        if self.socket.recv(65536) != self._data:
            return  # an answer to one that was sent again
        self._at += 1
        if self._at == self._count:
            self.done = True
        else:
            self.send(now)


class _Query:
    """One name query on a socket of its own. The name's number comes back as the address."""

    def __init__(self, number, server):
        self.socket = socket.socket(family_of(server), socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect((server, 53))
        self._number = number
        self._identity = (number * 40503) & 0xFFFF
        self.repeats = 0
        self.done = False

    def send(self, now):
        self.since = now
        self.socket.send(names.question(f"n{self._number}.load.test", self._identity))

    def receive(self, _now):
        found = names.addresses(self.socket.recv(4096), self._identity)
        if found != [numbered(self._number)]:
            raise ValueError(f"n{self._number}.load.test is said to be {found}")
        self.done = True


def numbered(number):
    """The address of the name with this number."""
    return f"192.{number >> 16 & 0xFF}.{number >> 8 & 0xFF}.{number & 0xFF}"


class NumberedNames(dict):
    """The table of a `names.NameServer` in which every `nNUMBER.load.test` has its address."""

    def __contains__(self, name):
        return name.startswith("n") and name.endswith(".load.test")

    def get(self, name, default=None):
        return [numbered(int(name[1:].split(".")[0]))] if name in self else default


def datagrams(host, port, flows, each, size, server, queries, limit, at_once=16, still=STILL):
    """So many flows of echoed datagrams, and name queries beside them. Both repeat what was not answered in a second."""
    started = moved = time.monotonic()
    selector = selectors.DefaultSelector()
    everything = flows + queries
    done = repeats = asked = answered = 0
    waiting = set()
    error = None
    stands = False

    def begin(one):
        selector.register(one.socket, selectors.EVENT_READ, one)
        waiting.add(one)
        one.send(time.monotonic())

    try:
        for number in range(flows):
            begin(_Echo(number, host, port, each, size))
        while done < everything:
            while asked < min(queries, answered + at_once):
                begin(_Query(asked, server))
                asked += 1
            now = time.monotonic()
            stands = now - moved > still
            if stands or now - started > limit:
                break
            for key, _ in selector.select(0.1):
                one = key.data
                moved = now = time.monotonic()
                try:
                    one.receive(now)
                except (BlockingIOError, ConnectionRefusedError):
                    continue
                if one.done:
                    done += 1
                    answered += isinstance(one, _Query)
                    selector.unregister(one.socket)
                    one.socket.close()
                    waiting.discard(one)
            for one in waiting:
                if now - one.since > AGAIN:
                    one.repeats += 1
                    repeats += 1
                    one.send(now)
    except (OSError, ValueError) as failure:
        error = f"{type(failure).__name__}: {failure}"
    for one in waiting:
        one.socket.close()
    selector.close()
    return result(done, everything, started, stands, repeats=repeats, wrong=[error] if error else [])

