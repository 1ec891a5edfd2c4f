# Sourced by the scripts beside it.

# haproxy and nginx are in /usr/sbin, which is not on everybody's path.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# Python is there on most systems, and what makes an environment on fewer.
found() {
    command -v "$1" >/dev/null && { [[ $1 != python3 ]] || python3 -c 'import ensurepip, venv' 2>/dev/null; }
}

# Installs what is missing of the given pairs PROGRAM:PACKAGE, with apt-get where there is one;
# elsewhere it says what to install.
install_servers() {
    local missing=() packages=() server
    for server in "$@"; do
        found "${server%%:*}" && continue
        missing+=("${server##*:}")
        packages+=("${server##*:}")
    done
    if ((${#missing[@]} == 0)); then
        echo "   nothing is missing"
        return
    fi
    if ! command -v apt-get >/dev/null; then
        echo "missing: ${missing[*]}; install them, then run this again" >&2
        return 1
    fi
    local root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || { echo "as root: apt-get install ${packages[*]}" >&2; return 1; }
        root=(sudo)
    fi
    # Each is started on a free port when it is needed; none has to run as a service.
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}"
}
