#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A fourth worker joins three under load: it gets a quarter of the shards, and only those move and
# pause; the other workers restore nothing. (R203)
# timeout: 150
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

write_conf 'lanes = { shard = 1; };'
new_app
workers=(n1 n2 n3)
for n in "${workers[@]}"; do worker "$n"; done

# owners FILE: "shard member" of each shard; shares: how many each member has, "4 4 4".
owners() { "$KASAGA" status -o json | jq -r '.shards[] | "\(.shard) \(.member)"' >"$1"; }
shares() {
    owners "$dir/owners"
    awk '$2 != "null" { n[$2]++ } END { for (m in n) print n[m] }' "$dir/owners" | sort -n | tr '\n' ' ' | sed 's/ $//'
}
have() { [ "$(shares)" = "$1" ]; }
restores() { for n in "${workers[@]}"; do grep -c 'event=restored.*inbox' "$dir/$n.log" || true; done | awk '{ n += $1 } END { print n }'; }

must_within 40 have "4 4 4"
start feed bash -c '. tests/it/feed.sh' feed "$input" 200
sleep 5
owners "$dir/before"
restored=$(restores)
worker n4
must_within 30 have "3 3 3 3"
sleep 5
owners "$dir/after"
end feed || true
verdict 60

moved=$({ diff "$dir/before" "$dir/after" || true; } | sed -n 's/^> //p')
echo "moved:" $moved
equal "shards that moved" 3 "$(grep -c . <<<"$moved")"
equal "to the new worker" 3 "$(grep -c ' n4\.s0$' <<<"$moved")"
equal "shards that the old workers restored meanwhile" 0 $(($(restores) - restored))
worst=$(kcat -C -q -e -b "$KASAGA_BOOTSTRAP" -X isolation.level=read_committed -t "$app.history" -o beginning -f '%p %T\n' |
    awk -v moved=" $(cut -d' ' -f1 <<<"$moved" | tr '\n' ' ')" '
        $1 in last && $2 - last[$1] > gap[$1] { gap[$1] = $2 - last[$1] } { last[$1] = $2 }
        END { for (p in gap) if (index(moved, " " p " ") == 0 && gap[p] > worst) worst = gap[p]; print worst + 0 }')
[ "$worst" -le 3000 ] || fail "a shard that stayed waited $worst ms"
passed "a fourth worker moved 3 of 12 shards; the others waited at most $worst ms"
