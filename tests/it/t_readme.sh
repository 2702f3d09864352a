#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# README.md does what it says: its sh blocks are run in order, in one shell, in a clean copy of the
# tree, on a Kafka that they start themselves. A text block behind an sh block is what that prints:
# equal but for times, ids and the like; with a line `...` in it, its lines occur in this order.
# Blocks marked `sh skip` are not run and are named.
# timeout: 900
export KASAGA_BOOTSTRAP=${KASAGA_BOOTSTRAP:-unused} # the README starts its own
. "$(dirname "$0")/lib.sh"

tree=$dir/kasaga
blocks=$dir/blocks
mkdir -p "$tree/build/kafka" "$blocks" "$dir/home"

# leave: whatever the README has left running in the copy, when it failed half way.
leave() {
    local status=$? id
    for id in $(cat "$blocks/jobs" 2>/dev/null); do
        grep -qaF kasaga "/proc/$id/cmdline" 2>/dev/null && kill -9 "$id" 2>/dev/null
    done
    (cd "$tree" && KASAGA_BOOTSTRAP='' tools/kafka down --all >/dev/null 2>&1) || true
    set +e # finish ends with the status that it finds
    (exit $status)
    finish
}
trap leave EXIT

tar -cf - --exclude=./build --exclude=./.git . | tar -xf - -C "$tree"
# What is built and fetched already need not be again; make knows what is out of date.
case ${KASAGA_BUILD##*/} in
*-*) ;; # sanitizers, faults
*) [ ! -d "$KASAGA_BUILD" ] || cp -a "$KASAGA_BUILD" "$tree/build/gcc" ;;
esac
for home in build/kafka/[0-9]*; do
    [ ! -d "$home" ] || ln -s "$PWD/$home" "$tree/build/kafka/"
done

# NN.sh, and NN.text if a text block follows before the next sh block.
awk -v to="$blocks" '
    /^```/ && open { open = ""; next }
    /^```sh skip$/ { open = "skip"; next }
    /^```sh$/ { open = sprintf("%s/%02d.sh", to, ++count); next }
    /^```text$/ && count { open = sprintf("%s/%02d.text", to, count); next }
    /^```/ { open = "skip"; next }
    open == "skip" { print "not run: " $0; next }
    open { print >open }' README.md
[ -f "$blocks/01.sh" ] || fail 'README.md has no sh block'

cat >"$dir/driver" <<'SH'
cd "$1" || exit 1
for block in "$2"/*.sh; do
    . "$block" >"${block%.sh}.out" 2>&1 </dev/null
    status=$?
    jobs -p >"$2/jobs"
    [ $status -eq 0 ] || { echo "${block##*/} ended with $status" && exit 1; }
done
SH

# normal: what differs from run to run.
normal() {
    sed -E -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z/TIME/g' -e 's/^ +[0-9]+\.[0-9]{3} /T /' \
        -e 's/[0-9]+ ms/N ms/g; s/[0-9]+\.[0-9]+ s/N s/g' -e 's/-[0-9a-f]{16}/-ID/g; s/[0-9a-f]{32}/HASH/g' \
        -e 's/@[0-9]+/@N/g; s,/[0-9]+/[0-9]+,/N/N,g' -e 's/librdkafka [0-9.]+/librdkafka N/; s/[0-9]+ lanes/N lanes/' \
        -e 's/ +/ /g; s/ $//' "$1"
}

# shown NAME: is what block NAME printed what the page shows?
shown() {
    if ! grep -qx '\.\.\.' "$blocks/$1.text"; then
        diff <(normal "$blocks/$1.text") <(normal "$blocks/$1.out")
        return
    fi
    normal "$blocks/$1.text" | grep -vx '\.\.\.' | awk 'NR == FNR { wanted[++count] = $0; next }
        at < count && $0 == wanted[at + 1] { at++ }
        END { if (at < count) { print "not found: " wanted[at + 1]; exit 1 } }' - <(normal "$blocks/$1.out")
}

env -u KASAGA_BUILD -u KASAGA -u KASAGA_BOOTSTRAP -u KASAGA_PLUGINS -u KASAGA_CONFIG -u MAKEFLAGS -u MFLAGS \
    -u MAKELEVEL HOME="$dir/home" bash "$dir/driver" "$tree" "$blocks" || {
    for out in "$blocks"/*.out; do echo "--- ${out##*/}" && tail -n 30 "$out"; done
    tail -n 30 "$tree"/n*.log 2>/dev/null
    fail 'a command of README.md failed'
}
ran=$(cat "$blocks"/*.sh | grep -c .)
passed "the $ran lines of its sh blocks run"
for text in "$blocks"/*.text; do
    name=$(basename "$text" .text)
    shown "$name" || { cat "$blocks/$name.sh" "$blocks/$name.out" && fail 'README.md shows something else'; }
done
passed "what it shows is what they print"
[ "$(wc -l <README.md)" -le 150 ] || fail 'README.md has more than 150 lines'
