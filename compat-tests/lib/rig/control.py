"""A client of the library's control socket: docs/control.md."""

import json
import socket

from .report import equal, truth


class Control:
    """A client of the control socket."""

    def __init__(self, path):
        self.stream = socket.socket(socket.AF_UNIX)
        self.stream.settimeout(20)
        self.stream.connect(path)
        self.lines = self.stream.makefile("r", encoding="utf-8")
        equal(json.loads(self.lines.readline())["oxislirp"], 1, "version of the protocol")

    def ask(self, word, **members):
        self.stream.sendall((json.dumps(dict(members, do=word, id=1)) + "\n").encode())
        return json.loads(self.lines.readline())

    def ok(self, word, **members):
        answer = self.ask(word, **members)
        truth("ok" in answer, f"{word}: {answer}")
        return answer["ok"]

    def close(self):
        self.lines.close()
        self.stream.close()
