#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The history checker against histories that are known: a clean one passes, and of each fault that
# `plant` knows it finds the one kind that it is, and nothing else.
# timeout: 300
. "$(dirname "$0")/lib.sh"

jobs_max=3
read -ra flags < <(pkg-config --cflags --libs rdkafka avro-c)
"${CC:-gcc}" -std=c11 -D_GNU_SOURCE -O1 tests/it/plant.c -o "$dir/plant" "${flags[@]}"
fingerprints=$(checker --fingerprints)

check() {
    checker --app "$1" --input "$1.orders:order_id" --steps validate,reserve,charge,ship \
        --expect-failed fail=true "${@:2}"
}

# one FAULT KIND: writes "ok" or what is wrong to $dir/FAULT.
one() {
    local name=$app-$1 status=0 kinds wait=
    "$dir/plant" --app "$name" --fault "$1" --fingerprints "$fingerprints" || return
    [ "$1" != open-transaction ] || wait="--stall 2"
    # shellcheck disable=SC2086
    check "$name" -o json $wait >"$dir/$1.json" || status=$?
    kinds=$(jq -r '.kinds | keys | join(" ")' "$dir/$1.json")
    if [ "$kinds" != "$2" ]; then
        echo "found '$kinds' instead of '$2': $(jq -c '.found[:5]' "$dir/$1.json")"
    elif [ $status -ne $((${#2} > 0)) ]; then
        echo "exit $status"
    else
        echo ok
    fi
}

while read -r fault kind; do
    while [ "$(jobs -rp | wc -l)" -ge $jobs_max ]; do wait -n; done
    one "$fault" "$kind" >"$dir/$fault.log" 2>&1 &
done < <("$dir/plant" --list)
wait

"$dir/plant" --list >"$dir/faults"
while read -r fault kind; do
    [ "$(cat "$dir/$fault.log")" = ok ] || fail "$fault: $(cat "$dir/$fault.log")"
    passed "${kind:-nothing} is found in: $fault"
done <"$dir/faults"

status=0
checker --app "$app-no-such" >"$dir/out" 2>&1 || status=$?
equal 'exit for an app that is not there' 2 $status
status=0
checker --app x --bootstrap 127.0.0.1:1 >"$dir/out" 2>&1 || status=$?
equal 'exit without a cluster' 69 $status
passed 'usage and an unreachable cluster have exits of their own'
