"""Through real proxies: Debian's Dante (SOCKS5, with name and password, TCP and UDP ASSOCIATE) and Tinyproxy (HTTP CONNECT, Basic). The
guest of an unmodified slirp4netns knows of neither; rules of OXISLIRP_CONFIG lead its connections there (docs/policy.md, "Elsewhere")."""

import contextlib
import json
import os
import shutil
import socket
import subprocess

from rig import outer, payload, services, waiting
from rig.report import Failure, equal, truth

MIB = 1 << 20
USER, PASSWORD = "guest@one", "p:a ss%"
ESCAPED = "guest%40one:p%3Aa%20ss%25"
WRONG = "guest%40one:other"
# HTTP's file takes neither spaces nor signs.
PLAIN = "guest", "secret"
# Where the proxies' own connections come from: whom the servers see.
LEAVES = outer.OUTSIDE_SECOND
# By these numbers the guest means the same host, each by another way: a network for documentation of which the proxies' side has them all.
SOCKS, HTTP, DENIED, HTTP_DENIED = "203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"

RULES = """
[policy]
default = "deny"
rule = [
  {{ action = "allow", protocol = ["tcp", "udp"], host = "{socks}", proxy = "socks5://{escaped}@127.0.0.1:{dante}" }},
  {{ action = "allow", protocol = "tcp", host = "{http}", proxy = "http://{plain}@127.0.0.1:{tiny}" }},
  {{ action = "allow", protocol = ["tcp", "udp"], host = "{denied}", proxy = "socks5://{wrong}@127.0.0.1:{dante}" }},
  {{ action = "allow", protocol = "tcp", host = "{http_denied}", proxy = "http://{plain}x@127.0.0.1:{tiny}" }},
]
[log]
file = "{log}"
"""

DANTE = """
logoutput: {folder}/danted.log
internal: 127.0.0.1 port = {port}
external: {leaves}
user.privileged: root
user.unprivileged: root
clientmethod: none
socksmethod: username
client pass {{
    from: 127.0.0.0/8 to: 0.0.0.0/0
}}
socks pass {{
    from: 0.0.0.0/0 to: 0.0.0.0/0
    protocol: tcp udp
    command: connect udpassociate
}}
socks pass {{
    from: 0.0.0.0/0 to: 0.0.0.0/0
    protocol: tcp udp
    command: bindreply udpreply
}}
"""

TINYPROXY = """
Port {port}
Listen 127.0.0.1
Bind {leaves}
Timeout 60
MaxClients 100
LogFile "{folder}/tinyproxy.log"
LogLevel Connect
Allow 127.0.0.1
BasicAuth {user} {password}
ConnectPort {target}
"""


class Proxies:
    """Both, with files of their own in a folder."""

    def __init__(self, folder, target):
        self.folder, self.running = folder, []
        self.dante, self.tiny = services.free_port(), services.free_port()
        for name in ("danted", "tinyproxy"):
            truth(shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin"), f"{name} is not installed")
        self._known_user()
        self._start(["danted", "-f"], "danted.conf", DANTE.format(folder=folder, port=self.dante, leaves=LEAVES), self.dante)
        text = TINYPROXY.format(folder=folder, port=self.tiny, leaves=LEAVES, user=PLAIN[0], password=PLAIN[1], target=target)
        self._start(["tinyproxy", "-d", "-c"], "tinyproxy.conf", text, self.tiny)

    def _known_user(self):
        """Dante asks the system for its users: this /etc is the rig's own."""
        done = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=PASSWORD, stdout=subprocess.PIPE, text=True, check=True)
        for name, line in (("passwd", f"{USER}:x:0:0::/:/bin/false"), ("shadow", f"{USER}:{done.stdout.strip()}:1::::::")):
            with open(f"/etc/{name}", "a", encoding="utf-8") as file:
                file.write(line + "\n")

    def _start(self, words, name, text, port):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        log = open(path + ".out", "w+", encoding="utf-8")
        words[0] = shutil.which(words[0], path=os.environ["PATH"] + ":/usr/sbin")
        self.running.append(subprocess.Popen([*words, path], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                             preexec_fn=waiting.die_with_parent))

        def listens():
            if self.running[-1].poll() is not None:
                log.seek(0)
                raise Failure(f"{name}: " + log.read() + self.said())
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
                return True
        waiting.until(listens, 10, name)

    def said(self):
        """The end of what they have written."""
        text = ""
        for name in ("danted.log", "tinyproxy.log"):
            with contextlib.suppress(FileNotFoundError), open(os.path.join(self.folder, name), encoding="utf-8", errors="replace") as file:
                text += file.read()[-1500:]
        return text

    def close(self):
        for process in self.running:
            waiting.end(process)


class Away:
    """What there is behind the proxies: all that the guest means."""

    def __init__(self):
        for address in (SOCKS, HTTP, DENIED, HTTP_DENIED):
            subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
        self.tcp = services.TcpService("0.0.0.0")
        self.udp = services.UdpEcho(SOCKS)


def rules(proxies, log):
    """The file."""
    return RULES.format(socks=SOCKS, http=HTTP, denied=DENIED, http_denied=HTTP_DENIED, escaped=ESCAPED, wrong=WRONG, plain=":".join(PLAIN),
                        dante=proxies.dante, tiny=proxies.tiny, log=log)


def check(report, guest, away, log, proxies):
    """`log` is that of the file."""
    # Tinyproxy ends a connection whole when one side has ended its half, whoever asks it.
    for way, address, word in (("socks", SOCKS, "PUT"), ("http", HTTP, "TAKE")):
        with report.check(f"{way}_comes_from_the_proxy"):
            equal(guest.ask("peer", host=address, port=away.tcp.port)[0], LEAVES, "whom the server sees")
        with report.check(f"{way}_download"):
            equal(guest.ask("get", host=address, port=away.tcp.port, size=8 * MIB)["digest"], payload.digest(8 * MIB), "SHA-256")
        with report.check(f"{way}_upload"):
            got = guest.ask("put", host=address, port=away.tcp.port, size=8 * MIB, word=word)
            equal(got["digest"], got["mine"], "SHA-256")
        with report.check(f"{way}_20_at_once"):
            got = guest.ask("parallel", each="put", count=20, host=address, port=away.tcp.port, size=MIB // 4, word=word)
            equal([one.get("digest") == payload.digest(MIB // 4) for one in got], [True] * 20, "connections that were right")
    with report.check("udp_associate_comes_from_the_proxy"):
        equal(guest.ask("udp_peer", host=SOCKS, port=away.udp.port)[0], LEAVES, "whom the server sees")
    with report.check("udp_associate_all_sizes"):
        sizes = [1, 100, 1400, 1472]
        equal(guest.ask("udp", host=SOCKS, port=away.udp.port, sizes=sizes), sizes, "sizes that came back")
    with report.check("udp_associate_bursts"):
        got = guest.ask("datagrams", host=SOCKS, port=away.udp.port, number=2000, window=32, largest=1400)
        equal(got["back"], 2000, "datagrams that came back")
        report.info(f"2000 datagrams there and back through Dante, {got['again']} of them sent again")
    for way, address in (("socks", DENIED), ("http", HTTP_DENIED)):
        with report.check(f"{way}_wrong_password"):
            got = guest.ask("refused", host=address, port=away.tcp.port, timeout=5)
            truth(got["errno"] != 0 and got["seconds"] < 5, got)
            ends = waiting.until(lambda address=address: ended(log, f"{address}:{away.tcp.port}"), 5, "a line in the log")
            equal(ends, ["proxy-credentials"], "how it ended by the log")
    with report.check("udp_wrong_password"):
        equal(guest.ask("udp", host=DENIED, port=away.udp.port, sizes=[10], timeout=1), [], "answers")


def ended(log, remote):
    """How connections to there have ended."""
    with open(log, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file.read().split("\n")[:-1]]
    return [line["end"] for line in lines if line["event"] == "ended" and line["remote"] == remote]
