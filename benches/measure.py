"""Starting pinned processes and reading what they cost.

The figure that counts is CPU time per request of the proxy's whole process tree, from the scheduler's nanosecond
clock: it does not depend on which of proxy, backend and load generator is the bottleneck.
"""

import os
import pathlib
import re
import signal
import socket
import subprocess
import time

PROXY_CPU, LOAD_CPU = "0", "1"
BOTH_CPUS = "0,1"
# Shields a run from other work on the machine. Needs root; nice alone does nothing across sessions, so the session's
# own weight (autogroup) is raised too.
SHIELD = os.geteuid() == 0 and not os.environ.get("NO_RENICE")


def spawn(cpu, argv, **pipes):
    """Starts a program pinned to a CPU, in a session of its own."""
    nice = ["nice", "-n", "-15"] if SHIELD else []
    child = subprocess.Popen(nice + ["taskset", "-c", cpu] + argv, start_new_session=True, **pipes)
    if SHIELD:
        try:
            pathlib.Path(f"/proc/{child.pid}/autogroup").write_text("-15")
        except OSError:
            pass  # a kernel without autogroups has nothing to raise
    return child


def start(cpu, argv, port, log):
    """Starts a server and waits until it accepts on `port`."""
    if not pathlib.Path(argv[0]).exists():
        raise RuntimeError(f"{argv[0]} does not exist; `make bench` builds or installs it")
    with open(log, "ab") as sink:
        child = spawn(cpu, argv, stdout=sink, stderr=sink)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return child
        except OSError:
            time.sleep(0.05)
        if child.poll() is not None:
            break
    stop(child)
    raise RuntimeError(f"{' '.join(argv)}: did not start; see {log}")


def stop(child):
    """Ends a process tree, politely first."""
    for wait, sign in ((3, signal.SIGTERM), (3, signal.SIGKILL)):
        for pid in reversed(tree(child.pid)):
            try:
                os.kill(pid, sign)
            except ProcessLookupError:
                pass
        try:
            child.wait(wait)
            return
        except subprocess.TimeoutExpired:
            continue


def tree(root):
    """The process and its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(entry))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_ns(pids):
    """Nanoseconds of CPU that the processes' threads have used."""
    total = 0
    for pid in pids:
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for thread in threads:
            try:
                total += int(pathlib.Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
            except OSError:
                continue
    return total


def memory_mb(pids, field="VmRSS"):
    """Sum of a memory field of /proc/PID/status, in MiB (VmRSS now, VmHWM at its peak)."""
    total = 0
    for pid in pids:
        try:
            found = re.search(field + r":\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
        except OSError:
            continue
        total += int(found.group(1)) if found else 0
    return total / 1024


def busy_ticks(cpu):
    """Ticks that a CPU has been busy, whoever ran on it."""
    for line in open("/proc/stat"):
        fields = line.split()
        if fields[0] == f"cpu{cpu}":
            values = [int(value) for value in fields[1:]]
            return sum(values[:3]) + values[5] + values[6]
    return 0


class Window:
    """CPU used by the proxy between `begin` and `end`, and the share of its core that others took meanwhile."""

    def __init__(self, pids):
        self.pids = pids

    def begin(self):
        self.cpu, self.ticks, self.at = cpu_ns(self.pids), busy_ticks(PROXY_CPU), time.monotonic()

    def end(self, requests):
        cpu, span = cpu_ns(self.pids) - self.cpu, time.monotonic() - self.at
        own = cpu / 1e9 / span
        all_busy = (busy_ticks(PROXY_CPU) - self.ticks) / os.sysconf("SC_CLK_TCK") / span
        return {
            "cpu_us": cpu / 1000 / max(1, requests),
            "utilisation": round(own, 3),
            "others_on_core": round(max(0.0, all_busy - own), 3),
        }
