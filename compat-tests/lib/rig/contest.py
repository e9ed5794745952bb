"""Connections that never end, to see how directions and connections share a link.

The host's end is a `Pit`: a connection whose first octet is `u` is read from for ever, one with `d` written to. The guest's
end opens them (`run`). What counts is what arrived, in a time in which all of them were there.
"""

import selectors
import socket
import threading
import time

from .loads import family_of
from .services import StreamService

CHUNK = 1 << 18
BLOCK = bytes(CHUNK)


class Pit(StreamService):
    """See the head of this file. `taken` is what each upload has brought so far, in the order in which they came."""

    def __init__(self, address="127.0.0.1", family=socket.AF_INET):
        self.taken = []
        self._lock = threading.Lock()
        super().__init__(family, (address, 0), 256)
        self.port = self._listener.getsockname()[1]

    def _one(self, connection, peer):
        with connection:
            try:
                if connection.recv(1) == b"u":
                    with self._lock:
                        number = len(self.taken)
                        self.taken.append(0)
                    into = bytearray(CHUNK)
                    while count := connection.recv_into(into):
                        self.taken[number] += count
                else:
                    while True:
                        connection.sendall(BLOCK)
            except OSError:
                return


def run(host, port, up, down, settle, seconds):
    """Open `up` uploads and `down` downloads; after `settle` seconds tell `measured` and go on for `seconds`. Returns what
    each download has brought in that time, and the moments (of the clock that all processes share) between which it was."""
    selector = selectors.DefaultSelector()
    taken = []
    for kind, count in ((b"d", down), (b"u", up)):
        for _ in range(count):
            one = socket.create_connection((host, port), 20)
            one.sendall(kind)
            one.setblocking(False)
            if kind == b"d":
                selector.register(one, selectors.EVENT_READ, len(taken))
                taken.append(0)
            else:
                selector.register(one, selectors.EVENT_WRITE, None)
    into = bytearray(CHUNK)
    begin = time.monotonic() + settle
    end = begin + seconds
    before = None
    while (now := time.monotonic()) < end:
        if before is None and now >= begin:
            before, begin = list(taken), now
        for key, _ in selector.select(0.1):
            try:
                if key.data is None:
                    key.fileobj.send(BLOCK)
                else:
                    taken[key.data] += key.fileobj.recv_into(into)
            except BlockingIOError:
                continue
    end = time.monotonic()
    found = [after - earlier for earlier, after in zip(before or taken, taken)]
    for key in list(selector.get_map().values()):
        key.fileobj.close()
    selector.close()
    return {"taken": found, "begin": begin, "end": end}
