#!/usr/bin/env bash
# tests/run.sh, and then what takes too long for every change.
set -euo pipefail
cd "$(dirname "$0")/.."

tests/run.sh

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

printf '\n== long: 20,000 cases of each property\n'
PROPTEST_CASES=20000 cargo nextest run --locked --workspace

printf '\n== long: every test again, compiled as it ships\n'
cargo nextest run --locked --workspace --release

printf '\n== long: 1,000 kills\n'
PORTVAKT_KILLS=1000 cargo nextest run --locked --release --no-capture --test gateway -E 'test(kills::)'

printf '\n== long: 1,000 reloads under load\n'
PORTVAKT_RELOADS=1000 cargo nextest run --locked --release --no-capture --test gateway -E 'test(reloads_under_load)'

printf '\n== long: 100 restarts under load\n'
PORTVAKT_RESTARTS=100 cargo nextest run --locked --release --no-capture --test gateway -E 'test(restarts_under_load)'

printf '\n== long: 100,000 strangers, and not one series more\n'
PORTVAKT_STRANGERS=100000 cargo nextest run --locked --release --no-capture --test gateway -E 'test(the_number_of_series)'

printf '\n== long: 10,000 damages to a trail of 100,000 records\n'
PORTVAKT_DAMAGES=10000 cargo nextest run --locked --release --no-capture --lib -E 'test(no_damage_is_missed)'

printf '\n== long: the attack bench, whole\n'
cargo bench --locked --bench attacks

printf '\n== PASSED: the long tests too, in %d min %02d s\n' $((SECONDS / 60)) $((SECONDS % 60))
