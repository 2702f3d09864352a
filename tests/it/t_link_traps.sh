#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What would lose records in silence is named with topic, partition and offsets, stops that partition
# only, and waits for an operator: truncated, created again, overtaken by retention, another cluster.
# Then the operator's answer, the status, and the translation of a group's offsets.
# timeout: 400
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/link.sh"

region here "$KASAGA_BOOTSTRAP"
region there "$(own_cluster there)"
link_conf here "$(link_from there "$app.*" 'naming = "identical"')"
cli() { env -u KASAGA_BOOTSTRAP "$KASAGA" link "$@" -c "$dir/here.conf"; }
status_of() { cli status -o jsonl | jq -r "select(.topic == \"$app.$1\") | $2"; }
there() { in_region there "$@"; }

for t in good again cut trimmed; do there topic create "$app.$t" 1 >/dev/null; done
link here l1
for t in good again cut trimmed; do fill there "$app.$t" --count 1000; done
for t in good again cut trimmed; do same there here "$app.$t" --expect 1000; done

# While the link runs: deleted and created again with fewer records.
there topic delete "$app.again"
sleep 1
there topic create "$app.again" 1 >/dev/null
fill there "$app.again" --count 10
must_within 20 says l1 "event=stopped.*$app.again/0 next=1000.*copied up to offset 1000, but the source ends at 10"
fill there "$app.good" --count 100 --first 1000
same there here "$app.good" --expect 1100
passed 'a topic created again is named and stops; another goes on'

# While it does not run: created again with more records than before; overtaken by retention.
end l1
there topic delete "$app.cut"
sleep 1
there topic create "$app.cut" 1 >/dev/null
fill there "$app.cut" --count 2000 --mark other
fill there "$app.trimmed" --count 1000 --first 1000
there topic trim "$app.trimmed" 0 1500
link here l2
must_within 30 says l2 "event=stopped.*$app.cut/0 next=1000.*offset 999 holds another record"
must_within 30 says l2 "event=stopped.*$app.trimmed/0 next=1000.*offsets 1000 to 1499 were removed"
passed 'other records at the old offsets, and retention that overtook the link, are named'

must_within 20 test "$(status_of cut .stopped)" != ''
contains 'status' "$(cli status)" 'STOPPED'
contains 'status of the node' "$(cli status -o json | jq -c '.links[0].nodes[] | select(.node == "l2")')" '"breaker":"closed"'
equal 'lag of what goes on' 0 "$(status_of good .lag)"
equal 'lag of what stopped' 1000 "$(status_of trimmed .lag)"
[ "$(status_of trimmed .behind_ms)" -gt 1000000 ] || fail 'the lag in time is not that of the oldest record'
passed 'the status has lag, heartbeat and reasons'

code=0
cli skip there "$app.trimmed/0" --to start --reason 'retention was too short' </dev/null 2>"$dir/plan" || code=$?
equal 'skip without --yes' 1 "$code"
contains 'plan' "$(cat "$dir/plan")" 'offsets 1000 to 1499 are not copied'
equal 'nothing was changed' 1000 "$(status_of trimmed .next)"
cli skip there "$app.trimmed/0" --to start --reason 'retention was too short' --yes 2>"$dir/skip.log" || fail "skip: $(cat "$dir/skip.log")"
must_within 15 test "$(status_of trimmed .next)" -ge 2000
equal 'what was skipped' 500 "$(status_of trimmed .skipped)"
equal 'why' 'retention was too short' "$(status_of trimmed .reason)"
equal 'copies' 1500 "$(records "$app.trimmed" | wc -l)"
cli skip there "$app.cut/0" --to 0 --reason 'it is another topic' --yes 2>"$dir/skip.log" || fail "skip: $(cat "$dir/skip.log")"
same there here "$app.cut" --mark other --expect 2000
end l2
link here l3
must_within 20 says l3 "restored"
fill there "$app.trimmed" --count 10 --mark after
same there here "$app.trimmed" --mark after --expect 10
passed 'an operator skips, with a plan and a reason; it holds over a restart'

# A group of the source goes on here, exactly behind what it has read there.
there topic create "$app.moved" 3 >/dev/null
fill there "$app.moved" --count 3000 --transactions
same there here "$app.moved" --expect 3000
for at in 0/0 1/123 2/700; do there topic offset "$app.readers" "$app.moved" "${at%/*}" "${at#*/}"; done
cli translate there --group "$app.readers" --yes >"$dir/moved" 2>/dev/null || fail 'translate'
equal 'partitions that were translated' 3 "$(wc -l <"$dir/moved")"
from() { kcat -C -q -e -b "$1" -X isolation.level=read_committed -t "$app.moved" -p "$2" -o "$3" -f '%k %s %T\n'; }
while read -r place offset _ target moved _; do
    diff <(from "${brokers[there]}" "${place##*/}" "$offset") <(from "${brokers[here]}" "${target##*/}" "$moved") >/dev/null ||
        fail "$place $offset is not $target $moved"
    [ "$offset" -eq 0 ] || [ "$(from "${brokers[here]}" "${target##*/}" "$moved" | wc -l)" -lt \
        "$(from "${brokers[here]}" "${target##*/}" beginning | wc -l)" ] || fail "$target $moved is its beginning"
done <"$dir/moved"
passed 'offsets of a group are translated exactly, markers in between'

# The same where records were dropped, because they had come by the link of the other direction.
topic_both() { in_region "$1" topic create "$app.mixed" 2 >/dev/null; }
topic_both here && topic_both there
link_conf there "$(link_from here "$app.mixed")"
link there r1
for round in 1 2; do
    fill there "$app.mixed" --count 200 --mark "there$round" --transactions
    fill here "$app.mixed" --count 200 --mark "here$round" --transactions
    same there here "$app.mixed" --mark "there$round" --expect 200 --wait 30
    same here there "$app.mixed" --mark "here$round" --expect 200 --wait 30
done
end r1
# at REGION PARTITION OFFSET: offset, whether it came by a link, and the record, from there on.
at() {
    kcat -C -q -e -b "${brokers[$1]}" -X isolation.level=read_committed -t "$app.mixed" -p "$2" -o "$3" -J |
        jq -c '[.offset, ((.headers // []) | index("kasaga-origin") != null), [.key, .payload, .ts]]'
}
for p in 0 1; do
    at there $p beginning >"$dir/mixed-$p"
    # The beginning; the first and the last that was dropped; the first gap, which is a marker; the end.
    jq -s '[0, ([.[] | select(.[1])] | first, last)[0], ([range(1; length) as $i | select(.[$i][0] > .[$i-1][0] + 1) | .[$i-1][0] + 1][0]),
        last[0] + 1][]' "$dir/mixed-$p" >"$dir/offsets-$p"
    equal "places of partition $p" 5 "$(grep -c '^[0-9]*$' "$dir/offsets-$p")"
done
equal 'copied and dropped' '400 400' "$(for what in copied dropped; do status_of mixed ".$what" | jq -s add; done | paste -sd' ')"
for ((n = 1; n <= 5; n++)); do
    for p in 0 1; do there topic offset "$app.mixed-$n" "$app.mixed" $p "$(sed -n ${n}p "$dir/offsets-$p")"; done
    cli translate there --group "$app.mixed-$n" >"$dir/moved" 2>/dev/null || fail 'translate'
    while read -r place offset _ target moved _; do
        diff <(at there "${place##*/}" "$offset" | jq -c 'select(.[1] | not)[2]') \
            <(at here "${target##*/}" "$moved" | jq -c 'select(.[1])[2]') >"$dir/diff" || fail "$place $offset is not $target $moved: $(head -4 "$dir/diff")"
        # Exactly: what stands there is the next copy, not something before it.
        first=$(at here "${target##*/}" "$moved" | sed -n 1p)
        [ -z "$first" ] || equal "the record at $target $moved came from there" true "$(jq '.[1]' <<<"$first")"
    done <"$dir/moved"
    equal 'partitions that were translated' 2 "$(wc -l <"$dir/moved")"
done
passed 'and around records that were dropped'

# Another cluster at the address.
end l3
region elsewhere "$(own_cluster elsewhere)"
sed -i "s/${brokers[there]}/${brokers[elsewhere]}/" "$dir/here.conf"
in_region elsewhere topic create "$app.good" 1 >/dev/null
fill elsewhere "$app.good" --count 3000 --mark wrong
link here l4
held() { cli status -o json | jq -r '.links[0].nodes[] | select(.node == "l4") | .held[].why' | grep -q 'was cluster .* when this was copied up to offset 1100, and is'; }
must_within 25 held
equal 'copies of the wrong cluster' 0 "$({ records "$app.good" -f '%h\n' | grep -c mark=wrong; } || true)"
passed 'another cluster behind the address is named, nothing of it is copied'
