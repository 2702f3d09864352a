#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# soak.sh MINUTES: random faults, one every 10 to 30 seconds, on three brokers and three workers behind
# kproxy, while orders arrive; `make soak MINUTES=30`. n1 is never killed: its memory, descriptors and
# threads must not grow. At the end nothing is lost, nothing repeated. SEED=N repeats the choice.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"
. "$(dirname "$0")/proxy.sh"

minutes=${1:-30}
RANDOM=${SEED:=$((RANDOM + 1))}
echo "soak: $minutes minutes, SEED=$SEED"
proxied_cluster --brokers 3
cluster=$(cluster_of proxied)
faulty=$KASAGA_BUILD-faults/kasaga
points=($(grep -rhoE 'KILL_POINT(_SOON)?\("[a-z_]+"' src/engine | sed 's/.*"\(.*\)"/\1/' | sort -u))
apis=(EndTxn TxnOffsetCommit AddOffsetsToTxn AddPartitionsToTxn Produce Fetch OffsetFetch Heartbeat JoinGroup SyncGroup InitProducerId Metadata)
nodes=(n1 n2 n3)
declare -A count
born=3

pick() { local -n from=$1; picked=${from[RANDOM % ${#from[@]}]}; }
# another NODE: it comes back under a new name, as in a cluster that reschedules.
another() {
    local i
    for i in 1 2; do
        [ "${nodes[i]}" = "$1" ] || continue
        nodes[i]=n$((born += 1))
        proxied "${nodes[i]}"
    done
}
mortal() { picked=${nodes[1 + RANDOM % 2]}; }

fault_kill() { mortal; end "$picked" KILL || true; another "$picked"; }
fault_term() { mortal; end "$picked" || true; another "$picked"; }
fault_kill_point() {
    mortal
    local node=$picked new
    end "$node" || true
    another "$node"
    new=n$born
    end "$new" KILL || true
    pick points
    KASAGA_KILL_AT=$picked:$((1 + RANDOM % 40)) start "$new" "$faulty" worker --node "$new" --bootstrap "$front"
}
fault_stop() { pick nodes; kill -STOP "$(pid_of "$picked")"; sleep $((3 + RANDOM % 16)); kill -CONT "$(pid_of "$picked")" || true; }
fault_cut() { pick nodes; px freeze "$picked." >/dev/null; sleep $((1 + RANDOM % 16)); px thaw "$picked." >/dev/null; }
fault_reset() { pick nodes; px reset "$picked." >/dev/null; }
fault_request() {
    local actions=(hold drop dup swallow late lose cut delay) node action
    pick nodes && node=$picked
    pick actions && action=$picked
    pick apis
    px "$action" "$picked" client="$node." times=$((1 + RANDOM % 4)) ms=$((RANDOM % 3000)) >/dev/null
    sleep $((2 + RANDOM % 8))
    px release "$node." >/dev/null
    px clear "$node." >/dev/null
}
fault_broker_kill() { local b=$((1 + RANDOM % 3)); tools/kafka kill -9 --name "$cluster" --broker $b; sleep $((RANDOM % 10)); tools/kafka start --name "$cluster" --broker $b; }
fault_broker_bounce() { local b=$((1 + RANDOM % 3)); tools/kafka kill --name "$cluster" --broker $b; tools/kafka start --name "$cluster" --broker $b; }
fault_broker_stop() { local b=$((1 + RANDOM % 3)); tools/kafka stop --name "$cluster" --broker $b; sleep $((1 + RANDOM % 8)); tools/kafka cont --name "$cluster" --broker $b; }
kinds=(kill kill_point term stop cut reset request request request broker_kill broker_bounce broker_stop)

sample() {
    local pid
    pid=$(pid_of n1)
    ! gone "$pid" || fail "n1 has ended"
    echo "$SECONDS $(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status") $(ls "/proc/$pid/fd" | wc -l) $(ls "/proc/$pid/task" | wc -l)" >>"$dir/samples"
}
# flat COLUMN NAME SLACK: the mean of the last quarter is at most a quarter and SLACK above that of the
# second one (the first is warming up).
flat() {
    awk -v c="$1" -v name="$2" -v slack="$3" '{ v[NR] = $c } END {
        for (i = int(NR / 4) + 1; i <= int(NR / 2); i++) { a += v[i]; na++ }
        for (i = int(NR * 3 / 4) + 1; i <= NR; i++) { b += v[i]; nb++ }
        printf "%s of n1: %d then %d\n", name, a / na, b / nb; exit b / nb > a / na * 1.25 + slack }' "$dir/samples" ||
        fail "$2 grows"
}

shards=6
write_conf
new_app 3
for node in "${nodes[@]}"; do proxied "$node"; done
start feed bash -c '. tests/it/feed.sh' feed "$input" "${RATE:-100}"
until_s=$((SECONDS + minutes * 60))
while [ $SECONDS -lt $until_s ]; do
    pick kinds && kind=$picked
    count[$kind]=$((${count[$kind]:-0} + 1))
    echo "$((SECONDS)) s: $kind"
    "fault_$kind"
    pause=$((SECONDS + 10 + RANDOM % 20))
    while [ $SECONDS -lt $pause ]; do sample && sleep 2; done
    for node in "${nodes[1]}" "${nodes[2]}"; do # a kill point may have been met
        ! gone "$(pid_of "$node")" || { grep -q '^killed at=' "$dir/$node.log" || fail "$node has ended by itself"; another "$node"; }
    done
done
end feed || true
for kind in "${!count[@]}"; do echo "$kind: ${count[$kind]}"; done
verdict 180
flat 2 'memory in KiB' 8192
flat 3 descriptors 20
flat 4 threads 20
passed "$minutes minutes of faults: nothing lost, nothing repeated, nothing grows"
