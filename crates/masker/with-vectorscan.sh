#!/usr/bin/env bash
# Runs a cargo command so that crates with the feature `vectorscan` link the system's library, installed if it is
# missing. Without one the crate vectorscan-rs-sys builds its own: C++ with cmake and boost, a quarter of an hour.
#
#   crates/masker/with-vectorscan.sh cargo build --release -p gatewayd --features vectorscan
#   crates/masker/with-vectorscan.sh --check      # status 0 if the system's library is there, or could be installed
set -euo pipefail

# The bindings are for this line of versions of the library.
VERSION=5.4
PACKAGE=libvectorscan-dev

[ "${1:-}" = --check ] || { [ "${1:-}" = cargo ] && [ $# -ge 2 ]; } || {
    echo "usage: $0 cargo COMMAND [ARGUMENTS], or $0 --check" >&2
    exit 2
}

say() { printf 'vectorscan: %s\n' "$*" >&2; }

# Prints the folder of the library, if there is one of the right version.
library() {
    local description folder
    for description in /usr/lib/*/pkgconfig/libhs.pc /usr/lib*/pkgconfig/libhs.pc /usr/local/lib/pkgconfig/libhs.pc; do
        [ -e "$description" ] || continue
        grep -q "^Version: $VERSION\." "$description" || { say "$description is not of version $VERSION"; continue; }
        folder=$(dirname "$(dirname "$description")")
        [ -e "$folder/libhs.so" ] || continue
        printf '%s\n' "$folder"
        return
    done
    return 1
}

install() {
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" != 0 ]; then
        say "the library is missing; 'sudo apt-get install $PACKAGE' makes this take seconds"
        return 1
    fi
    say "installing $PACKAGE $VERSION"
    # A network that stumbles is tried again, and another apt-get at work is waited for.
    local patience=(-qq -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300)
    {
        apt-get "${patience[@]}" update &&
            DEBIAN_FRONTEND=noninteractive apt-get "${patience[@]}" install -y --no-install-recommends "$PACKAGE=$VERSION.*"
    } >&2
}

if ! folder=$(library); then
    install || true
    if ! folder=$(library); then
        [ "$1" != --check ] || exit 1
        say "no system library: building it from source, which needs cmake, a C++ compiler and libboost-dev, and takes long"
        exec "$@"
    fi
fi

[ "$1" != --check ] || exit 0

# The build script of vectorscan-rs-sys is replaced; what it would have put out are the bindings beside it.
host=$(rustc -vV | sed -n 's/^host: //p')
manifest=$(cargo metadata --locked --format-version 1 --features gatewayd-masker/vectorscan 2>/dev/null |
    grep -o '"manifest_path":"[^"]*/vectorscan-rs-sys-[^"]*/Cargo.toml"' | head -n 1 | cut -d '"' -f 4)
bindings=$(dirname "$manifest")/src
[ -e "$bindings/bindings.rs" ] || { say "the bindings are not where they were expected: $bindings"; exit 1; }

# Behind the name of the command, so that clippy hands it on.
exec "$1" "$2" \
    --config "target.$host.hs.rustc-link-lib=[\"hs\"]" \
    --config "target.$host.hs.rustc-link-search=[\"$folder\"]" \
    --config "target.$host.hs.rustc-env.OUT_DIR=\"$bindings\"" \
    "${@:3}"
