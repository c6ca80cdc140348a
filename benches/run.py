#!/usr/bin/env python3
"""Side-by-side load bench: weir, Envoy, HAProxy and NGINX do the same work on the same pinned core.

The proxy runs on CPU 0, backend and load generator on CPU 1, all on loopback. Repetitions alternate between the
proxies, so that a slow minute of the machine falls on all. Raw results: benches/results/NAME.jsonl; beside it the
table (.txt) and a chart (.svg). Exit 1 when a bar is missed.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import measure
import peers
import report
from scenarios import NEEDS, SCENARIOS, Context

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", default="all", help=f"comma list of {','.join(SCENARIOS)}, or all")
    parser.add_argument("--proxies", default="weir,envoy,haproxy,nginx")
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--warm", type=float, default=1.5, help="seconds before the counted window")
    parser.add_argument("--duration", type=float, default=6, help="seconds of the counted window")
    parser.add_argument("--rate", type=int, default=10000, help="requests per second of ar, br and dr")
    parser.add_argument("--base-port", type=int, default=18000)
    parser.add_argument("--name", default=time.strftime("%Y%m%d-%H%M%S"), help="name of the result files")
    parser.add_argument("--no-bars", action="store_true", help="do not fail on a missed bar")
    return parser.parse_args()


def wanted(text):
    """The scenarios asked for, those they are compared with first."""
    names = list(SCENARIOS) if text == "all" else text.split(",")
    for name in names:
        if name not in SCENARIOS:
            raise SystemExit(f"unknown scenario '{name}'; one of {', '.join(SCENARIOS)}")
    out = []
    for name in names:
        out += [extra for extra in NEEDS.get(name, []) if extra not in out] + [name]
    return list(dict.fromkeys(out))


def programs():
    """Where the proxies are: weir from this workspace, Envoy from the virtual environment, the others from the PATH."""
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    envoy = next((ROOT / ".venv").glob("lib/python*/site-packages/envoy/_bin/envoy"), ROOT / ".venv/bin/envoy")
    return {
        "weir": os.environ.get("WEIR_BIN", str(TARGET / "weir")),
        "envoy": os.environ.get("ENVOY_BIN", str(envoy)),
        "haproxy": shutil.which("haproxy", path=search) or "haproxy",
        "nginx": shutil.which("nginx", path=search) or "nginx",
    }


def one_run(name, proxy, args, out, where):
    """Starts the proxy afresh, runs the scenario once, returns the result."""
    scenario = SCENARIOS[name]
    upstream = args.base_port + (2 if scenario.bodies > 100 else 0)
    listen = args.base_port + 1
    log = str(out / f"access-{proxy}.log") if scenario.log else None
    argv = peers.command(proxy, scenario.kind, listen, upstream, out, where, scenario.workers, log, scenario.table)
    cpu = measure.BOTH_CPUS if scenario.workers > 1 else measure.PROXY_CPU
    child = measure.start(cpu, argv, listen, out / f"{proxy}.log")
    try:
        time.sleep(0.8 if proxy == "envoy" else 0.3)
        pids = measure.tree(child.pid)
        context = Context(listen, pids, str(TARGET), str(out), args.warm, args.duration, args.rate)
        result = scenario.run(context)
        result.setdefault("rss_mb", measure.memory_mb(pids))
        return result
    finally:
        measure.stop(child)
        if log and os.path.exists(log):
            os.unlink(log)


def main():
    args = arguments()
    out = ROOT / "benches" / "out"
    out.mkdir(parents=True, exist_ok=True)
    folder = ROOT / "benches" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    raw = folder / f"{args.name}.jsonl"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    where = programs()
    ports = [str(args.base_port), f"{args.base_port + 2}={1 << 20}"]
    backend = measure.start(measure.LOAD_CPU, [str(TARGET / "be")] + ports, args.base_port, out / "backend.log")
    results, broken = [], []
    try:
        for name in wanted(args.scenarios):
            scenario = SCENARIOS[name]
            for rep in range(args.reps):
                for proxy in (p for p in args.proxies.split(",") if p in scenario.peers):
                    try:
                        result = one_run(name, proxy, args, out, where)
                    except RuntimeError as error:
                        broken.append(f"{name} {proxy}: {error}")
                        print(f"!! {broken[-1]}", flush=True)
                        continue
                    result |= {"scenario": name, "proxy": proxy, "rep": rep, "time": time.time()}
                    result["commit"] = commit.stdout.strip()
                    results.append(result)
                    with open(raw, "a") as sink:
                        sink.write(json.dumps(result) + "\n")
                    if result.get("errors"):
                        broken.append(f"{name} {proxy}: {result['errors']} failed requests")
            print(report.table([r for r in results if r["scenario"] == name]), flush=True)
    finally:
        measure.stop(backend)
    held = report.bars(results)
    lines = [report.table(results), ""]
    for bar, figure, limit, unit, ok in held:
        lines.append(f"{'PASS' if ok else 'FAIL'}  {bar}: {report.cell(figure, 3)} {unit} (limit {limit} {unit})")
    lines += [f"BROKEN  {line}" for line in broken]
    text = "\n".join(lines) + "\n"
    raw.with_suffix(".txt").write_text(text)
    raw.with_suffix(".svg").write_text(report.chart(results))
    print("\n" + "\n".join(lines[1:]))
    print(f"raw results {raw.relative_to(ROOT)}, table and chart beside it")
    return 1 if broken or (not args.no_bars and not all(bar[4] for bar in held)) else 0


if __name__ == "__main__":
    sys.exit(main())
