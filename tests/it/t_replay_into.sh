#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An app is built again from its user topics: a second one reads them from the start, by ordinary
# workers, one of which is killed. Nothing is called on the outside again, and every saga comes to
# the same outcome with the same data. With --effects calls are made. (R15)
# timeout: 240
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

# The outside: it keeps a record of each call, answers differently each time, declines one in ten and
# asks for another attempt of one in seven.
cat >"$dir/charge.sh" <<SH
#!/bin/sh
n=\$(sed 's/.*"order_id":"[a-z]*-\([0-9]*\)".*/\1/')
echo "\$KASAGA_IDEMPOTENCY_KEY#\$KASAGA_ATTEMPT" >>"$dir/calls"
[ \$((n % 10)) -ne 0 ] || { echo '{"code":"declined","message":"no money"}'; exit 1; }
[ \$((n % 7)) -ne 0 ] || [ "\$KASAGA_ATTEMPT" -gt 1 ] || exit 75
echo "{\"payment\":\"p-\$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')\"}"
SH
chmod +x "$dir/charge.sh"
: >"$dir/calls"
orders=${ORDERS:-300}
shards=4
inline=false
write_conf
sed -i -e "/name = \"payment.charge\"/,/},/c\\  { name = \"payment.charge\"; kind = \"exec\"; command = [\"$dir/charge.sh\"]; retry = { attempts = 3; backoff = \"100ms\"; }; }," \
    -e 's/"order.validate"; kind = "plugin"; library = "shop.so"; inline = false/"order.validate"; kind = "plugin"; library = "shop.so"; inline = true/' "$conf"
new_app 3
worker n1
orders 1 "$orders"
verdict 90
end n1 || fail "n1 did not end well"
made=$(wc -l <"$dir/calls")
[ "$made" -ge "$orders" ] || fail "only $made calls were made"

outcomes() { # APP: of each saga its end, and what each step said
    records "$1.history" |
        jq -c 'select(.type | test("(step|compensation|saga).(completed|compensated)$")) | [.subject, .type, .step, .data.result, .data.code]' | sort
}
outcomes "$app" >"$dir/outcomes"

second() { # NAME: the configuration of another app
    sed "s/^app = \"$app\"/app = \"$app-$1\"/" "$conf" >"$dir/$1.conf"
}
second again
code 2 kasaga replay --of "$app"
code 69 kasaga replay --of "$app" --from earliest -c "$dir/again.conf" --bootstrap 127.0.0.1:1
code 0 kasaga replay --of "$app" --from earliest -c "$dir/again.conf"
contains "the plan: what is read" "$out" "read    $input/2 from 0"
contains "the plan: what is not called" "$out" "payment.charge is answered from the history"
contains "the plan: what runs" "$out" "order.validate runs (inline)"
code 2 kasaga replay --of "$app" --from yesterday -c "$dir/again.conf"
code 2 kasaga replay --of "$app" --from earliest
code 0 kasaga replay --of "$app" --from earliest --yes -c "$dir/again.conf" -o json
equal "records" "$orders" "$(jq .records <<<"$out")"
code 1 kasaga replay --of "$app" --from earliest --yes -c "$dir/again.conf"
contains "an app that is not new" "$err" "a new app only"
passed "a plan says what is read again and what is not called"

export KASAGA_CONFIG=$dir/again.conf
start m1 kasaga worker --node m1
start m2 kasaga worker --node m2
must_within 30 sh -c "[ \$(kcat -C -q -e -b $KASAGA_BOOTSTRAP -X isolation.level=read_committed -t $app-again.history -o beginning | wc -l) -gt 50 ]"
end m1 KILL || true
app=$app-again verdict 90
outcomes "$app-again" >"$dir/outcomes.again"
cmp "$dir/outcomes" "$dir/outcomes.again" || fail "other outcomes: $(diff "$dir/outcomes" "$dir/outcomes.again" | head -5)"
equal "calls that were made" "$made" "$(wc -l <"$dir/calls")"
passed "$orders orders read again: $(wc -l <"$dir/outcomes") equal outcomes, nothing was called"

orders 1001 1
refused() { kasaga trace order/o-1001 2>/dev/null | grep -q 'compensated.*not_recorded'; }
must_within 30 refused
equal "calls that were made" "$made" "$(wc -l <"$dir/calls")"
end m2 || fail "m2 did not end well"
passed "what the other app did not do is refused, not called"

export KASAGA_CONFIG=$conf
second effects
partition=$(kcat -C -q -e -b "$KASAGA_BOOTSTRAP" -t "$input" -f '%p %o %s\n' | awk '/"o-1001"/ { print $1 ":" $2 }')
code 0 kasaga replay --of "$app" --from "$input:$partition" --effects --yes -c "$dir/effects.conf"
contains "the plan" "$out" "with its effects"
export KASAGA_CONFIG=$dir/effects.conf
start m3 kasaga worker --node m3
app=$app-effects
must_within 30 sh -c "[ \$('$KASAGA' status -o json | jq .completed) = 1 ]"
equal "calls that were made" $((made + 2)) "$(wc -l <"$dir/calls")"
end m3 || fail "m3 did not end well"
passed "with --effects, and from an offset on, calls are made"
