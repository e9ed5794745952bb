"""A guest for slirp4netns: a network namespace with an agent in it, and slirp4netns attached to it."""

import contextlib
import json
import os
import socket
import subprocess
import sys

LIB = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib")
sys.path.insert(0, LIB)

from rig import library, outer, waiting  # noqa: E402  (the path has to be set first)
from rig.report import Failure, truth  # noqa: E402


class Guest:
    """A network namespace with the agent in it, and a slirp4netns attached to it."""

    def __init__(self, options, folder, attach=True, preload=None, config=None):
        flags = ["-r", "-n"] if outer.user_namespaces() else ["-n"]
        self.agent = subprocess.Popen(
            ["unshare", *flags, sys.executable, os.path.join(LIB, "guest_agent.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=waiting.die_with_parent)
        self._stuck = False
        self._reply(10)
        self.api = os.path.join(folder, "api")
        self.log = open(os.path.join(folder, "log"), "w+", encoding="utf-8")
        self.slirp = None
        self.preload = preload
        self.config = config
        if attach:
            self.start(options)

    def start(self, options):
        """Start slirp4netns and wait until it says that it is ready."""
        ready, ready_child = os.pipe()
        exit_child, self.exit = os.pipe()
        words = ["slirp4netns", f"--ready-fd={ready_child}", f"--exit-fd={exit_child}", f"--api-socket={self.api}",
                 *options, str(self.agent.pid), "tap0"]
        env = library.environment()
        if self.preload:
            env["LD_PRELOAD"] = self.preload
        if self.config:
            env["OXISLIRP_CONFIG"] = self.config
        self.slirp = subprocess.Popen(words, pass_fds=(ready_child, exit_child), env=env,
                                      stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                      preexec_fn=waiting.die_with_parent)
        os.close(ready_child)
        os.close(exit_child)
        try:
            waiting.readable(ready, 10, "slirp4netns to be ready")
            if os.read(ready, 1) != b"1":
                raise Failure("slirp4netns ended: " + self.said())
        finally:
            os.close(ready)

    def said(self):
        self.log.flush()
        self.log.seek(0)
        return " | ".join(self.log.read().split("\n"))[-600:]

    def _reply(self, seconds):
        try:
            waiting.readable(self.agent.stdout, seconds, "the guest's agent")
        except Failure:
            self._stuck = True
            raise
        line = self.agent.stdout.readline()
        if not line:
            self._stuck = True
            raise Failure("the guest's agent ended")
        reply = json.loads(line)
        if "error" in reply:
            raise Failure("guest: " + reply["error"])
        return reply["value"]

    def ask(self, op, within=90, **arguments):
        """Let the guest do something (see guest_agent.py) and return what came out."""
        self.post(op, **arguments)
        return self._reply(within)

    def post(self, op, **arguments):
        """As `ask`, without waiting; `answer` fetches the result. An agent that once gave no answer stays given up."""
        if self._stuck:
            raise Failure("the guest's agent did not answer before")
        self.agent.stdin.write(json.dumps(dict(arguments, op=op)) + "\n")
        self.agent.stdin.flush()

    def answer(self, within=90):
        return self._reply(within)

    def command(self, *words, seconds=30):
        """Run a program in the guest; its output, or a failure when it fails."""
        done = self.ask("run", words=list(words), seconds=seconds, within=seconds + 10)
        truth(done["status"] == 0, f"{' '.join(words)}: status {done['status']}: {done['output'][-300:]}")
        return done["output"]

    def request(self, execute, **arguments):
        """One request over the API socket of slirp4netns."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(5)
            stream.connect(self.api)
            message = {"execute": execute}
            if arguments:
                message["arguments"] = arguments
            stream.sendall(json.dumps(message).encode())
            stream.shutdown(socket.SHUT_WR)
            answer = b""
            while True:
                piece = stream.recv(65536)
                if not piece:
                    return json.loads(answer)
                answer += piece

    def forward(self, proto, host_port, guest_port, host="127.0.0.1", **more):
        """Add a host forward and return its number."""
        answer = self.request("add_hostfwd", proto=proto, host_addr=host, host_port=host_port, guest_port=guest_port,
                              **more)
        truth("return" in answer, f"add_hostfwd answered {answer}")
        return answer["return"]["id"]

    def forwards(self):
        """The host forwards that slirp4netns lists."""
        return self.request("list_hostfwd")["entries"]

    def stop(self):
        """End slirp4netns the regular way, by its exit descriptor; its exit status."""
        if self.slirp is None:
            return 0
        os.close(self.exit)
        process, self.slirp = self.slirp, None
        try:
            return process.wait(10)
        except subprocess.TimeoutExpired:
            waiting.end(process)
            raise Failure("slirp4netns did not end at its exit descriptor") from None

    def close(self):
        with contextlib.suppress(Failure):
            self.stop()
        self.agent.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.agent.wait(5)
        waiting.end(self.agent)
        self.agent.stdout.close()
        self.log.close()
