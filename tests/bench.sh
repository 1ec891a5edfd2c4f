#!/usr/bin/env bash
# Measures the gateway from outside and writes the figures into BENCHMARKS.md.
#
#   tests/bench.sh              all of it, about a quarter of an hour after the build
#   tests/bench.sh --quick      a first impression within a minute, to stdout only
#   tests/bench.sh --litellm    LiteLLM from PyPI as well
#
# Needs Rust (https://rustup.rs); --litellm needs Python 3 with venv. Leave the machine alone
# meanwhile: pairs cancel what changes slowly, and nothing cancels a second build.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/servers.sh

arguments=()
for argument in "$@"; do
    case $argument in
        --quick) arguments+=(--quick) ;;
        --litellm)
            environment="${CARGO_TARGET_DIR:-target}/litellm"
            [[ -x $environment/bin/litellm ]] || {
                python3 -m venv "$environment"
                "$environment/bin/pip" install --quiet 'litellm[proxy]'
            }
            arguments+=(--litellm "$environment")
            ;;
        *)
            echo "usage: tests/bench.sh [--quick] [--litellm]" >&2
            exit 2
            ;;
    esac
done

install_servers redis-server:redis-server haproxy:haproxy nginx:nginx-light
cargo build --release -p example-gateway -p affinity-tests --bin example-gateway --bin bench
exec "${CARGO_TARGET_DIR:-target}/release/bench" ${arguments[@]+"${arguments[@]}"}
