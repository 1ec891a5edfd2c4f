#!/usr/bin/env bash
# Fuzzes each target for a while, led by coverage, and keeps the inputs that reach further.
#
#   tests/fuzz.sh [SECONDS [TARGET]]     60 for each target unless told; 0 only minimises
#
# Needs cargo-fuzz (cargo install cargo-fuzz --locked). What a target does is in fuzz/bodies; a test there
# replays what was kept, without coverage, and is part of tests/run.sh.
#
# The inputs of a target are in fuzz/corpus/TARGET.tar.gz. They are unpacked into fuzz/corpus/TARGET, where
# an interrupted run leaves them for the next one; a run that ends minimises them, packs them again and
# removes the folder.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-fuzz >/dev/null ||
    { echo "cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2; exit 1; }
# Coverage needs a flag that the stable compiler hides. No sanitizer: there is no unsafe code here.
export RUSTC_BOOTSTRAP=1
# What counts is the time that a target had of a processor, not that which went by on a busy machine.
TIMEFORMAT="   %U s of processor time"

unpack() {
    mkdir -p "fuzz/corpus/$1"
    if [[ -f fuzz/corpus/$1.tar.gz ]]; then tar -xzf "fuzz/corpus/$1.tar.gz" -C "fuzz/corpus/$1"; fi
}

# Writes the smallest set of inputs that covers as much. They are numbered by size: the same inputs make the
# same archive, and a number compresses where libFuzzer's hash of the content does not.
pack() {
    local corpus="fuzz/corpus/$1" kept="fuzz/corpus/$1.kept" numbered="fuzz/corpus/$1.numbered"
    local number=0 file
    rm -rf "$kept" "$numbered"
    mkdir "$kept" "$numbered"
    cargo fuzz run --sanitizer none "$1" "$kept" "$corpus" -- \
        -set_cover_merge=1 -max_len=4096 -timeout=5 2>"$kept.log" || { cat "$kept.log" >&2; return 1; }
    while read -r file; do
        number=$((number + 1))
        mv "$kept/$file" "$numbered/$(printf %04d "$number")"
    done < <(find "$kept" -type f -printf '%s %f\n' | LC_ALL=C sort -k1n -k2 | cut -d' ' -f2)
    ((number > 0)) || { echo "nothing was kept for $1" >&2; return 1; }
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=644 --format=ustar \
        --transform='s,^\./,,' -C "$numbered" -cf - . | gzip -9n >"$corpus.tar.gz.new"
    mv "$corpus.tar.gz.new" "$corpus.tar.gz"
    rm -rf "$kept" "$kept.log" "$numbered" "$corpus"
    echo "   $number inputs kept, $(wc -c <"$corpus.tar.gz") bytes packed"
}

for name in ${2:-answers config gateway http2 key preferences release slicer usage values}; do
    echo "== $name"
    unpack "$name"
    cargo fuzz build --sanitizer none "$name"
    if ((${1:-60} > 0)); then
        time cargo fuzz run --sanitizer none "$name" -- \
            -max_total_time="${1:-60}" -max_len=4096 -timeout=5 -print_final_stats=1
    fi
    pack "$name"
done
