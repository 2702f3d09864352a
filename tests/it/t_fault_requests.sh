#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a network can do to single requests of one of two workers, on a real Kafka behind kproxy:
# requests that arrive late, answers that are swallowed, connections that end under a request, all
# traffic gone for 3 and for 15 seconds. Each time: nothing lost, nothing repeated, and the worker
# takes part again. SCENARIOS="a b" = only those.
# timeout: 400
#
# Each scenario is this script again, with an app of its own: t_fault_requests.sh SCENARIO.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"
. "$(dirname "$0")/proxy.sh"

jobs_max=${JOBS:-6}

# The worker under fault is named after the scenario: rules go by the client.id.
running() {
    shards=4
    write_conf
    new_app 2
    start feed bash -c '. tests/it/feed.sh' feed "$input" 100
    worker healthy
    [ $# -gt 0 ] || { proxied "$node" && must_within 30 assigned "$node"; }
}

# recovered: the worker under fault works, both live, and the topics are as they should be.
recovered() {
    px clear "$node." >/dev/null
    must_within 60 takes_part "$node"
    for who in "$node" healthy; do ! gone "$(pid_of $who)" || fail "$who has ended"; done
    end feed || true
    verdict 60
    echo "commits that failed: $(grep -c 'event=commit_failed' "$dir/$node.log" || true)"
}

# faults TIMES ACTION API [options]: to the worker's lanes, until it has happened that often.
faults() {
    local rule
    rule=$(px "$2" "$3" client="$node." times="$1" "${@:4}")
    must_within 40 hit "$rule" "$1"
}

# KAFKA-17754: an EndTxn that arrives when later transactions are open must not settle one of them.
# First its connection stays and the client gives up by its own timeout; then the connection ends and
# librdkafka sends it again by itself.
late_end_txn() {
    running
    faults 2 hold EndTxn
    sleep 7
    px release "$node." >/dev/null
    for _ in 1 2 3 4 5; do
        faults 1 hold EndTxn
        px reset "$node." >/dev/null
        sleep 1 # the repeated one is answered, and transactions go on
        px release "$node." >/dev/null
    done
    recovered
}
late_offsets() { # the same for what goes before it
    running
    for api in TxnOffsetCommit AddOffsetsToTxn AddPartitionsToTxn Produce; do
        faults 1 hold $api
        px reset "$node." >/dev/null
        sleep 1
        px release "$node." >/dev/null
    done
    recovered
}
twice() { # requests that arrive twice
    running
    for api in AddPartitionsToTxn AddOffsetsToTxn TxnOffsetCommit EndTxn Produce; do faults 5 dup $api; done
    recovered
}
swallowed() { # API: done, and nobody is told
    running
    faults 2 swallow "$1"
    recovered
}
lost() { # API: done, and the connection ends instead of the answer
    running
    faults 5 lose "$1"
    recovered
}
at_the_start() { # answers that a worker needs to begin
    running without
    px swallow InitProducerId client="$node." times=2 >/dev/null
    px swallow OffsetFetch client="$node." times=2 >/dev/null
    px swallow JoinGroup client="$node." times=1 >/dev/null
    proxied "$node"
    recovered
}
slow_answers() { # every answer to the transaction calls comes 300 ms late
    running
    for api in EndTxn TxnOffsetCommit AddOffsetsToTxn; do px late $api client="$node." ms=300 times=20 >/dev/null; done
    sleep 8
    recovered
}
cut() { # SECONDS: nothing passes in either direction; what was on its way arrives afterwards
    running
    px freeze "$node." >/dev/null
    sleep "$1"
    px thaw "$node." >/dev/null
    recovered
}
cut_and_reset() { # the same, and the connections do not outlive it
    running
    px freeze "$node." >/dev/null
    sleep "$1"
    px reset "$node." >/dev/null
    px thaw "$node." >/dev/null
    recovered
}

if [ $# -ge 1 ]; then
    node=${1//[_:]/-}
    "${1%%:*}" $(sed -n 's/^[^:]*://p' <<<"$1")
    exit
fi

proxied_cluster
scenarios=${SCENARIOS:-late_end_txn cut:15 cut_and_reset:15 at_the_start swallowed:EndTxn swallowed:TxnOffsetCommit
    swallowed:AddOffsetsToTxn swallowed:AddPartitionsToTxn swallowed:Produce late_offsets twice lost:EndTxn
    lost:TxnOffsetCommit lost:AddOffsetsToTxn slow_answers cut:3}
for scenario in $scenarios; do
    while [ "$(jobs -rp | grep -vcx "$(pid_of kproxy)")" -ge "$jobs_max" ]; do sleep 0.2; done
    began=$SECONDS
    { "$0" "$scenario" >"$dir/$scenario.out" 2>&1 && echo "clean $((SECONDS - began))" || echo "FAILED $((SECONDS - began))"; } >"$dir/$scenario.word" &
done
while [ "$(jobs -rp | grep -vcx "$(pid_of kproxy)")" -gt 0 ]; do sleep 0.2; done
failed=0
for scenario in $scenarios; do
    printf '%-30s %s s, %s\n' "$scenario" "$(cat "$dir/$scenario.word")" "$(grep '^commits that' "$dir/$scenario.out")"
    grep -q clean "$dir/$scenario.word" || { failed=$((failed + 1)); sed 's/^/    /' "$dir/$scenario.out" | tail -n 300; }
done
px counts
[ $failed -eq 0 ] || fail "$failed scenarios"
passed "$(wc -w <<<"$scenarios") kinds of trouble with single requests leave no trace"
