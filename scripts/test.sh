#!/bin/bash
# Runs every suite, shows what counts of it while it runs, and then says what ran and what was skipped.
# Everything that was printed is in the log. Exits with 1 when a suite failed or, with CI set, on a skip that
# .ci/allowed-skips does not allow.
set -uo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
log=$target/test.log
: >"$log"
# The programs and the tests in one build: apart, their features differ and every dependency is compiled twice.
${CARGO:-cargo} build --locked --workspace --bins --tests || exit 1
echo "test: everything that is printed goes to $log"
shown='^ +(Running|Doc-tests) |^ *(FAIL|SKIP|SKIPPED|CLOSED)\b|^[0-9]+ passed, |^test result: |^error|^warning: unused|FAILED$'
# --no-fail-fast: one run tells everything. Output is not captured: a skipped case must be seen.
RUST_BACKTRACE=${RUST_BACKTRACE:-1} ${CARGO:-cargo} test --locked --workspace --no-fail-fast -- --nocapture 2>&1 |
    tee "$log" | grep --line-buffered -E "$shown"
code=${PIPESTATUS[0]}
python3 scripts/summary.py "$log" ${CI:+--allowed .ci/allowed-skips} || code=1
exit "$code"
