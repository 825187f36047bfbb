#!/usr/bin/env bash
# Every test, on a fresh Debian 12: installs what is missing (as root or with sudo) and says what.
# Whatever is missing and cannot be had makes this fail; nothing is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian packages, and what needs them.
packages=(
  "gcc            links, and compiles the C parts of aws-lc-rs and psm"
  "libc6-dev      the C library's headers, for the same"
  "git            keeps the advisory database of cargo-deny"
  "ca-certificates lets cargo and git fetch"
  "curl           shows the calls of the README"
  "openssl        reads the development certificates with other eyes than ours"
  "chromium       the browser of the browser tests"
  "chromium-driver drives it"
  "fonts-dejavu-core the letters on its screenshots"
  "python3-venv   the virtual environment of the tests' mail and calendar servers"
  "postgresql     a directory in a database; the tests make their own cluster, none is left running"
  "cvc5           the solver that proves policies"
  "redis-server   the store that several gateways share; the same program is their sentinel"
  "systemd        judges the units of deploy/systemd (systemd-analyze; nothing is started)"
  "prometheus     scrapes a gateway and evaluates the shipped rules; with promtool"
  "haproxy        a load balancer that speaks the PROXY protocol"
)
# Node.js may have come with its own npm, beside which Debian's cannot stand.
command -v npm >/dev/null || packages+=(
  "npm            fetches axe-core, the rules of accessibility that every page is held to, and json-server"
)

# Cargo's helpers, each at the version that these tests were written with.
nextest_version=0.9.151
deny_version=0.20.2
# From PyPI: the mail server of the tests, the calendar server of examples/radicale, and Grafana's
# own types, which the dashboard is held to; and the judges of the files of deploy/.
aiosmtpd_version=1.4.6
radicale_version=3.9.0
grafana_version='1769699998!10.1.0'
yamllint_version=1.38.0
check_jsonschema_version=0.39.0
kubernetes_validate_version=1.37.0
# The types that the collector of the tests reads traces with.
opentelemetry_version=1.39.1

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

passed=0
current="start"

main() {
  trap 'finish $?' EXIT
  step "Debian packages" install_packages
  step "Rust toolchain" need_toolchain
  step "cargo-nextest $nextest_version" install_cargo_tool cargo-nextest "$nextest_version"
  step "cargo-deny $deny_version" install_cargo_tool cargo-deny "$deny_version"
  step "aiosmtpd $aiosmtpd_version" install_python_package aiosmtpd "$aiosmtpd_version"
  step "radicale $radicale_version" install_python_package radicale "$radicale_version"
  step "grafana-foundation-sdk $grafana_version" install_python_package grafana-foundation-sdk "$grafana_version"
  step "yamllint $yamllint_version" install_python_package yamllint "$yamllint_version"
  step "check-jsonschema $check_jsonschema_version" install_python_package check-jsonschema "$check_jsonschema_version"
  step "kubernetes-validate $kubernetes_validate_version" install_python_package kubernetes-validate "$kubernetes_validate_version"
  step "opentelemetry-proto $opentelemetry_version" install_python_package opentelemetry-proto "$opentelemetry_version"
  step "axe-core" install_from_npm tests/axe axe-core
  step "json-server" install_from_npm examples/json-server json-server
  step "no test is switched off" no_ignored_tests
  step "format" cargo fmt --all --check
  step "clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
  step "documentation's examples" cargo test --locked --workspace --doc --quiet
  step "tests" cargo nextest run --locked --workspace
  step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
  step "licences, advisories, sources" check_dependencies
  step "development certificates" make_certificates
  step "sample configurations" check_configurations
  current=""
}

# step NAME COMMAND…: announces a step, runs it, and stops everything where it fails.
step() {
  current="$1"
  shift
  printf '\n== %s (at %s)\n' "$current" "$(elapsed)"
  "$@"
  passed=$((passed + 1))
}

elapsed() {
  printf '%d min %02d s' $((SECONDS / 60)) $((SECONDS % 60))
}

finish() {
  [[ -z $guard_made ]] || "${as_root[@]}" rm -f "$guard_made"
  if [[ $1 -eq 0 && -z $current ]]; then
    printf '\n== PASSED: all %d steps, in %s\n' "$passed" "$(elapsed)"
  else
    printf '\n== FAILED at "%s", after %d steps that passed, in %s\n' "$current" "$passed" "$(elapsed)" >&2
    exit 1
  fi
}

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# How to become root; nothing where that is who we are.
as_root=()
# The file that tells Debian not to start services, while it is there by our hand.
guard_made=""

install_packages() {
  local missing=() line name
  for line in "${packages[@]}"; do
    name="${line%% *}"
    if ! dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q '^install ok installed$'; then
      missing+=("$name")
      echo "installing $line"
    fi
  done
  if [[ ${#missing[@]} -eq 0 ]]; then
    echo "all ${#packages[@]} are there"
    return
  fi
  if [[ $(id -u) -ne 0 ]]; then
    command -v sudo >/dev/null || fail "missing packages (${missing[*]}), and neither root nor sudo to install them"
    as_root=(sudo)
  fi
  # A package may bring a service; the tests start their own, and nothing shall stay behind.
  if [[ ! -e /usr/sbin/policy-rc.d ]]; then
    guard_made=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$guard_made" >/dev/null
    "${as_root[@]}" chmod 755 "$guard_made"
  fi
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
  if [[ -n $guard_made ]]; then
    "${as_root[@]}" rm -f "$guard_made"
    guard_made=""
  fi
}

need_toolchain() {
  command -v cargo >/dev/null || fail "cargo is missing; install the Rust toolchain from https://rustup.rs"
  cargo --version
  cargo fmt --version
  cargo clippy --version
}

# install_cargo_tool NAME VERSION
install_cargo_tool() {
  if command -v "$1" >/dev/null; then
    cargo "${1#cargo-}" --version
    return
  fi
  echo "installing $1 $2 from crates.io, without optimisation: it is built once and runs briefly"
  env CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    cargo install --locked --version "$2" --target-dir "$CARGO_TARGET_DIR/tools" "$1"
  rm -rf "$CARGO_TARGET_DIR/tools"
}

# install_python_package NAME VERSION: into the environment where the tests look for it
install_python_package() {
  local venv="$CARGO_TARGET_DIR/test-venv"
  # Not `pip` itself: in a folder that was moved it would still install into the old one.
  local pip=("$venv/bin/python" -m pip --disable-pip-version-check)
  if ! "${pip[@]}" show "$1" 2>/dev/null | grep -qx "Version: $2"; then
    echo "installing $1 $2 from PyPI, into $venv"
    "${pip[@]}" --version >/dev/null 2>&1 || python3 -m venv --clear "$venv"
    "${pip[@]}" install --quiet "$1==$2"
  fi
  "${pip[@]}" show "$1" | grep '^Version:'
}

# install_from_npm FOLDER NAME: the versions and digests of what is fetched stand in its
# package-lock.json
install_from_npm() {
  local installed="$1/node_modules/.installed"
  if ! cmp -s "$1/package-lock.json" "$installed"; then
    echo "installing $2 from registry.npmjs.org"
    npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund
    cp "$1/package-lock.json" "$installed"
  fi
  grep -m 1 '"version"' "$1/node_modules/$2/package.json"
}

no_ignored_tests() {
  if grep -rnE '#\[(ignore|cfg_attr\(.*ignore)' --include='*.rs' gateway tests examples; then
    fail "the tests above are switched off"
  fi
  echo "none is"
}

check_dependencies() {
  if GIT_TERMINAL_PROMPT=0 timeout 30 git ls-remote -q https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then
    echo "advisories: fetched from github.com/RustSec/advisory-db"
    cargo deny --locked check
    return
  fi
  local snapshots=() snapshot
  mapfile -t snapshots < <(compgen -G "${ADVISORY_DB:-../shared/data/rustsec-advisory-db-*.tgz}" | sort)
  [[ ${#snapshots[@]} -gt 0 ]] ||
    fail "the advisory database can neither be fetched nor read from a snapshot; set ADVISORY_DB to a .tgz of it"
  snapshot="${snapshots[-1]}"
  echo "advisories: no network, so the snapshot $snapshot"
  # cargo-deny looks for its own clone of the database: a repository of this name, with a FETCH_HEAD.
  local all="$CARGO_TARGET_DIR/advisory-db" config="$CARGO_TARGET_DIR/deny-offline.toml"
  local clone="$all/advisory-db-3157b0e258782691"
  rm -rf "$all"
  mkdir -p "$clone"
  tar -xzf "$snapshot" -C "$clone"
  git -C "$clone" init -q
  git -C "$clone" add -A
  git -C "$clone" -c user.name=tests -c user.email=tests@localhost commit -q -m "snapshot"
  : >"$clone/.git/FETCH_HEAD"
  sed "s|^\[advisories\]\$|[advisories]\ndb-path = \"$all\"|" deny.toml >"$config"
  grep -q '^db-path' "$config" || fail "deny.toml has no [advisories] to add the snapshot to"
  cargo fetch --locked
  cargo deny --offline --locked --config "$config" check
}

make_certificates() {
  cargo run --locked --quiet --bin portvakt -- certs dev --dir certs/dev
  openssl x509 -in certs/dev/localhost.pem -noout -subject -enddate -ext subjectAltName
}

check_configurations() {
  local file checked=0
  for file in config/*.toml examples/*/portvakt.toml; do
    [[ -e $file && $file != config/directory.toml ]] || continue
    echo "$file"
    # The values that the samples say their platform must set. No database answers there: what is in
    # the file is checked, what the database says is not.
    env DATABASE_URL="postgres://portvakt@127.0.0.1:1/projects" TWILIO_AUTH_TOKEN=sample \
      SMS_WEBHOOK_SECRET=sample-of-16-bytes SMTP_PASSWORD=sample \
      cargo run --locked --quiet --bin portvakt -- check --config "$file"
    checked=$((checked + 1))
  done
  [[ $checked -gt 0 ]] || fail "config/ holds no configuration to check"
}

main "$@"
