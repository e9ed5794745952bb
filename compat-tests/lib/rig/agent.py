"""The other end of `guest_agent.py`: requests and replies over the pipes, or the console, that the agent reads and writes."""

import json
import os
import select
import time

from .report import Failure


class Silent(Failure):
    """The agent did not answer in time."""


class Agent:
    """`write` and `read` are descriptors. Lines that are no reply, as a console brings them, are kept in `said`."""

    def __init__(self, write, read):
        self._write, self._read = write, read
        self._buffer = b""
        self.said = []

    def _reply(self, seconds):
        deadline = time.monotonic() + seconds
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                line = line.strip(b"\r")
                if line.startswith((b'{"value":', b'{"error":')):
                    return json.loads(line)
                self.said = [*self.said[-40:], line.decode("utf-8", "replace")]
                continue
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                raise Silent(f"no answer from the guest in {seconds} s")
            try:
                piece = os.read(self._read, 1 << 16)
            except OSError:
                piece = b""
            if not piece:
                raise Failure("the guest has ended" + "".join(f"; {line}" for line in self.said[-5:]))
            self._buffer += piece

    def ready(self, seconds):
        """Wait for the first line, which says that it is there."""
        value = self._reply(seconds).get("value")
        if value != "ready":
            raise Failure(f"the guest said {value!r} first")

    def ask(self, operation, patience=30, **words):
        """What `op_NAME` of the agent returns; `patience` is how many seconds it may take."""
        data = json.dumps({"op": operation, **words}).encode() + b"\n"
        while data:
            data = data[os.write(self._write, data):]
        reply = self._reply(patience)
        if "error" in reply:
            raise Failure(f"{operation} in the guest: {reply['error']}")
        return reply["value"]
