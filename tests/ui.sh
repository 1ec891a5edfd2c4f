#!/usr/bin/env bash
# Opens the live page in a real Chromium, with 50 sessions at the real gateway.
#
#   tests/ui.sh [FOLDER]
#
# With a folder, it also takes the pictures of the README and puts them there.
# Needs node, npm and chromium; Debian's are installed with apt-get if they are missing. What drives
# the browser comes from npm into a temporary folder, which is gone afterwards. The browser gets no
# address but the gateway's. The gateway is the program AFFINITY_GATEWAY_BIN, else it is built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/servers.sh"
install_servers node:nodejs npm:npm chromium:chromium
. "$here/serving.sh"

start=$SECONDS
cp -r "$here/ui" "$folder/ui"
(
    cd "$folder/ui"
    timeout 300 npm install --loglevel error --no-package-lock --no-audit --no-fund
) >"$folder/npm.log" 2>&1 || { cat "$folder/npm.log" >&2; echo "the driver cannot be installed" >&2; exit 1; }
echo "   driver installed in $((SECONDS - start)) s"

serve provider provider
export PROVIDER_URL="http://$address"

# A provider that refuses.
node "$folder/ui/refusing.mjs" >"$folder/refusing.log" &
servers+=($!)
until [[ -s $folder/refusing.log ]]; do kill -0 $!; sleep 0.1; done
REFUSING_URL=$(<"$folder/refusing.log")
export REFUSING_URL

export ADMIN_TOKEN="of-the-page-7f3a"
CHROMIUM=$(command -v chromium)
export CHROMIUM

# Runs a program in front of a gateway with a configuration.
against() {
    serve "$1" serve --config "$here/ui/$1.yaml"
    export GATEWAY_URL="http://$address"
    # It is told right after the other.
    local admin=
    until [[ -n $admin ]]; do
        admin=$(sed -n 's/.*"message":"the admin API listens".*"address":"\([^"]*\)".*/\1/p' "$folder/$1.log")
    done
    export ADMIN_URL="http://$admin"
    timeout 120 node "$folder/ui/$2.mjs"
}

against gateway page
if (($# > 0)); then
    PICTURES=$(realpath "$1") against pictures pictures
fi
