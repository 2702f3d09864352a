#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bounded recovery: a million sagas have finished and are past the dedupe window, a thousand are live.
# A new owner reads at most 3 x live + M records per shard, in under a second, and its state has
# the digest of the dead owner's. SAGAS says how many finish. (R13: a worker has no
# files of its own)
# timeout: 400
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

sagas=${SAGAS:-1000000}
live=1000
slack=10000
shards=4
action_keys='retry = { attempts = 5; backoff = "1h"; backoff_max = "1h"; };'
saga_keys='dedupe_window = "1s";'
write_conf "lanes = { restore_slack = $slack; };" # M
new_app 4

# The live ones ask for another attempt of their charge, an hour later; they come first.
awk -v n=$live 'BEGIN { for (i = 0; i < n; i++)
    printf "{\"order_id\":\"live-%dx\",\"sku\":\"s\",\"quantity\":1,\"total\":5,\"retry\":{\"charge\":9}}\n", i }' |
    kcat -P -b "$KASAGA_BOOTSTRAP" -t "$input" -X acks=all
worker n1
orders 1 "$sagas"

# started, completed and compensated of all shards, from the counts in the committed metadata.
ended() {
    "$KASAGA" status -o json 2>/dev/null | sed -n 's/.*"completed":\([0-9]*\),"compensated":\([0-9]*\).*"shards":\[.*/\1 \2/p' | awk '{ print $1 + $2 }'
}
all_ended() { [ "$(ended)" = "$sagas" ]; }
must_within 240 all_ended
sleep 3                    # past the window
orders $((sagas + 1)) 4000 # work, so that the low-water mark of the finished moves on
sagas=$((sagas + 4000))
must_within 60 all_ended
sleep 2

digests() { # NAME: partition and digest of its shards, as its log has them
    kill -USR1 "$(pid_of "$1")"
    must_within 5 sh -c "[ \$(grep -c event=digest '$dir/$1.log') -ge $shards ]"
    # The last word of each.
    sed -n 's/.*event=digest partition=[^ ]*\/\([0-9]*\) .*live=\([0-9]*\) .*digest=\([0-9]*\).*/\1 \2 \3/p' "$dir/$1.log" | sort -n
}
before=$(digests n1)
echo "$before"
equal "live" "$live" "$(awk '{ n += $2 } END { print n }' <<<"$before")"
end n1 KILL || true
worker n2
must_within 30 sh -c "[ \$(grep -c event=restored '$dir/n2.log') -ge $shards ]"
sleep 1
after=$(digests n2)
equal "digests of the new owner" "$before" "$after"

grep event=restored "$dir/n2.log" | sed 's/.*partition=/partition=/' | tee "$dir/restored"
while read -r line; do
    records=$(sed 's/.*records=\([0-9]*\).*/\1/' <<<"$line")
    alive=$(sed 's/.*live=\([0-9]*\).*/\1/' <<<"$line")
    ms=$(sed 's/.* ms=\([0-9]*\).*/\1/' <<<"$line")
    [ "$records" -le $((3 * alive + slack)) ] || fail "$records records read for $alive live keys"
    [ "$ms" -lt 1000 ] || fail "a restore took $ms ms"
done <"$dir/restored"
passed "$live live of $sagas sagas restored from bounded records, equal digests"
