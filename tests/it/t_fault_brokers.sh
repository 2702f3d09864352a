#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Three brokers, everything written to at least two: the leader of a shard, the coordinator of the
# group and that of the transactions are killed with -9 and come back, then each broker is restarted
# cleanly in turn, and one dies while a worker restores. Orders arrive all the time; after each the
# work goes on within a bound, at the end nothing is lost, nothing repeated.
# timeout: 400
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

KASAGA_BOOTSTRAP=$(own_cluster three --brokers 3)
export KASAGA_BOOTSTRAP
cluster=$(cluster_of three)
bound_s=45 # session of the brokers 4 s, of the workers 6 s, transactions 10 s, on a busy machine

leader() { kcat -L -b "$KASAGA_BOOTSTRAP" -t "$1" | sed -n "s/.*partition $2, leader \([1-3]\),.*/\1/p"; }
# The partition of an internal topic that a group or a transactional id belongs to: Java's hashCode.
partition_of() {
    local hash=0 i
    for ((i = 0; i < ${#1}; i++)); do hash=$(((hash * 31 + $(printf '%d' "'${1:i:1}")) & 0xffffffff)); done
    echo $(((hash & 0x7fffffff) % 4)) # tools/kafka makes four
}
coordinator() { leader "$1" "$(partition_of "$2")"; } # TOPIC NAME

ends() { # sagas that have ended, by the end offsets of the history: cheap and never waits
    kcat -Q -b "$KASAGA_BOOTSTRAP" $(seq 0 11 | sed "s/.*/-t $app.history:&:-1/") 2>/dev/null | awk '{ n += $NF } END { print n + 0 }'
}
moved() { local n; n=$(ends); [ "$n" -gt $(($1 + 300)) ]; }

# goes_on WHAT: all shards work again.
goes_on() {
    local began=$SECONDS
    wait_for $bound_s moved "$(ends)" || fail "$1: no work within $bound_s s"
    echo "$1: goes on after $((SECONDS - began)) s"
}

dies() { # WHAT BROKER
    [ -n "$2" ] || fail "$1: there is none"
    tools/kafka kill -9 --name "$cluster" --broker "$2"
    goes_on "$1 (broker $2) killed"
    tools/kafka start --name "$cluster" --broker "$2"
    goes_on "broker $2 back"
}

shards=12 # some for each of six lanes
write_conf
new_app 3
worker n1
worker n2
start feed bash -c '. tests/it/feed.sh' feed "$input" 100
must_within 30 assigned n2
sleep 3
dies "leader of a shard" "$(leader "$app.inbox" 0)"
dies "coordinator of the group" "$(coordinator __consumer_offsets "$app")"
dies "coordinator of transactions" "$(coordinator __transaction_state "$app.n1.s0.a")"
passed "a leader and both coordinators die with -9"

for broker in ${BOUNCES:-1 2}; do
    tools/kafka kill --name "$cluster" --broker "$broker"
    tools/kafka start --name "$cluster" --broker "$broker"
done
goes_on "brokers restarted in turn"
passed "brokers restarted in turn"

# The new worker has just been assigned its shards when the broker that holds a state dies.
worker n3
must_within 60 assigned n3
broker=$(leader "$app.state" 0)
tools/kafka kill -9 --name "$cluster" --broker "$broker"
sleep 3
tools/kafka start --name "$cluster" --broker "$broker"
goes_on "a broker died during a restore"
end feed || true
for n in n1 n2 n3; do ! gone "$(pid_of $n)" || fail "$n has ended"; done
verdict 90
passed "nothing lost, nothing repeated"
