#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Everything that has to hold, on a fresh Debian or Ubuntu too: installs what is missing, then builds and tests the presets
# dev, asan, fuzz and release, with sanitizers tests/faults, and tests/hostile; or only those parts that are given as arguments. BUILD_ROOT: where to build (default build/). FUZZ_SECONDS: for each fuzz target (default 3).
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(gcc g++ cmake ninja-build pkg-config libuv1-dev libconfig-dev libprotobuf-c-dev protobuf-c-compiler uthash-dev
    libcmocka-dev libncurses-dev clang clang-format python3 procps)
root=${BUILD_ROOT:-build}
jobs=$(nproc)
summary=()
# What is built of tests/, by preset: units as they are, each case by itself, and with sanitizers; simulations with sanitizers;
# scenarios and the client in Python with sanitizers and optimised.
declare -A kinds=([dev]='unit;checks' [asan]='unit;sim;scenario;interop;fuzz;faults' [fuzz]=fuzz [release]='scenario;interop;hostile')

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" > /dev/null
}

missing_packages() {
    local p
    for p in "${packages[@]}"; do
        [[ $(dpkg-query -W -f '${Status}' "$p" 2> /dev/null) == *" installed" ]] || echo "$p"
    done
}

# Whether clang finds its sanitizers: some releases keep them in a package of their own.
clang_can_fuzz() {
    echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return p && n ? 0 : 0; }' |
        clang -x c -fsanitize=fuzzer,address,undefined -o /dev/null - 2> /dev/null
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    if [ ${#missing[@]} -gt 0 ]; then
        as_root apt-get update -qq
        apt_install "${missing[@]}"
    fi
    if ! clang_can_fuzz; then
        as_root apt-get update -qq
        apt_install "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
        clang_can_fuzz
    fi
}

build() { # preset, more arguments of cmake --build
    local preset=$1 apart=ON
    shift
    [ "$preset" != asan ] || apart=OFF
    cmake --preset "$preset" -B "$root/$preset" -DBUS_TEST_KINDS="${kinds[$preset]}" -DBUS_CASES_APART=$apart > /dev/null
    if ! cmake --build "$root/$preset" -j "$jobs" "$@" > "$root/$preset/build.log" 2>&1; then
        grep -E -A 20 'error|warning|FAILED' "$root/$preset/build.log" | head -n 100
        return 1
    fi
}

run_ctest() { # preset, more arguments of ctest
    local preset=$1
    shift
    # one more than processors: scenarios wait a lot, for the ends of time limits and for the disk
    ctest --test-dir "$root/$preset" -j $((jobs + 1)) --output-on-failure --no-tests=error "$@"
}

test_dev() {
    build dev
    run_ctest dev
}

test_asan() {
    build asan
    run_ctest asan -LE faults
}

# By themselves: they load the machine, and stop processes.
test_faults() {
    build asan
    run_ctest asan -L faults -j 1
}

# What attackers cost the others is to be seen without sanitizers. Makes users, so it needs root.
test_hostile() {
    build release
    run_ctest release -L hostile -j 1
}

fuzz_one() { # executable; 255 ends the others, too
    local name=${1##*/fuzz_} found=$root/fuzz/found
    local seeds=("$found/$name" "tests/fuzz/corpus/$name")
    mkdir -p "$found/$name"
    [ ! -d "tests/fuzz/regression/$name" ] || seeds+=("tests/fuzz/regression/$name")
    if ! "$1" -max_total_time="${FUZZ_SECONDS:-3}" -rss_limit_mb=4096 -print_final_stats=0 -verbosity=0 \
        -artifact_prefix="$found/$name-" "${seeds[@]}" > "$found/$name.log" 2>&1; then
        tail -n 40 "$found/$name.log"
        echo "fuzz_$name failed; its input is $found/$name-*"
        return 255
    fi
    echo "fuzz_$name: ok"
}

test_fuzz() {
    build fuzz --target fuzzers
    export root
    export -f fuzz_one
    find "$root/fuzz/tests/fuzz" -maxdepth 1 -name 'fuzz_*' -type f -executable -print0 | sort -z |
        xargs -0 -n 1 -P "$jobs" bash -c 'fuzz_one "$0"'
}

test_release() {
    build release
    run_ctest release -LE hostile
    # not for its numbers: bus-bench checks every byte of what it sends
    timeout 60 "$root/release/tools/bench/bus-bench" --link both --runs 1 --count 50000 throughput fanout fanin
}

step() { # name, command
    local start=$SECONDS
    echo "== $1"
    "$2"
    summary+=("$(printf '%-10s %4d s' "$1" $((SECONDS - start)))")
}

failed() {
    local code=$?
    [ "$code" -eq 0 ] || printf '%s\n' "${summary[@]}" "FAILED"
    exit "$code"
}
trap failed EXIT

step packages install_packages
for part in "${@:-dev asan faults fuzz release hostile}"; do
    for name in $part; do
        step "$name" "test_$name"
    done
done
printf '%s\n' "== summary" "${summary[@]}" "all passed"
