#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two workers become three, three become two, under load: outside the moved shards no saga waits
# longer than 3 s, nothing is repeated. Stalls are read off the broker's timestamps of the history.
# timeout: 200
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

write_conf
new_app
worker n1
worker n2
start feed bash -c '. tests/it/feed.sh' feed "$input" 200
must_within 30 sh -c "kcat -C -q -e -b $KASAGA_BOOTSTRAP -X isolation.level=read_committed -t $app.history -o beginning | grep -q completed"
sleep 8
worker n3
sleep 15
end n3 || fail "n3 did not stop cleanly"
sleep 10
end feed || true
verdict 60
# Per partition the largest gap between records, and whether its owner ever changed.
stalls=$(kcat -C -q -e -b "$KASAGA_BOOTSTRAP" -X isolation.level=read_committed -t "$app.history" -o beginning -f '%p %T %s\n' |
    awk '{ p = $1; match($0, /"executedby":"[^"]*"/); owner = substr($0, RSTART, RLENGTH)
           if (p in last && $2 - last[p] > gap[p]) gap[p] = $2 - last[p]
           if (p in who && who[p] != owner) moved[p] = 1
           last[p] = $2; who[p] = owner }
         END { for (p in gap) print p, gap[p], (p in moved) ? "moved" : "stayed" }')
echo "$stalls" | sort -n
worst=$(awk '$3 == "stayed" && $2 > max { max = $2 } END { print max + 0 }' <<<"$stalls")
[ "$worst" -le 3000 ] || fail "a shard that stayed waited $worst ms"
passed "2 -> 3 -> 2 workers: shards that stayed waited at most $worst ms"
