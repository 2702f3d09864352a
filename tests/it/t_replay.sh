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

orders=${ORDERS:-2000}
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
must_within 60 ended
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

# Somebody writes into the history what never happened.
partition=$(awk '$1 == "order/waiting-2x" { print $2; exit }' "$dir/history")
awk '$1 == "order/waiting-2x" && /step.retrying/ { sub(/^[^{]*/, ""); sub(/#[0-9]+"/, "#99\""); print; exit }' "$dir/history" |
    kcat -P -b "$KASAGA_BOOTSTRAP" -t "$app.history" -p "$partition" -k order/waiting-2x -X acks=all
code 1 kasaga replay --saga order/waiting-2x
contains "what is wrong" "$err" "$app.history/$partition offset"
passed "a history that was tampered with is not believed"
