#!/usr/bin/env bash
# Fuzzes each target for a while, led by coverage, and keeps what leads further in fuzz/corpus.
#
#   tests/fuzz.sh [SECONDS [TARGET]]     60 for each target unless told
#
# Needs cargo-fuzz (cargo install cargo-fuzz). What a target does stands in fuzz/bodies; the short form,
# with the inputs that were kept and without coverage, is a test there and part of tests/run.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-fuzz >/dev/null ||
    { echo "cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 1; }
# Coverage needs a flag that the stable compiler hides. No sanitizer: there is no unsafe code here.
export RUSTC_BOOTSTRAP=1
# What counts is the time that a target had of a processor, not that which went by on a busy machine.
TIMEFORMAT="   %U s of processor time"
for target in ${2:-answers config gateway key release slicer usage values}; do
    echo "== $target"
    mkdir -p "fuzz/corpus/$target"
    cargo fuzz build --sanitizer none "$target"
    time cargo fuzz run --sanitizer none "$target" -- \
        -max_total_time="${1:-60}" -max_len=4096 -timeout=5 -print_final_stats=1
    cargo fuzz cmin --sanitizer none "$target" >/dev/null 2>&1
    echo "   $(find "fuzz/corpus/$target" -type f | wc -l) inputs kept"
done
