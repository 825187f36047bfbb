#!/usr/bin/env bash
# The benchmark in one command: installs the yardsticks, builds everything as it ships, measures, and
# writes docs/performance.md and docs/performance.svg. Arguments go to the benchmark (--help).
set -euo pipefail
cd "$(dirname "$0")/../.."

# Debian packages, and what needs them.
packages=(
  "nginx          what everything is compared with"
  "haproxy        another proxy that people run"
  "nghttp2-client h2load, which makes the load"
  "strace         counts system calls"
  "cmake          builds a part of pingora-proxy"
  "curl           logs in"
)

missing=()
for line in "${packages[@]}"; do
  name="${line%% *}"
  if ! dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q '^install ok installed$'; then
    echo "installing $line"
    missing+=("$name")
  fi
done
if [[ ${#missing[@]} -gt 0 ]]; then
  as_root=()
  [[ $(id -u) -eq 0 ]] || as_root=(sudo)
  guard=/usr/sbin/policy-rc.d
  if [[ ! -e $guard ]]; then
    # A package may bring a service; none shall be started.
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$guard" >/dev/null
    "${as_root[@]}" chmod 755 "$guard"
    trap '"${as_root[@]}" rm -f "$guard"' EXIT
  fi
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

# Each in its own folder, whatever the caller has set: the benchmark looks for them there.
unset CARGO_TARGET_DIR
cargo build --locked --profile dist --bin portvakt
cargo build --locked --profile dist --manifest-path tests/bench/Cargo.toml -p yardsticks
cargo build --locked --release --manifest-path tests/bench/Cargo.toml -p bench
target/dist/portvakt certs dev --dir certs/dev

ulimit -n "$(ulimit -Hn)"
# What is measured has core 0; the load and the application behind it have core 1.
exec taskset -c 1 tests/bench/target/release/bench "$@"
