#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A first look: kasaga dev alone, and on a real Kafka. Of 30 orders 27 complete and 3 are undone,
# last step first; the program ends by itself.
# timeout: 180
. "$(dirname "$0")/lib.sh"

# of_type FILE TYPE: how many lines have it.
of_type() { grep -c "\"type\":\"kasaga.$2\"" "$1" || true; }

# course FILE SAGA: what was done and undone, in order.
course() {
    jq -r --arg saga "$2" 'select(.subject == $saga) | .type[7:] as $type
        | select($type | test("^(step|compensation)[.](completed|failed)$|^saga[.]comp"))
        | $type + (if .step then " " + .step else "" end)' "$1" | paste -sd, -
}

# look NAME [options]: 30 orders; checks what came out.
look() {
    local out=$dir/$1.log name=$1 id
    shift
    (cd / && "$KASAGA" dev --orders 30 --rate 20 -o jsonl "$@") >"$out" || fail "$name: exit $?"
    jq -e . "$out" >/dev/null || fail "$name: not JSON lines"
    equal "$name: started" 30 "$(of_type "$out" saga.started)"
    equal "$name: completed" 27 "$(of_type "$out" saga.completed)"
    equal "$name: compensated" 3 "$(of_type "$out" saga.compensated)"
    equal "$name: refused" 3 "$(of_type "$out" step.failed)"
    for id in 1010 1020 1030; do
        equal "$name: order $id" \
            "step.completed validate,step.completed reserve,step.failed charge,saga.compensating,compensation.completed reserve,saga.compensated" \
            "$(course "$out" "order/$id")"
    done
    equal "$name: order 1009" \
        "step.completed validate,step.completed reserve,step.completed charge,step.completed ship,step.completed notify,saga.completed" \
        "$(course "$out" order/1009)"
    contains "$name: summary" "$(tail -1 "$out")" '"orders":30,"completed":27,"compensated":3,"stuck":0,"unfinished":0'
    first=$(tail -1 "$out" | jq .first_compensated_ms)
    [ "$first" -lt 10000 ] || fail "$name: the first compensated saga came after $first ms"
}

look demo
contains "label" "$(head -1 "$dir/demo.log")" 'DEMO BROKER: no isolation, no fencing; not a proof of exactly-once'
passed "30 orders on the demo broker, the first compensated after $first ms"

look kafka --broker "$KASAGA_BOOTSTRAP"
[[ $(head -1 "$dir/kafka.log") != *DEMO* ]] || fail 'a real Kafka is called a demo broker'
passed "30 orders on a real Kafka, the first compensated after $first ms"

"$KASAGA" dev --orders 3 --fail-every 0 >"$dir/none.log" 2>&1 || fail "--fail-every 0: exit $?"
contains 'nothing refused' "$(tail -1 "$dir/none.log")" '3 orders: 3 completed, 0 compensated'
passed 'text, and no order refused'

# Ctrl-C: a clean end with a summary.
start running "$KASAGA" dev --orders 100000
must_within 20 grep -q COMPENSATED "$dir/running.log"
end running INT || fail "Ctrl-C: exit $?"
contains 'Ctrl-C' "$(tail -1 "$dir/running.log")" 'the first compensated saga after'
passed 'ends on Ctrl-C'

# The demo broker is one that other clients can use.
start shared "$KASAGA" dev --orders 100000 --rate 1
must_within 20 grep -q COMPLETED "$dir/shared.log"
broker=$(sed -n 's/^  broker *//p' "$dir/shared.log")
echo '{"order_id":"mine-1","total":7}' | kcat -P -b "$broker" -t orders
must_within 10 grep -q 'order/mine-1.*COMPLETED' "$dir/shared.log"
echo '{"order_id":"mine-2","total":7,"fail":"book"}' | kcat -P -b "$broker" -t orders
must_within 10 grep -q 'order/mine-2.*COMPENSATED' "$dir/shared.log"
kcat -C -q -e -b "$broker" -t shop.history -o beginning >"$dir/history.log"
equal 'the last step is undone first' \
    'step.completed validate,step.completed reserve,step.completed charge,step.failed ship,saga.compensating,compensation.completed charge,compensation.completed reserve,saga.compensated' \
    "$(course "$dir/history.log" order/mine-2)"
end shared || fail "SIGTERM: exit $?"
passed 'kcat puts orders in and reads the history; two steps are undone, the last one first'
