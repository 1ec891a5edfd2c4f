#!/usr/bin/env bash
# Checks everything, from formatting to packaging, and stops at the first failure.
#
#   tests/run.sh
#
# Needs Rust (https://rustup.rs). The servers that some tests start, Python and Node for the live
# clients, and Chromium are installed with apt-get where there is one; elsewhere the script says what to
# install. The clients themselves come from PyPI and npm into a temporary folder, cargo-deny from crates.io
# into the target directory.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
    local name=$1 start=$SECONDS
    shift
    printf '\n== %s\n   %s\n' "$name" "$*"
    "$@" || { printf '\n== FAILED: %s, after %d s in all\n' "$name" "$SECONDS" >&2; exit 1; }
    printf '   done in %d s\n' "$((SECONDS - start))"
}

. tests/servers.sh

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# Debian's promtool, out of a package whose dependencies are not needed for it.
get_promtool() {
    local tools="$target/promtool"
    if command -v promtool >/dev/null; then
        echo "   it is there"
        return
    fi
    if [[ ! -x $tools/usr/bin/promtool ]]; then
        command -v apt-get >/dev/null || { echo "promtool is missing: install Prometheus" >&2; return 1; }
        mkdir -p "$tools"
        (
            cd "$tools"
            apt-get download -qq prometheus ||
                { as_root apt-get update -qq && apt-get download -qq prometheus; }
            dpkg -x prometheus_*.deb .
            rm prometheus_*.deb
        )
    fi
    export AFFINITY_PROMTOOL="$tools/usr/bin/promtool"
    "$AFFINITY_PROMTOOL" --version >/dev/null
}

# Licences, bans and sources from what is here; advisories where their database can be fetched.
check_dependencies() {
    local deny="$target/tools/bin/cargo-deny"
    if command -v cargo-deny >/dev/null; then
        deny=cargo-deny
    elif [[ ! -x $deny ]]; then
        echo "   cargo-deny is built once, which takes some minutes"
        # Apart from our own target directory, whose lock and profile are not its business.
        env -u CARGO_TARGET_DIR cargo install cargo-deny --version 0.20.2 --locked --quiet \
            --root "$target/tools" || return
    fi
    "$deny" --log-level error check --hide-inclusion-graph licenses bans sources || return
    if timeout 60 "$deny" --log-level off fetch db 2>/dev/null; then
        "$deny" --log-level error --offline check --hide-inclusion-graph advisories
    else
        echo "   NOT CHECKED: advisories; their database (github.com/RustSec) cannot be fetched here"
    fi
}

# Each example of the layer checks itself and ends.
run_examples() {
    local example
    for example in axum own_router own_store queue_worker reverse_proxy sqlite_store; do
        timeout 120 cargo run --quiet -p affinity-layer --all-features --example "$example" || return
    done
}

# Cargo keeps what it unpacks under the path of the target directory and the version. At a path that was
# used before, the client would be checked against an older state of the layer.
check_packages() {
    local place status=0
    place=$(mktemp -d)
    cargo package -p affinity-layer -p router-client --allow-dirty --target-dir "$place" || status=$?
    rm -rf "$place"
    return "$status"
}

if ! command -v cargo >/dev/null; then
    echo "cargo is missing: install Rust from https://rustup.rs" >&2
    exit 1
fi
for tool in fmt clippy; do
    if ! cargo "$tool" --version >/dev/null 2>&1; then
        echo "cargo $tool is missing: rustup component add rustfmt clippy" >&2
        exit 1
    fi
done

step "programs that tests start" install_servers \
    redis-server:redis-server haproxy:haproxy tinyproxy:tinyproxy python3:python3-venv node:nodejs npm:npm \
    chromium:chromium valgrind:valgrind faketime:faketime
step "formatting" cargo fmt --all --check
step "lints" cargo clippy --workspace --all-features --all-targets -- -D warnings
# Built once, with the features of the tests; else each test program would build its own.
step "programs" cargo build --workspace --all-features --bins --examples
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
export AFFINITY_GATEWAY_BIN="$target/debug/example-gateway"
export AFFINITY_AGENT_BIN="$target/debug/examples/agent_server"
step "dependencies" check_dependencies
step "promtool" get_promtool
step "tests" cargo test --workspace --all-features --all-targets
step "examples of the layer" run_examples
step "live clients" tests/live/run.sh
step "live page" tests/ui.sh
step "what a request costs" cargo bench -p affinity-benches --bench cost -- --check
step "examples in the documentation" cargo test --workspace --all-features --doc
step "documentation" env RUSTDOCFLAGS="-D warnings" \
    cargo doc --workspace --all-features --no-deps
step "packages" check_packages
printf '\n== everything passed, in %d s\n' "$SECONDS"
