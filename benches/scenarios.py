"""What is run: one entry a scenario, each a few lines over the load tools."""

import dataclasses
import json
import os
import re
import resource
import socket
import subprocess
import time

import measure
import peers

HOST = "svc.mesh.local"


@dataclasses.dataclass
class Context:
    """What a scenario needs to know of the run."""

    port: int
    pids: list
    tools: str
    out: str
    warm: float
    duration: float
    rate: int


@dataclasses.dataclass
class Scenario:
    """A row of the table. `peers`: who takes part; `bodies`: bytes of an HTTP/2 response; `log`: access log on."""

    title: str
    kind: str
    run: object
    peers: tuple = ("weir", "envoy", "haproxy", "nginx")
    bodies: int = 100
    log: bool = False
    workers: int = 1
    table: tuple = None


def h1_load(context, path, connections, rate=0, host=HOST):
    """Our own load generator: closed loop, or a fixed rate without coordinated omission."""
    argv = [context.tools + "/lg", str(context.port), path, str(connections), str(rate)]
    argv += [str(context.warm), str(context.duration), host]
    child = measure.spawn(measure.LOAD_CPU, argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    window = measure.Window(context.pids)
    ended = None
    trouble = []
    for line in child.stderr:
        if line.startswith("START"):
            window.begin()
        elif line.startswith("END"):
            ended = window.end(1)
        else:
            trouble.append(line.strip())
    text = child.stdout.read()
    if child.wait() or ended is None:
        raise RuntimeError("load generator: " + "; ".join(trouble))
    result = json.loads(text)
    ended["cpu_us"] /= max(1, result["requests"])
    return result | ended


def h2_load(context, clients, streams, rate=None):
    """nghttp2's h2load; its log gives every request's latency."""
    log = f"{context.out}/h2load.log"
    if os.path.exists(log):
        os.unlink(log)
    base = ["h2load", f"-c{clients}", f"-m{streams}", "-H", "x-trace: 0123456789abcdef"]
    if rate:
        base.append(f"--rps={rate / clients}")
    url = f"http://127.0.0.1:{context.port}/s"
    warm = base + ["-D", str(max(1, int(context.warm))), url]
    measure.spawn(measure.LOAD_CPU, warm, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait()
    window = measure.Window(context.pids)
    window.begin()
    argv = base + ["-D", str(max(1, int(context.duration))), f"--log-file={log}", url]
    child = measure.spawn(measure.LOAD_CPU, argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    text = child.communicate()[0]
    done = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded", text)
    rps = re.search(r"finished in [\d.]+s, ([\d.]+) req/s, ([\d.]+)([KMG]?)B/s", text)
    if not done or not rps or not int(done.group(1)):
        raise RuntimeError("h2load: " + text[-400:])
    latencies = []
    with open(log) as lines:
        latencies = sorted(int(line.split("\t")[2]) for line in lines)
    os.unlink(log)
    at = lambda share: latencies[int(share * (len(latencies) - 1))] if latencies else 0
    scale = {"": 1e-6, "K": 1.024e-3, "M": 1.048576, "G": 1073.7}[rps.group(3)]
    requests = int(done.group(1))
    result = {
        "requests": requests,
        "rps": float(rps.group(1)),
        "p50_us": at(0.5),
        "p99_us": at(0.99),
        "mb_per_s": float(rps.group(2)) * scale,
        "errors": requests - int(done.group(2)),
    }
    return result | window.end(requests)


def request(path):
    """The bytes of a GET that keeps the connection open."""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nuser-agent: bench/1\r\n\r\n".encode()


def one_request(sock):
    """A request on an open connection, and all of its answer."""
    sock.sendall(request("/s"))
    got = b""
    while not got.endswith(b"x" * 100):
        more = sock.recv(65536)
        if not more:
            raise RuntimeError("the connection was closed")
        got += more


def settled_mb(pids, patience=10.0):
    """Resident memory once it falls no more: what starting took may be given back late."""
    until = time.monotonic() + patience
    last = measure.memory_mb(pids)
    while time.monotonic() < until:
        time.sleep(1)
        now = measure.memory_mb(pids)
        if now > last - 0.1:
            break
        last = now
    return min(last, now)


def idle_connections(context, count=5000, warm=1000):
    """Resident memory per connection that has made one request and waits for its next. The first `warm` ones do not
    count: until then a proxy may give back what its start took."""
    sockets = []
    try:
        for _ in range(warm):
            sockets.append(socket.create_connection(("127.0.0.1", context.port)))
            one_request(sockets[-1])
        before = settled_mb(context.pids)
        for _ in range(count):
            sockets.append(socket.create_connection(("127.0.0.1", context.port)))
            one_request(sockets[-1])
        time.sleep(1)
        after = measure.memory_mb(context.pids)
    finally:
        for sock in sockets:
            sock.close()
    return {"requests": count, "kib_per_connection": (after - before) * 1024 / count, "cpu_us": 0, "rps": 0}


def unread_clients(context, count=1000):
    """Peak memory while many clients ask for 10 MiB each and read nothing."""
    sockets = []
    peak = 0.0
    try:
        for _ in range(count):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", context.port))
            sock.sendall(request("/h"))
            sockets.append(sock)
        until = time.monotonic() + max(5.0, context.duration)
        while time.monotonic() < until:
            time.sleep(0.2)
            peak = max(peak, measure.memory_mb(context.pids, "VmHWM"))
    finally:
        for sock in sockets:
            sock.close()
    return {"requests": count, "peak_mb": peak, "cpu_us": 0, "rps": 0}


def table_load(table):
    """Requests that only the last row of a route table matches, 16 connections."""
    _, host, path = peers.route_table(*table)
    return lambda context: h1_load(context, path, 16, host=host)


MESH = ("weir", "envoy")
SCENARIOS = {
    "a": Scenario("HTTP/1 100 B, 64 connections", "h1", lambda c: h1_load(c, "/s", 64)),
    "ar": Scenario("HTTP/1 100 B at a fixed rate", "h1", lambda c: h1_load(c, "/s", 64, c.rate)),
    "b": Scenario("HTTP/1 16 KiB, 64 connections", "h1", lambda c: h1_load(c, "/m", 64)),
    "br": Scenario("HTTP/1 16 KiB at a fixed rate", "h1", lambda c: h1_load(c, "/m", 64, c.rate)),
    "c": Scenario("HTTP/1 1 MiB, 16 connections", "h1", lambda c: h1_load(c, "/l", 16)),
    "d": Scenario("HTTP/2 100 B, 8 clients x 32 streams", "h2", lambda c: h2_load(c, 8, 32)),
    "dr": Scenario("HTTP/2 100 B at a fixed rate", "h2", lambda c: h2_load(c, 8, 32, c.rate)),
    "d1": Scenario("HTTP/2 100 B, 64 clients x 1 stream", "h2", lambda c: h2_load(c, 64, 1)),
    "dl": Scenario("HTTP/2 1 MiB, 8 clients x 4 streams", "h2", lambda c: h2_load(c, 8, 4), bodies=1 << 20),
    "g": Scenario("TCP 1 MiB, 16 connections", "tcp", lambda c: h1_load(c, "/l", 16)),
    "h": Scenario("5000 idle HTTP/1 connections", "h1", idle_connections),
    "log": Scenario("HTTP/1 100 B, access log on", "h1", lambda c: h1_load(c, "/s", 64), peers=MESH, log=True),
    "two": Scenario("HTTP/1 100 B, two workers", "h1", lambda c: h1_load(c, "/s", 64), peers=MESH, workers=2),
    "unread": Scenario("1000 clients that do not read 10 MiB", "h1", unread_clients, peers=MESH),
}
SIZES = (1, 10000)
for _kind in ("vhosts", "prefix", "path"):
    for _size in SIZES:
        SCENARIOS[f"{_kind}-{_size}"] = Scenario(
            f"route table, {_kind}, {_size}", "h1", table_load((_kind, _size)), peers=MESH, table=(_kind, _size)
        )
# Scenarios whose bar is a difference to another scenario of the same run.
NEEDS = {"log": ["a"], "two": ["a"]} | {f"{kind}-10000": [f"{kind}-1"] for kind in ("vhosts", "prefix", "path")}
resource.setrlimit(resource.RLIMIT_NOFILE, (min(20000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
