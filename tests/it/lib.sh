# SPDX-License-Identifier: Apache-2.0
# Sourced by each test of this directory:  . "$(dirname "$0")/lib.sh"
# A test is an executable t_NAME.sh. It runs on the cluster of KASAGA_BOOTSTRAP (one is started if it
# is not set), names its topics after $app, keeps its files in $dir, and needs to clean up nothing:
# processes of `start`, clusters of `own_cluster` and $dir go when it ends. Exit 0 passed, 77 skipped.
# shellcheck shell=bash
set -euo pipefail

test_name=$(basename "$0" .sh)
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export KASAGA_BUILD=${KASAGA_BUILD:-$PWD/build/gcc}
export KASAGA=${KASAGA:-$KASAGA_BUILD/kasaga}
export KASAGA_BOOTSTRAP=${KASAGA_BOOTSTRAP:-$(tools/kafka up)}
PATH=$KASAGA_BUILD:$KASAGA_BUILD/tools:$PATH # kasaga, topic, ...

# A fresh app for each run, as the cluster may be shared and kept.
app=${test_name//_/-}-$$-$RANDOM
dir=$(mktemp -d "${TMPDIR:-/tmp}/kasaga-$test_name.XXXXXX")
cases=0

finish() {
    local status=$? file pid
    trap - EXIT
    for file in "$dir"/*.pid; do
        [ -f "$file" ] || continue
        pid=$(cat "$file")
        kill -CONT "$pid" 2>/dev/null && kill "$pid" 2>/dev/null || continue
        wait_for 5 gone "$pid" || kill -9 "$pid" 2>/dev/null || true
    done
    if [ -f "$dir/clusters" ]; then
        while read -r file; do tools/kafka down --name "$file" || true; done <"$dir/clusters"
    fi
    if [ $status -ne 0 ] && [ $status -ne 77 ]; then
        for file in "$dir"/*.log; do [ ! -f "$file" ] || { echo "--- ${file##*/}"; tail -n 50 "$file"; }; done
    fi
    rm -rf "$dir"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

# skip REASON: counted by name, never as passed.
skip() {
    echo "skip: $test_name: $*"
    exit 77
}

# passed CLAIM: one case of a test with several.
passed() { echo "ok $((cases += 1)) - $*"; }

gone() { ! kill -0 "$1" 2>/dev/null; }

# wait_for SECONDS COMMAND...: until the command succeeds; fails when it did not in that time.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# must_within SECONDS COMMAND...: as wait_for, and the end of the test when it does not.
must_within() { wait_for "$@" || fail "not within $1 s: ${*:2}"; }

# start NAME COMMAND...: in the background; output in $dir/NAME.log, pid by pid_of NAME.
start() {
    local name=$1
    shift
    "$@" >>"$dir/$name.log" 2>&1 </dev/null &
    echo $! >"$dir/$name.pid"
}
pid_of() { cat "$dir/$1.pid"; }

# end NAME [SIGNAL]: sends it (TERM) and waits; the exit status of the process is that of end.
end() {
    local pid
    pid=$(pid_of "$1")
    rm -f "$dir/$1.pid"
    kill "-${2:-TERM}" "$pid" 2>/dev/null || true
    wait "$pid"
}

# own_cluster NAME [options of tools/kafka up]: prints its bootstrap; taken down when the test ends.
# cluster_of NAME is its name for tools/kafka kill, start, stop, cont.
own_cluster() {
    cluster_of "$1" >>"$dir/clusters"
    tools/kafka up --name "$(cluster_of "$1")" "${@:2}"
}
cluster_of() { echo "$app-$1"; }

# records TOPIC [kcat options]: all committed records of a topic, values one per line.
records() {
    kcat -C -q -e -b "$KASAGA_BOOTSTRAP" -X isolation.level=read_committed -o beginning -t "$@"
}

equal() { # WHAT EXPECTED ACTUAL
    [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"
}

contains() { # WHAT TEXT PART
    [[ $2 == *"$3"* ]] || fail "$1: no '$3' in '$2'"
}
