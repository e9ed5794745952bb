"""What runs inside the guest's network namespace: does what JSON lines on standard input ask for.

A request is `{"op": NAME, ...arguments}`, the reply `{"value": ...}` or `{"error": TEXT, "errno": NUMBER}`. The agent
ends at the end of its input, and with it the namespace.
"""

import hashlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from rig import contest, loads, names, payload, services  # noqa: E402  (the path has to be set first)

GATEWAY = "10.0.2.2"
SERVICES = {}


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def connect(host, port, timeout=30):
    return socket.create_connection((host, port), timeout)


def op_run(words, seconds=30, env=None):
    """Run a program; its status and output."""
    full = dict(os.environ, **(env or {}))
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=seconds, env=full, check=False)
    return {"status": done.returncode, "output": done.stdout.decode("utf-8", "replace")}


def op_get(host, port, size):
    """Download: digest, length and seconds."""
    started = time.monotonic()
    with connect(host, port) as stream:
        stream.sendall(b"GET %d\n" % size)
        found, total = services.read_digest(stream)
    return {"digest": found, "size": total, "seconds": time.monotonic() - started}


def op_put(host, port, size, word="PUT", pause_after=None):
    """Upload, half-close, and read the digest that the other side saw. With the word TAKE it is told the size, and there is no half-close."""
    started = time.monotonic()
    mine = hashlib.sha256()
    with connect(host, port) as stream:
        stream.settimeout(120)
        stream.sendall(f"{word} {size}\n".encode() if word == "TAKE" else f"{word}\n".encode())
        for block in payload.blocks(size):
            mine.update(block)
            stream.sendall(block)
        if word != "TAKE":
            stream.shutdown(socket.SHUT_WR)
        answer = b""
        while True:
            piece = stream.recv(4096)
            if not piece:
                break
            answer += piece
    return {"digest": answer.decode().strip(), "mine": mine.hexdigest(), "seconds": time.monotonic() - started}


def op_inside(host, port, word, size):
    """In the middle of a download (GET) or an upload (PUT): what `ss` shows of the connection; then the rest."""
    with connect(host, port) as stream:
        stream.settimeout(60)
        mine = hashlib.sha256()
        stream.sendall(b"GET %d\n" % size if word == "GET" else b"PUT\n")
        done, text, blocks = 0, "", payload.blocks(size)
        while done < size:
            if word == "GET":
                piece = stream.recv(services.CHUNK)
                if not piece:
                    break
                mine.update(piece)
            else:
                piece = next(blocks)
                stream.sendall(piece)
            done += len(piece)
            if done >= size * 3 // 4 and not text:
                local = stream.getsockname()[1]
                text = op_run(["ss", "-tinoH", "sport", "=", f":{local}"])["output"]
        if word == "GET":
            return {"ss": text, "digest": mine.hexdigest()}
        stream.shutdown(socket.SHUT_WR)
        with stream.makefile() as reader:
            return {"ss": text, "digest": reader.readline().strip()}


def op_tail(host, port, size):
    """We end first; the service answers only afterwards."""
    with connect(host, port) as stream:
        stream.sendall(b"TAIL %d\nsome words" % size)
        stream.shutdown(socket.SHUT_WR)
        found, total = services.read_digest(stream)
    return {"digest": found, "size": total}


def op_first(host, port, size):
    """The service ends first; we go on sending."""
    mine = hashlib.sha256()
    with connect(host, port) as stream:
        stream.sendall(b"FIRST\n")
        heard = b""
        while True:
            piece = stream.recv(100)
            if not piece:
                break
            heard += piece
        for block in payload.blocks(size):
            mine.update(block)
            stream.sendall(block)
    return {"heard": heard.decode(), "digest": mine.hexdigest()}


def op_reset(host, port):
    """The service resets; what do we see?"""
    with connect(host, port, 5) as stream:
        stream.sendall(b"RESET\n")
        try:
            return {"saw": "data" if stream.recv(10) else "end"}
        except ConnectionResetError:
            return {"saw": "reset"}


def op_watch(host, port, how):
    """Tell the service to watch, then end or reset the connection."""
    stream = connect(host, port, 5)
    stream.sendall(b"WATCH\n")
    stream.recv(100)
    if how == "reset":
        services.reset(stream)
    else:
        stream.close()
    return {}


def op_refused(host, port, timeout):
    """Connect where nobody listens: the error's number and how long it took."""
    started = time.monotonic()
    try:
        connect(host, port, timeout).close()
        number, text = 0, "connected"
    except OSError as error:
        number, text = error.errno, str(error)
    return {"errno": number, "text": text, "seconds": time.monotonic() - started}


def op_first_of(addresses, port, timeout=10):
    """Try one address after the other, as programs do with those of a name: the first that is reached."""
    for address in addresses:
        try:
            connect(address, port, timeout).close()
            return address
        except OSError:
            continue
    return None


def op_peer(host, port):
    with connect(host, port, 5) as stream:
        stream.sendall(b"PEER\n")
        return stream.makefile().readline().split()


def op_many(host, port, count, size):
    """So many connections at once, each echoing its own data; the number that were right."""
    right = []
    all_open = threading.Barrier(count)

    def one(number):
        data = (number.to_bytes(4, "big") + payload.data(size))[:size]
        try:
            with connect(host, port) as stream:
                all_open.wait(30)
                stream.sendall(b"ECHO\n")
                writer = threading.Thread(target=lambda: (stream.sendall(data), stream.shutdown(socket.SHUT_WR)))
                writer.start()
                got = bytearray()
                while True:
                    piece = stream.recv(65536)
                    if not piece:
                        break
                    got += piece
                writer.join()
                if got == data:
                    right.append(number)
        except (OSError, threading.BrokenBarrierError):
            return

    workers = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(right)


def op_parallel(each, count, **arguments):
    """The same request so many times at once: a list of the replies."""
    replies = [None] * count

    def one(number):
        try:
            replies[number] = globals()["op_" + each](**arguments)
        except Exception as error:  # the caller sees what became of each
            replies[number] = {"error": f"{type(error).__name__}: {error}"}

    workers = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return replies


def op_start(each, count, **arguments):
    """As `parallel`, without waiting for any of them."""
    threading.Thread(target=op_parallel, args=(each, count), kwargs=arguments, daemon=True).start()


def op_datagrams(host, port, number, window=16, largest=1472, patience=2):
    """So many datagrams through an echo, `window` of them on the way at a time, each asked for up to five times: how many
    came back as they were, and how many were sent again."""
    whole = payload.data(largest)
    back, again, waiting, begun = set(), 0, {}, 0

    def content(which):
        return (which.to_bytes(4, "big") + whole)[:4 + which * 37 % (largest - 3)]

    with socket.socket(family_of(host), socket.SOCK_DGRAM) as one:
        one.connect((host, port))
        one.settimeout(0.05)
        while len(back) < number and (waiting or begun < number):
            while begun < number and len(waiting) < window:
                one.send(content(begun))
                waiting[begun] = (time.monotonic() + patience, 1)
                begun += 1
            try:
                data = one.recv(65536)
                which = int.from_bytes(data[:4], "big")
                if which < number and data == content(which):
                    back.add(which)
                    waiting.pop(which, None)
            except OSError:
                pass
            now = time.monotonic()
            for which, (until, tries) in list(waiting.items()):
                if now >= until and tries == 5:
                    del waiting[which]
                elif now >= until:
                    one.send(content(which))
                    waiting[which] = (now + patience, tries + 1)
                    again += 1
    return {"back": len(back), "again": again}


def op_sequence(host, port, count):
    """So many short connections one after another."""
    for number in range(count):
        with connect(host, port, 5) as stream:
            stream.sendall(b"ECHO\n%d" % number)
            stream.shutdown(socket.SHUT_WR)
            if stream.makefile().read() != str(number):
                return number
    return count


def op_udp(host, port, sizes, timeout=3):
    """Datagrams of these sizes there and back on one socket: the sizes that came back unchanged."""
    good = []
    with socket.socket(family_of(host), socket.SOCK_DGRAM) as one:
        one.settimeout(timeout)
        one.connect((host, port))
        for size in sizes:
            data = payload.data(size)
            for _ in range(2):  # a datagram may be lost while the neighbor is being resolved
                try:
                    one.send(data)
                    if one.recv(65536) == data:
                        good.append(size)
                        break
                except OSError:
                    continue
    return good


def op_udp_digests(host, port, sizes):
    """Datagrams to an echo: SHA-256 of what was sent, and of what came back."""
    return services.echo_digests(host, port, sizes, family_of(host))


def op_udp_refused(host, port, timeout=3):
    """A datagram to a closed port: does the error come back?"""
    with socket.socket(family_of(host), socket.SOCK_DGRAM) as one:
        one.settimeout(timeout)
        one.connect((host, port))
        one.send(b"anybody?")
        try:
            one.recv(100)
            return "answered"
        except ConnectionRefusedError:
            return "refused"
        except OSError as error:
            return str(error)


def op_udp_peer(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(3)
        one.sendto(b"PEER", (host, port))
        return one.recv(100).decode().split()


def op_resolve(server, name, over="udp", tries=1, timeout=2.0, same_socket=True):
    """Ask a name server; addresses found and how many tries it took. The empty list when nothing came."""
    one = None
    for attempt in range(tries):
        number = 0x4100 + (0 if same_socket else attempt)
        try:
            if over == "tcp":
                with connect(server, 53, timeout) as stream:
                    query = names.question(name, number)
                    stream.sendall(len(query).to_bytes(2, "big") + query)
                    with stream.makefile("rb") as reader:
                        head = reader.read(2)
                        answer = reader.read(int.from_bytes(head, "big"))
            else:
                if one is None or not same_socket:
                    one = socket.socket(family_of(server), socket.SOCK_DGRAM)
                    one.settimeout(timeout)
                    one.connect((server, 53))
                one.send(names.question(name, number))
                answer = one.recv(4096)
            return {"addresses": names.addresses(answer, number), "tries": attempt + 1}
        except (OSError, ValueError):
            continue
    return {"addresses": [], "tries": tries}


def op_contest(**words):
    """Connections that never end, see `rig.contest.run`."""
    return contest.run(**words)


def op_streams(**words):
    """See `loads.streams`."""
    return loads.streams(**words)


def op_datagram_streams(**words):
    """See `loads.datagrams`."""
    return loads.datagrams(**words)


def op_mixed(streams, datagrams):
    """Both at once."""
    seen = {}
    other = threading.Thread(target=lambda: seen.update(loads.datagrams(**datagrams)))
    other.start()
    found = loads.streams(**streams)
    other.join()
    return {"done": found["done"] + seen["done"], "total": found["total"] + seen["total"],
            "seconds": max(found["seconds"], seen["seconds"]), "still": found["still"] or seen["still"],
            "repeats": seen["repeats"], "wrong": found["wrong"] + seen["wrong"]}


def op_serve_tcp(address="0.0.0.0", port=0):
    service = services.TcpService(address, family_of(address), port)
    SERVICES[service.port] = service
    return service.port


def op_serve_udp(address="0.0.0.0", port=0):
    service = services.UdpEcho(address, family_of(address), port)
    SERVICES[service.port] = service
    return service.port


def op_free_port():
    return services.free_port(address="0.0.0.0")


def op_record(port, seconds=5):
    """The next record of one of our TCP services."""
    try:
        return SERVICES[port].records.get(timeout=seconds)
    except queue.Empty:
        return None


def op_bypass(name):
    """One row of the table of bypasses."""
    # Only here: it wants python3-cryptography, which a guest without a policy does without.
    from bypass import table

    return table.run(name)


def op_read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def main():
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing but replies may reach the caller
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print(json.dumps({"value": "ready"}), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = {"value": globals()["op_" + request.pop("op")](**request)}
        except Exception as error:  # the caller turns it into a failed check
            reply = {"error": f"{type(error).__name__}: {error}", "errno": getattr(error, "errno", None)}
        print(json.dumps(reply), file=out, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
