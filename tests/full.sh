#!/usr/bin/env bash
# tests/run.sh, and then what takes too long for every change.
set -euo pipefail
cd "$(dirname "$0")/.."

tests/run.sh

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

printf '\n== long: 20,000 cases of each property\n'
PROPTEST_CASES=20000 cargo nextest run --locked --workspace

printf '\n== long: 2 GiB, the most that a body may have, up and down through the gateway\n'
grep -rq PORTVAKT_TEST_GIB --include='*.rs' tests || {
  echo 'error: no test reads PORTVAKT_TEST_GIB' >&2
  exit 1
}
PORTVAKT_TEST_GIB=2 cargo nextest run --locked -E 'test(/memory|gib/)'

printf '\n== PASSED: the long tests too, in %d min %02d s\n' $((SECONDS / 60)) $((SECONDS % 60))
