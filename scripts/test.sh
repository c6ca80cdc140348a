#!/bin/bash
# Runs every suite and then says what ran and what was skipped. Exits with 1 when a suite failed.
set -uo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
log=$target/test.log
: >"$log"
# --no-fail-fast: one run tells everything. Output is not captured: a skipped case must be seen.
RUST_BACKTRACE=${RUST_BACKTRACE:-1} ${CARGO:-cargo} test --locked --workspace --no-fail-fast -- --nocapture 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
python3 scripts/summary.py "$log" || code=1
exit "$code"
