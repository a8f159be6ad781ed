#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Shows the bus at work with live data of this host: installs what is missing (Debian, Ubuntu), builds,
# starts a router of its own in a temporary folder, publishes, subscribes, watches, and cleans up.
# Exit code 0 only if messages of every topic arrived.
# BUILD_ROOT: where to build (default build/). DEMO_SECONDS: how long to publish (default 10).
# DEMO_TOOLS: a build tree to use instead of building.
set -euo pipefail
cd "$(dirname "$0")"

packages=(gcc cmake ninja-build pkg-config libuv1-dev libconfig-dev libprotobuf-c-dev protobuf-c-compiler uthash-dev
    libncurses-dev procps)
build=${BUILD_ROOT:-build}/demo
seconds=${DEMO_SECONDS:-10}
topics=(host/load host/cpu host/memory host/network host/process)

if ! [[ $seconds =~ ^[0-9]+$ ]] || [ "$seconds" -lt 9 ]; then
    echo "DEMO_SECONDS must be a whole number, 9 or more" >&2
    exit 2
fi

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo > /dev/null; then
        sudo "$@"
    else
        echo "Missing packages, and neither root nor sudo to install them. As root:" >&2
        echo "    apt-get install ${packages[*]}" >&2
        exit 1
    fi
}

install_packages() {
    local missing=() p
    command -v dpkg-query > /dev/null || return 0 # not Debian: cmake will say what it misses
    for p in "${packages[@]}"; do
        [[ $(dpkg-query -W -f '${Status}' "$p" 2> /dev/null) == *" installed" ]] || missing+=("$p")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "== installing ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" > /dev/null
}

build() {
    mkdir -p "$build"
    if ! { cmake --preset release -B "$build" -DBUS_TESTS=OFF &&
        cmake --build "$build" -j "$(nproc)"; } > "$build/build.log" 2>&1; then
        tail -n 30 "$build/build.log" >&2
        echo "The build failed; all of its output is in $build/build.log" >&2
        exit 1
    fi
}

clean_up() {
    local code=$?
    trap - EXIT
    touch "$dir/stop" # ends the publishers
    [ -z "$slow" ] || kill -CONT "$slow" 2> /dev/null || true
    [ -z "$router" ] || kill "$router" 2> /dev/null || true # ends all others
    wait
    rm -rf "$dir"
    exit "$code"
}

# Waits until a program started with --ready-fd 3 3> $dir/ready says that it is set up.
wait_ready() {
    local word
    if ! read -r -t 20 word < "$dir/ready" || [ "$word" != READY ]; then
        echo "$1 did not start" >&2
        exit 1
    fi
}

# What is published: one line, one message.
lines_of() {
    case $1 in
    host/load) cat /proc/loadavg ;;
    host/cpu) grep -m 5 '^cpu' /proc/stat ;;
    host/memory) free -m | awk 'NR > 1 {print $1, "total", $2, "MiB, used", $3, "MiB"}' ;;
    host/network) awk -F: 'NR > 2 {split($2, n, " "); gsub(/ /, "", $1)
        print $1, "received", n[1], "bytes, sent", n[9]}' /proc/net/dev ;;
    host/process) ps -eo rss=,pid=,comm= --sort=-rss | head -n 3 |
        awk '{print $3, "pid", $2, "uses", $1, "KiB"}' ;;
    esac
}

publish() { # topic: every second the lines of the moment, until $dir/stop is there
    while [ ! -e "$dir/stop" ]; do
        lines_of "$1"
        sleep 1
    done | bus-pub "$1"
}

if [ -n "${DEMO_TOOLS:-}" ]; then
    build=$DEMO_TOOLS
else
    install_packages
    echo "== building (release) in $build"
    build
fi
tools=$(cd "$build" && pwd)
PATH=$tools/bus:$tools/tools:$tools/tools/monitor:$PATH

dir=$(mktemp -d "${TMPDIR:-/tmp}/bus-demo-XXXXXX")
router=
slow=
trap clean_up EXIT
export BUS_ADDRESS=$dir/bus.sock
mkfifo "$dir/ready"

echo "== bus-router --listen $BUS_ADDRESS"
bus-router --no-config --listen "$BUS_ADDRESS" --log-level warn --ready-fd 3 3> "$dir/ready" &
router=$!
wait_ready bus-router

# What a program writes to $dir/NAME.out is shown with NAME in front of each line, and kept in $dir/NAME.
prefixers=()
prefix() {
    mkfifo "$dir/$1.out"
    tee "$dir/$1" < "$dir/$1.out" | sed -u "s/^/$(printf '%-8s' "$1")| /" &
    prefixers+=($!)
}

echo "== for $seconds s: a bus-pub for each of ${topics[*]}, and"
cat << 'END'
   all      bus-sub 'host/#': counted at the end, not shown
   sub      bus-sub -v host/load host/memory
   slow     bus-sub -w 2 -q 3 host/process: will be suspended for a while, so it has to lose messages
   monitor  bus-monitor --no-body host/process: who got each message, and who did not

END
bus-sub -t "$seconds" -f '%t%n' --ready-fd 3 'host/#' 3> "$dir/ready" > "$dir/all" &
subscribers=($!)
wait_ready bus-sub
prefix sub
bus-sub -t "$seconds" -v --ready-fd 3 host/load host/memory 3> "$dir/ready" > "$dir/sub.out" 2>&1 &
subscribers+=($!)
wait_ready bus-sub
prefix slow
bus-sub -t "$seconds" -w 2 -q 3 --ready-fd 3 host/process 3> "$dir/ready" > "$dir/slow.out" 2>&1 &
slow=$!
wait_ready bus-sub
prefix monitor
bus-monitor -t "$seconds" --no-body --ready-fd 3 host/process 3> "$dir/ready" > "$dir/monitor.out" 2>&1 &
subscribers+=($!)
wait_ready bus-monitor

publishers=()
for topic in "${topics[@]}"; do
    publish "$topic" &
    publishers+=($!)
done
sleep $((seconds / 3))
kill -STOP "$slow"
echo "demo    | bus-sub \"slow\" (pid $slow) is suspended now"
bus-monitor --top -n 2 > "$dir/top" # takes a second
sleep $((seconds / 3 - 1))
echo "demo    | bus-sub \"slow\" goes on"
kill -CONT "$slow"

failed=0
wait "${subscribers[@]}" || failed=1
slow_code=0
wait "$slow" || slow_code=$?
wait "${prefixers[@]}"
touch "$dir/stop"
for pid in "${publishers[@]}"; do
    wait "$pid" || failed=1
done

printf '\n== bus-monitor --top, while "slow" was suspended\n'
awk '/^TOPIC/ {n++} n == 2' "$dir/top" | cut -c 1-120

printf '\n== what was shown\n'
for topic in "${topics[@]}"; do
    n=$(grep -cx "$topic" "$dir/all" || true)
    echo "$n messages of $topic reached bus-sub 'host/#'"
    [ "$n" -gt 0 ] || failed=1
done
for name in sub slow monitor; do
    [ -s "$dir/$name" ] || failed=1
done
grep -q 'delivered: ' "$dir/monitor" || failed=1
lost=$(awk '/lost [0-9]+ messages/ {sub(/.*lost /, ""); n += $1} END {print n + 0}' "$dir/slow")
echo "$lost messages were lost to bus-sub \"slow\", which was told so (exit code $slow_code); nobody else noticed"
[ "$lost" -gt 0 ] && [ "$slow_code" -eq 5 ] || failed=1
if [ "$failed" -ne 0 ]; then
    echo "FAILED: not everything arrived as it should" >&2
    exit 1
fi
cat << END
The tools are in $build; try them yourself, see docs/tools.md:
    $build/bus/bus-router &
    $build/tools/bus-sub -v '#' &
    $build/tools/bus-pub hello/world 'it works'
END
