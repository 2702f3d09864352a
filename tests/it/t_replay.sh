#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The history is the journal: instances run again from it come to the states that workers stored,
# byte for byte, whatever happened to them. (R15)
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

# code EXPECTED COMMAND...: runs it, its output in $out and its errors in $err.
code() {
    local expected=$1 status=0
    shift
    "$@" >"$dir/out" 2>"$dir/err" </dev/null || status=$?
    out=$(cat "$dir/out") err=$(cat "$dir/err")
    equal "exit code of '$*' ($err)" "$expected" "$status"
}

orders=${ORDERS:-5000} # so that chunks of finished sagas are full
shards=4
inline=false # attempts in flight, to be taken over
action_keys='retry = { attempts = 5; backoff = "1h"; backoff_max = "1h"; };'
saga_keys='deadline = "2h";'
write_conf
sed -i -e 's/compensate = "stock.release"; }/compensate = "stock.release"; compensate_input = ".input"; compensate_retry = { attempts = 1; }; }/' \
    -e 's/fail_every = 10; }/fail_every = 10; sleep_ms = 50; }/' "$conf"
new_app 4

# special ID MEMBERS: an order that something happens to.
special() {
    printf '{"order_id":"%s","customer":"c","sku":"s","quantity":1,"total":5,%s}\n' "$1" "$2" |
        kcat -P -b "$KASAGA_BOOTSTRAP" -t "$input" -X acks=all
}
worker n1
worker n2
must_within 30 assigned n1
must_within 30 assigned n2
for i in 1 2 3 4 5 6; do
    special "waiting-${i}x" '"retry":{"charge":9}'
    special "paused-${i}x" '"retry":{"charge":1},"unknown":{"book":1}'
    special "stuck-${i}0" '"fail":"release"' # charge refuses it, and its undo is refused for ever
done
orders 1 $((orders / 2))
must_within 30 takes_part n2
end n2 KILL || true
worker n3
orders $((orders / 2 + 1)) $((orders / 2))
for i in 1 2 3; do
    code 0 kasaga saga pause "order/paused-${i}x" --reason "a pause: \"näh\"" --timeout 30s
done
ended() { [ "$("$KASAGA" status -o json | jq '.completed + .compensated')" = "$orders" ]; }
must_within 120 ended
stuck() { [ "$("$KASAGA" status -o json | jq '.stuck')" = 6 ]; }
must_within 60 stuck
code 0 kasaga saga cancel "order/waiting-1x" --reason "no more" --timeout 30s
code 0 kasaga saga resume "order/paused-1x" --reason "go on" --timeout 30s
code 0 kasaga saga skip "order/stuck-10" --reason "by hand" --timeout 30s
code 0 kasaga saga retry "order/stuck-20" --reason "again" --timeout 30s
code 0 kasaga saga terminate "order/stuck-30" --reason "test" --timeout 30s
must_within 30 sh -c "[ \$('$KASAGA' status -o json | jq '.stuck') = 7 ]" # the second is stuck again

taken_over=$(records "$app.history" | jq -r 'select(.cause == "takeover") | .subject' | sort -u)
[ -n "$taken_over" ] || fail "nothing was in flight when n2 was killed"
replayed=0 states=0
for key in order/{waiting,paused,stuck}-{1..6}{x,0} order/o-{1,2,3,10,20,30} $(head -5 <<<"$taken_over"); do
    case $key in order/waiting-?0 | order/paused-?0 | order/stuck-?x) continue ;; esac
    code 0 kasaga replay --saga "$key" -o json
    replayed=$((replayed + 1))
    states=$((states + $(jq .states_compared <<<"$out")))
done
[ "$states" -ge 15 ] || fail "only $states states were compared"
code 0 kasaga replay --saga order/waiting-2x
contains "a waiting saga" "$out" "order/waiting-2x@"
contains "what was compared" "$out" "byte for byte"
contains "its state" "$out" '"step":"charge","state":"waiting"'
code 0 kasaga replay --saga order/o-10
contains "one that has ended" "$out" "remembers it as compensated"
passed "$replayed sagas of every kind replayed, $states states equal to the byte"

records "$app.history" -f '%k %p %o %s\n' >"$dir/history"
offset=$(awk '$1 == "order/waiting-1x" && /step.retrying/ { print $3; exit }' "$dir/history")
code 0 kasaga replay --saga order/waiting-1x --until "$offset" -o json
equal "its state then" waiting "$(jq -r '.state.steps[2].state' <<<"$out")"
equal "it has gone on" true "$(jq .went_on <<<"$out")"
code 0 kasaga replay --saga order/waiting-1x -o json
equal "its state now" compensated "$(jq -r .state.state <<<"$out")"
code 5 kasaga replay --saga order/nobody
code 2 kasaga replay
code 5 kasaga replay --saga order/waiting-1x@999999
passed "an instance as it stood at an offset of the history"


# --- the state topic is lost

digests() { # NAME: partition and digest of its shards, when it has all of them
    local told try
    for ((try = 0; try < 20; try++)); do
        told=$(wc -l <"$dir/$1.log")
        kill -USR1 "$(pid_of "$1")"
        sleep 0.5
        tail -n +$((told + 1)) "$dir/$1.log" |
            sed -n 's/.*event=digest partition=[^ ]*inbox\/\([0-9]*\) .*digest=\([0-9]*\).*/\1 \2/p' | sort -n >"$dir/digests"
        [ "$(wc -l <"$dir/digests")" -ne $shards ] || break
    done
    cat "$dir/digests"
}
rebuilt() { jq -r '.[] | "\(.shard) \(.digest)"' <<<"$out" | sort -n; }
parked() { [ "$(grep -c event=parked "$dir/$1.log")" -ge "$2" ]; }
alone() { "$KASAGA" shard rebuild --yes --reason test >"$dir/alone" 2>&1 || ! grep -q members "$dir/alone"; }

end n1 || fail "n1 did not end well"
must_within 30 sh -c "[ \$(grep -c event=restored '$dir/n3.log') -ge $shards ]"
sleep 2
before=$(digests n3)
equal "shards" $shards "$(wc -l <<<"$before")"
code 0 kasaga shard rebuild -o json # a worker runs, but nothing moves
equal "digests from the history" "$before" "$(rebuilt)"
end n3 || fail "n3 did not end well"
topic delete "$app.state"
must_within 30 sh -c "! kcat -L -b $KASAGA_BOOTSTRAP | grep -q '\"$app.state\"'"
code 0 kasaga topics apply --yes
worker n4
must_within 60 parked n4 $shards
contains "why a worker stops" "$(cat "$dir/n4.log")" "class=DIVERGED"
code 1 kasaga shard rebuild --yes --reason test
contains "a worker that runs" "$err" "stop the workers first"
end n4 || fail "n4 did not end well"
passed "a state topic that was created again stops its shards"

code 1 kasaga shard repair
contains "repair explains" "$out" "created again"
contains "and advises" "$out" "kasaga shard rebuild"
code 1 kasaga shard rebuild
contains "the plan" "$out" "rewrite"
code 2 kasaga shard rebuild --yes
must_within 30 alone
code 0 kasaga shard rebuild -o json
equal "verdicts" "agrees agrees agrees agrees" "$(jq -r '[.[].verdict] | join(" ")' <<<"$out")"
equal "digests of the rebuilt state" "$before" "$(rebuilt)"
equal "digests of the state topic" "$before" "$(jq -r '.[] | "\(.shard) \(.state_digest)"' <<<"$out" | sort -n)"
worker n5
must_within 30 sh -c "[ \$(grep -c event=restored '$dir/n5.log') -ge $shards ]"
sleep 1
equal "digests of the next owner" "$before" "$(digests n5)"
passed "the state is rebuilt from the history: equal digests"

orders 1 100 # known already
orders $((orders + 1)) 200
orders=$((orders + 200))
must_within 60 sh -c "[ \$('$KASAGA' status -o json | jq '.completed + .compensated') -ge $((orders + 2)) ]"
for i in 2 3; do
    code 0 kasaga saga resume "order/paused-${i}x" --reason "go on" --timeout 30s
done
code 0 kasaga saga cancel "order/waiting-3x" --reason "no more" --timeout 30s
code 0 kasaga saga skip "order/stuck-40" --reason "by hand" --timeout 30s
verdict 30 --allow-unfinished --rebuilt
code 0 kasaga shard rebuild
passed "the sagas go on where they were, and the checker finds nothing"

# --- the committed offset is lost

end n5 || fail "n5 did not end well"
committed() { "$KASAGA" status -o json | jq ".shards[$1].offset"; }
at=$(committed 1)
topic offset "$app" "$app.inbox" 1 none
topic offset "$app" "$app.inbox" 2 3
topic offset "$app" "$app.inbox" 3 "$(($(committed 3) - 1))"
worker n6
must_within 30 parked n6 3
code 1 kasaga shard repair --yes --reason "a mistake"
contains "a worker that runs" "$err" "stop the workers first"
end n6 || fail "n6 did not end well"
code 1 kasaga shard repair -o json
equal "what is wrong" "agrees no_offset not_ours not_ours" "$(jq -r '[.[].fault] | join(" ")' <<<"$out")"
[ "$(jq '.[1].commit' <<<"$out")" -le "$at" ] || fail "commands would be skipped: $out"
code 1 kasaga shard repair
contains "the plan" "$out" "commit "
repaired() { "$KASAGA" shard repair --yes --reason "offsets were reset by mistake" --actor ann >"$dir/repair" 2>&1; }
must_within 30 repaired
contains "who and why" "$(records "$app.catalog" -f '%k %s\n' | grep ^repair/1/)" "by mistake"
code 0 kasaga shard repair
worker n7
must_within 30 sh -c "[ \$(grep -c event=restored '$dir/n7.log') -ge $shards ]"
orders $((orders + 1)) 100
orders=$((orders + 100))
must_within 60 sh -c "[ \$('$KASAGA' status -o json | jq '[.shards[].lag] | add') -le 4 ]"
must_within 60 sh -c "[ \$(kcat -C -q -e -b $KASAGA_BOOTSTRAP -X isolation.level=read_committed -o beginning -t $app.history | grep -c 'type\":\"kasaga.saga.started') = $((orders + 18)) ]"
verdict 30 --allow-unfinished --rebuilt
code 0 kasaga shard rebuild
passed "a lost offset is explained and committed again; nothing is repeated, nothing lost"

# Somebody writes into the history what never happened.
partition=$(awk '$1 == "order/waiting-2x" { print $2; exit }' "$dir/history")
awk '$1 == "order/waiting-2x" && /step.retrying/ { sub(/^[^{]*/, ""); sub(/#[0-9]+"/, "#99\""); print; exit }' "$dir/history" |
    kcat -P -b "$KASAGA_BOOTSTRAP" -t "$app.history" -p "$partition" -k order/waiting-2x -X acks=all
code 1 kasaga replay --saga order/waiting-2x
contains "what is wrong" "$err" "$app.history/$partition offset"
code 1 kasaga shard rebuild --shard "$partition"
contains "what it is refused for" "$out" "order/waiting-2x: "
passed "a history that was tampered with is not believed"
