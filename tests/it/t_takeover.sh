#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From kill -9 of a worker to the next committed step of a key of its shards: at most the session
# timeout and one second (median of 10), with the broker's default sweep of transactions. Orders
# arrive all the time, so the dead worker is likely to leave an open transaction. (R4)
# timeout: 400
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

runs=${RUNS:-10}
session_ms=6000
write_conf
new_app
worker n0
worker a0
start feed bash -c '. tests/it/feed.sh' feed "$input" 100
must_within 30 takes_part a0
sleep 2

now_ms() { date +%s%3N; }
# Partitions whose last history record was written by this node.
partitions_of() {
    { timeout 5 kcat -C -q -e -b "$KASAGA_BOOTSTRAP" -X isolation.level=read_committed -t "$app.history" \
        -o -200 -f '%p %s\n' || true; } | awk -v node="test/$1" '{ owner[$1] = index($0, "\"executedby\":\"" node "\"") > 0 }
        END { for (p in owner) if (owner[p]) print p }'
}

times=
victim=a0
for ((run = 1; run <= runs; run++)); do
    owned=$(partitions_of "$victim")
    [ -n "$owned" ] || fail "worker $victim owns nothing"
    killed=$(now_ms)
    end "$victim" KILL || true
    # The first record of each of its partitions that another worker committed afterwards.
    first=$(timeout 30 kcat -C -q -u -b "$KASAGA_BOOTSTRAP" -X isolation.level=read_committed \
        -X fetch.wait.max.ms=10 -t "$app.history" -o end -f '%p %T\n' |
        awk -v owned="$(echo $owned)" 'BEGIN { n = split(owned, list, " "); for (i in list) mine[list[i]] = 1 }
            $1 in mine { print systime() * 1000; exit }' || true)
    ended=$(now_ms)
    [ -n "$first" ] || fail "no step of a dead worker's shard within 30 s"
    times+="$((ended - killed))"$'\n'
    echo "run $run: $((ended - killed)) ms, shards $(echo $owned | wc -w)"
    victim=a$run
    worker "$victim"
    must_within 30 takes_part "$victim"
    sleep 2
done
median=$(sort -n <<<"${times%$'\n'}" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }')
echo "takeover: median $median ms of $runs runs, session timeout $session_ms ms"
[ "$median" -le $((session_ms + 1000)) ] || fail "median takeover $median ms"
end feed || true
verdict 60
passed "takeover within session timeout + 1 s: median $median ms"
