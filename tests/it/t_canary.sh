#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Is rule 5 of docs/lane.md needed, and would these tests see its absence? KAFKA-17754 on a real
# Kafka: an EndTxn is delayed, its connection ends, librdkafka sends it again and is answered. The
# delayed one arrives when a later transaction of the same producer is open, its outputs written and
# its offsets not yet: Kafka commits half a transaction. Then the worker dies, and its successor does
# the batch again. Sagas would survive that: their states were committed and tell the successor that
# they have ended. What is dead on arrival has no state: with the rule off, records are twice in the
# dlq; with it, each is there once.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"
. "$(dirname "$0")/proxy.sh"

faulty=${KASAGA_FAULTS:-$KASAGA_BUILD-faults/kasaga}
delay_ms=4000 # less than the time after which a lane gives up a call

# Offsets of the input that are in the dlq more than once or not at all.
misfits() {
    records "$app.dlq" -f '%h\n' | grep -o '__connect.errors.partition=[0-9]*\|__connect.errors.offset=[0-9]*' |
        paste - - | sort | uniq -c | awk '$1 != 1' | wc -l
}
# At most so many are read: the end moves, and may never be met.
buried() { [ "$(records "$app.dlq" -c "$1" -f '%p\n' | wc -l)" -ge "$1" ]; }

late_commit_of_half_a_transaction() { # NODE
    local node=$1 rule sent
    shards=2
    write_conf
    new_app 1
    start feed bash -c '. tests/it/feed.sh' feed "$input" 50 broken
    start "$node" "$faulty" worker --node "$node" --bootstrap "$front"
    must_within 30 assigned "$node" 3
    must_within 10 buried 1
    rule=$(px delay EndTxn client="$node.r0" ms=$delay_ms times=1)
    must_within 20 hit "$rule" 1
    # The producers take turns: the next transaction is the other's, the one after it this one's.
    rule=$(px hold TxnOffsetCommit client="$node.r0" skip=1)
    px reset "$node.r0" >/dev/null
    must_within 4 hit "$rule" 1
    sleep $((delay_ms / 1000)) # now it has arrived
    end "$node" KILL || true
    px clear >/dev/null
    worker successor
    end feed || true
    sent=$(records "$input" -f '%p\n' | wc -l)
    must_within 60 buried "$sent"
    sleep 1
    echo "$sent broken records, $(records "$app.dlq" -f '%p\n' | wc -l) in the dlq, $(misfits) of them twice"
    [ "$(misfits)" = 0 ]
}

if [ $# -eq 1 ]; then
    late_commit_of_half_a_transaction "$1" || exit 3
    exit
fi

[ -x "$faulty" ] || fail "there is no $faulty: make faults"
proxied_cluster
status=0
# 22 is the part of rule 5 that resets a producer whose client has tried again unasked.
KASAGA_RULES_OFF=5,22 "$0" unruly >"$dir/unruly.out" 2>&1 || status=$?
[ $status -eq 3 ] || fail "without rule 5, exit $status: $(tail -n 60 "$dir/unruly.out")"
grep 'in the dlq' "$dir/unruly.out"
passed 'without rule 5 a late EndTxn commits half a transaction'
"$0" ruly >"$dir/ruly.out" 2>&1 || fail "with rule 5: $(tail -n 60 "$dir/ruly.out")"
grep 'in the dlq' "$dir/ruly.out"
passed 'with rule 5 the same late EndTxn is harmless'
