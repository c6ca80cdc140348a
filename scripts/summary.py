#!/usr/bin/env python3
"""Reads a test log and prints what ran and what was skipped, suite by suite.

usage: summary.py LOG [--allowed FILE]

A suite prints `SKIP suite/case: reason` for a case that could not run and ends with `N passed, N failed, N skipped`;
Rust's own test programs end with `test result: ...`. With --allowed, a skip that no line of FILE allows is a failure.
A line of FILE is `PATTERN  WORD`: a shell pattern for suite/case and a word that the reason must contain.
"""

import argparse
import collections
import fnmatch
import itertools
import re
import sys

RUNNING = re.compile(r"^\s+(?:Running (?:unittests )?(\S+)|Doc-tests (\S+))")
PROGRAM = re.compile(r"\((?:\S*/)?([A-Za-z0-9_]+)-[0-9a-f]{16}\)")
RUST = re.compile(r"^test result: \S+ (\d+) passed; (\d+) failed; (\d+) ignored")
OWN = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped")
SHOWN = 60  # lines of a failed suite that the summary repeats
SKIP = re.compile(r"SKIP ([A-Za-z0-9_.-]+/\S+?): (.*)$")


def read(path):
    """The suites in order, [name, passed, failed, skipped, finished], the skips (case, reason), and the end of
    what each suite printed."""
    suites, skips, tails = [], [], []
    with open(path, errors="replace") as log:
        for line in log:
            line = re.sub(r"\x1b\[[0-9;]*m", "", line.rstrip("\n"))
            if RUNNING.match(line) or not tails:
                tails.append(collections.deque(maxlen=SHOWN))
            tails[-1].append(line)
            if running := RUNNING.match(line):
                program = PROGRAM.search(line)
                name = program.group(1) if program else running.group(2) or running.group(1)
                kind = " (doc)" if running.group(2) else ""
                suites.append([name + kind, 0, 0, 0, False])
            elif result := RUST.match(line) or OWN.match(line):
                if not suites:
                    suites.append(["?", 0, 0, 0, False])
                for index, count in enumerate(result.groups(), start=1):
                    suites[-1][index] += int(count)
                suites[-1][4] = True
            elif skip := SKIP.search(line):
                skips.append((skip.group(1), skip.group(2)))
    return suites, skips, tails[-max(len(suites), 1) :]


def rules(path):
    """(pattern, word) of each line of the list of allowed skips."""
    out = []
    with open(path) as lines:
        for line in lines:
            line = line.split("#", 1)[0].strip()
            if line:
                pattern, _, word = line.partition(" ")
                out.append((pattern, word.strip()))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log")
    parser.add_argument("--allowed", help="list of allowed skips; any other is a failure")
    args = parser.parse_args()
    suites, skips, tails = read(args.log)
    bad = []
    for suite, tail in itertools.zip_longest(suites, tails):
        if not suite or suite[2] or not suite[4]:
            print(f"--- the last lines of {suite[0] if suite else 'the log'}", *tail, "---", sep="\n")
    print(f"\n{'suite':32} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for name, passed, failed, skipped, finished in suites:
        if passed + failed + skipped or not finished:
            print(f"{name:32} {passed:7} {failed:7} {skipped:8}" + ("" if finished else "   DID NOT FINISH"))
        if failed or not finished:
            bad.append(f"suite {name}: {'failed' if finished else 'did not finish'}")
    if not suites:
        bad.append("no suite ran")
    for case, reason in skips:
        print(f"skipped: {case}: {reason}")
    if args.allowed:
        allowed = rules(args.allowed)
        for case, reason in skips:
            if not any(fnmatch.fnmatch(case, pattern) and word in reason for pattern, word in allowed):
                bad.append(f"skip not allowed by {args.allowed}: {case}: {reason}")
        # A skip that printed no line of its own (an ignored Rust test) cannot be on the list.
        if sum(suite[3] for suite in suites) > len(skips):
            bad.append("more cases were skipped than SKIP lines were printed")
    for line in bad:
        print(f"FAIL {line}")
    total = [sum(suite[index] for suite in suites) for index in (1, 2, 3)]
    print(f"total: {len(suites)} suites, {total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
