#!/usr/bin/env python3
"""Instructions per request on the hot path, counted by valgrind's callgrind.

weir runs twice, for few and for many requests; the difference divided by the requests between them is the cost of one,
start-up excluded. The count hardly varies from run to run, so that a regression of a few per cent shows where a timing
would drown it. The last figures stand in benches/results/instructions.json; exit 1 when one has grown by more than
--tolerance. --update writes the new ones.
"""

import argparse
import json
import pathlib
import re
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import measure
import peers
import run
import scenarios

FEW, MANY = 480, 2560
CONNECTIONS = 16
START_TIMEOUT_S = 60  # valgrind starts slowly


def h1(port, count, path="/s"):
    """Rounds of one request on each of 16 connections: a worker finds several of them ready at once, as under load."""
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    streams = [sock.makefile("rb") for sock in sockets]
    for _ in range(count // CONNECTIONS):
        for sock in sockets:
            sock.sendall(scenarios.request(path))
        for stream in streams:
            answer(stream)
    for sock in sockets:
        sock.close()


def answer(stream):
    """Reads one answer."""
    length = None
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    if length is None or len(stream.read(length)) != length:
        raise RuntimeError("an answer was cut short")


def h2(port, count):
    """h2load: one connection, eight streams."""
    argv = ["h2load", "-c1", "-m8", f"-n{count}", f"http://127.0.0.1:{port}/s"]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    if f"{count} succeeded" not in text:
        raise RuntimeError("h2load: " + text[-300:])


CASES = {"h1-100b": ("h1", h1), "h1-16k": ("h1", lambda p, n: h1(p, n, "/m")), "h2-100b": ("h2", h2)}


def counted(name, requests, ports, out, weir):
    """Instructions that one weir executes from start to end while it serves `requests`."""
    kind, send = CASES[name]
    listen, upstream = ports
    profile = out / f"callgrind.{name}.{requests}"
    argv = peers.command("weir", kind, listen, upstream, out, {"weir": weir})
    argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}"] + argv
    with open(out / "callgrind.log", "ab") as log:
        child = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(START_TIMEOUT_S * 10):
            try:
                socket.create_connection(("127.0.0.1", listen), 1).close()
                break
            except OSError:
                if child.poll() is not None:
                    raise RuntimeError(f"weir ended under valgrind; see {out}/callgrind.log")
                measure.time.sleep(0.1)
        else:
            raise RuntimeError("weir did not listen under valgrind")
        send(listen, requests)
    finally:
        measure.stop(child)
    found = re.search(r"^(?:totals|summary): (\d+)", profile.read_text(), re.M)
    if not found:
        raise RuntimeError(f"no total in {profile}")
    return int(found.group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-port", type=int, default=18100)
    parser.add_argument("--tolerance", type=float, default=0.05)
    parser.add_argument("--update", action="store_true")
    args = parser.parse_args()
    out = run.ROOT / "benches" / "out"
    out.mkdir(parents=True, exist_ok=True)
    weir = run.programs()["weir"]
    if not pathlib.Path(weir).exists():
        raise SystemExit(f"{weir} does not exist; `make bench-instructions` builds it")
    book = run.ROOT / "benches" / "results" / "instructions.json"
    before = json.loads(book.read_text()) if book.exists() else {}
    ports = (args.base_port + 1, args.base_port)
    backend = measure.start(measure.LOAD_CPU, [str(run.TARGET / "be"), str(ports[1])], ports[1], out / "backend.log")
    now, grown = {}, []
    try:
        for name in CASES:
            few, many = (counted(name, count, ports, out, weir) for count in (FEW, MANY))
            now[name] = round((many - few) / (MANY - FEW))
            change = now[name] / before[name] - 1 if before.get(name) else 0.0
            print(f"{name:10} {now[name]:8} instructions per request" + (f"  {change:+.1%}" if before else ""))
            if change > args.tolerance:
                grown.append(name)
    finally:
        measure.stop(backend)
    if args.update or not before:
        book.parent.mkdir(exist_ok=True)
        book.write_text(json.dumps(now, indent=1) + "\n")
    if grown:
        print(f"FAIL grown by more than {args.tolerance:.0%}: {', '.join(grown)} (accept with --update)")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
