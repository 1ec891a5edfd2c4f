# Sourced by the scripts that run the gateway's program. It is AFFINITY_GATEWAY_BIN, else it is built.
# Servers that were started, and the temporary folder $folder, are gone when the script ends.

if [[ -z ${AFFINITY_GATEWAY_BIN:-} ]]; then
    (cd "$(dirname "${BASH_SOURCE[0]}")/.." && cargo build --quiet --package example-gateway)
    AFFINITY_GATEWAY_BIN=${CARGO_TARGET_DIR:-$(dirname "${BASH_SOURCE[0]}")/../target}/debug/example-gateway
fi
gateway=$(realpath "$AFFINITY_GATEWAY_BIN")

folder=$(mktemp -d)
servers=()
clean() {
    ((${#servers[@]} == 0)) || kill "${servers[@]}" 2>/dev/null || true
    wait
    rm -rf "$folder"
}
trap clean EXIT

# Starts a server of the gateway's program; its address is then in $address.
serve() {
    local log="$folder/$1.log"
    # Here before it is read.
    : >"$log"
    RUST_LOG=info "$gateway" "${@:2}" --listen 127.0.0.1:0 --log-format json 2>"$log" &
    servers+=($!)
    for _ in {1..100}; do
        address=$(sed -n 's/.*"message":"listening".*"address":"\([^"]*\)".*/\1/p' "$log")
        [[ -z $address ]] || return 0
        sleep 0.1
    done
    echo "$1 does not listen:" >&2
    cat "$log" >&2
    return 1
}
