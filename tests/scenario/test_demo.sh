#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# ./demo.sh without a terminal: what it shows, that it leaves nothing behind, and that it fails when nothing arrives.
set -euo pipefail
cd "${BUS_SOURCE_DIR:-$(dirname "$0")/../..}"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export BUILD_ROOT=$folder TMPDIR=$folder/tmp
mkdir "$TMPDIR"
# the tools of this build, so that the demo need not build them again
export DEMO_TOOLS=${BUS_BUILD_DIR:-}

fail() {
    cat "$folder/out"
    echo "FAILED: $1"
    exit 1
}

# whether the demo is all right
demo_of() { # seconds
    DEMO_SECONDS=$1 ./demo.sh < /dev/null > "$folder/out" 2>&1 || return 1
    for line in '^sub     | host/load' '^slow    | .*lost [0-9]* messages' '^monitor |     -> delivered: ' \
        '^[1-9][0-9]* messages of host/process reached' '^CLIENT '; do
        grep -q "$line" "$folder/out" || return 1
    done
}

# a machine that does other things may need longer to show something
demo_of 9 || demo_of 45 || fail "the demo fails, or shows too little"
[ -z "$(ls -A "$TMPDIR")" ] || fail "it leaves $(ls -A "$TMPDIR") behind"

# no router: the demo must not claim success
for tool in tools bus; do
    mkdir -p "$folder/broken/$tool"
done
printf '#!/bin/sh\nexit 1\n' > "$folder/broken/bus/bus-router"
chmod +x "$folder/broken/bus/bus-router"
if DEMO_TOOLS=$folder/broken ./demo.sh < /dev/null > "$folder/out" 2>&1; then
    fail "success without a router"
fi
[ -z "$(ls -A "$TMPDIR")" ] || fail "it leaves $(ls -A "$TMPDIR") behind"

if DEMO_SECONDS=soon ./demo.sh > "$folder/out" 2>&1; then
    fail "DEMO_SECONDS=soon is accepted"
fi
echo "demo: ok"
