#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a worker counts is what happened: records read, attempts of each action by how they ended; and
# the trace of an event goes on through its saga, a span for each attempt. (R21)
# timeout: 120
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

count=200
inline=false write_conf
# A program that says which span it got, as one more step.
cat >"$dir/span.sh" <<'SH'
#!/bin/sh
cat >/dev/null
echo "{\"span\":\"$TRACEPARENT\"}"
SH
chmod +x "$dir/span.sh"
sed -i -e "s|^actions = (|actions = ( { name = \"span\"; kind = \"exec\"; command = [\"$dir/span.sh\"]; },|" \
    -e 's|{ name = "validate"; action = "order.validate"; },|& { name = "span"; action = "span"; },|' "$conf"
steps=validate,span,reserve,charge,ship
new_app
worker n1
must_within 20 assigned n1 3
trace=0af7651916cd43dd8448eb211c80319c
order_lines 0 $count | kcat -P -b "$KASAGA_BOOTSTRAP" -t "$input" -K "$(printf '\t')" -X acks=all \
    -H "traceparent=00-$trace-b7ad6b7169203331-01"
verdict 60
sleep 1 # the picture of a lane is up to half a second old
end n1 || fail "the worker did not end well"

stat() {
    local value
    value=$({ grep "facility=$1 event=stats" "$dir/n1.log" | grep "$2" | tail -1 | grep -o " $3=[0-9]*" | cut -d= -f2; } || true)
    echo "${value:-0}"
}
equal "aborted transactions" 0 "$(stat worker . aborts)"
equal "records read: events, and the commands made of them" $((2 * count)) "$(stat worker . records)"
equal "shards" 12 "$(stat worker . shards)"
equal "partitions of user topics" 6 "$(stat worker . inputs)"
records "$app.history" >"$dir/history"
ended() { jq -r "select(.data.action == \"$1\" and (.type | endswith(\".$2\"))) | .id" "$dir/history" | wc -l; }
for action in order.validate span stock.reserve payment.charge payment.refund stock.release parcel.book; do
    ok=$(ended $action completed) fail=$(ended $action failed)
    [ "$ok" -gt 0 ] || [ $action = payment.refund ] || fail "$action never ran"
    equal "$action: ok" "$ok" "$(stat action "action=$action " ok)"
    equal "$action: fail" "$fail" "$(stat action "action=$action " fail)"
    equal "$action: started" $((ok + fail)) "$(stat action "action=$action " started)"
done
passed "attempts of each action are counted as they ended, and records as they were read"

equal "traces" $trace "$(jq -r '.traceparent[3:35]' "$dir/history" | sort -u)"
spans=$(jq -r 'select(.attempt) | "\(.sagaid) \(.step) \(.attempt) \(.data.compensation) \(.traceparent[36:52])"' "$dir/history" | sort -u)
equal "one span for each attempt" "$(wc -l <<<"$spans")" "$(awk '{ print $1 " " $5 }' <<<"$spans" | sort -u | wc -l)"
equal "what the action got is what the history says" "$count" \
    "$(jq -r 'select(.data.result.span and .step == "span" and .data.result.span == .traceparent) | .id' "$dir/history" | wc -l)"
passed "the trace of an event goes on through its saga"
