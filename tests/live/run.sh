#!/usr/bin/env bash
# Runs real clients against the real gateway and the simulated provider.
#
#   tests/live/run.sh
#
# Needs python3 with venv, node and npm. What the clients are made of is installed into a temporary
# folder, which is gone afterwards. The clients get no key and no address but the gateway's. The
# gateway is the program AFFINITY_GATEWAY_BIN, else it is built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
for tool in python3 node npm; do
    command -v "$tool" >/dev/null || { echo "$tool is missing; tests/run.sh installs it" >&2; exit 1; }
done
. "$here/../serving.sh"

install_python() {
    python3 -m venv "$folder/venv"
    timeout 300 "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
        --no-compile --no-deps --requirement "$here/requirements.txt"
}

install_node() {
    cp -r "$here/node" "$folder/node"
    cd "$folder/node"
    timeout 300 npm install --loglevel error --no-package-lock --no-audit --no-fund
}

start=$SECONDS
install_python >"$folder/pip.log" 2>&1 &
python=$!
install_node >"$folder/npm.log" 2>&1 &
node=$!
wait "$python" || { cat "$folder/pip.log" >&2; echo "the Python clients cannot be installed" >&2; exit 1; }
wait "$node" || { cat "$folder/npm.log" >&2; echo "the Node clients cannot be installed" >&2; exit 1; }
echo "   clients installed in $((SECONDS - start)) s"

serve provider provider
export PROVIDER_URL="http://$address"
serve gateway serve --config "$here/gateway.yaml"
export GATEWAY_URL="http://$address"
# The same gateway, deaf to the headers that agents send on their own.
sed 's/agent_headers: true/agent_headers: false/' "$here/gateway.yaml" >"$folder/control.yaml"
serve control serve --config "$folder/control.yaml"
export CONTROL_URL="http://$address"

# The same, with pins that end when the model is done.
sed 's/^routing:/&\n  release: final_answer/' "$here/gateway.yaml" >"$folder/releasing.yaml"
serve releasing serve --config "$folder/releasing.yaml"
export RELEASING_URL="http://$address"

export NODE_PROGRAMS="$folder/node/node_modules/.bin"
export PYTHONPYCACHEPREFIX="$folder/pycache"
for program in openai_sdk anthropic_sdk agents_sdk langgraph_agent database_agent \
    agent_headers agent_programs; do
    timeout 180 "$folder/venv/bin/python" "$here/python/$program.py"
done
GATEWAY_URL=$RELEASING_URL timeout 180 "$folder/venv/bin/python" "$here/python/release.py"
for program in openai_sdk anthropic_sdk; do
    timeout 180 node "$folder/node/$program.mjs"
done

# What no session decides, at two accounts of a stand-in.
"$folder/venv/bin/python" "$here/python/stand_in.py" >"$folder/stand_in.url" &
servers+=($!)
for _ in {1..100}; do [[ -s $folder/stand_in.url ]] && break || sleep 0.1; done
STAND_IN_URL=$(<"$folder/stand_in.url")
export STAND_IN_URL
serve unrouted serve --config "$here/unrouted.yaml"
GATEWAY_URL="http://$address" timeout 180 "$folder/venv/bin/python" "$here/python/unrouted.py"
GATEWAY_URL="http://$address" timeout 180 node "$folder/node/unrouted.mjs"

# What the README shows, but for the port: three prompts, one model.
serve readme serve
sed -n '/^```python$/,/^```$/{/^```/d;p}' "$here/../../README.md" |
    sed "s/127.0.0.1:12000/$address/" >"$folder/readme.py"
models=$(timeout 60 "$folder/venv/bin/python" "$folder/readme.py" | sort | uniq -c)
[[ $models =~ ^\ *3\ [^[:space:]]+$ ]] ||
    { echo "the program of the README saw other models than one: $models" >&2; exit 1; }
echo "   the README's program: $models"

# What the README shows with two real keys, but for the addresses: each vendor is a stand-in of its own.
for vendor in openai anthropic; do
    serve "$vendor" provider
    export "${vendor^^}_URL=http://$address"
done
sed -n '/^```yaml$/,/^```$/{/^```/d;p}' "$here/../../README.md" |
    sed "s|access_key: \$OPENAI_API_KEY|&, base_url: \"$OPENAI_URL\"|
        s|access_key: \$ANTHROPIC_API_KEY|&, base_url: \"$ANTHROPIC_URL\"|" >"$folder/quickstart.yaml"
ANTHROPIC_API_KEY=unused OPENAI_API_KEY=unused serve quickstart serve --config "$folder/quickstart.yaml"
QUICKSTART_URL="http://$address" timeout 300 "$folder/venv/bin/python" "$here/python/readme.py"
