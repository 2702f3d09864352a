#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Twenty inputs that do not match the schema of an action: each fails its step with the field and the
# reason, and none is executed. A schema that is none is refused when the file is loaded. (R18)
# timeout: 90
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

cat >"$dir/charge.avsc" <<'AVSC'
{"type": "record", "name": "Charge", "fields": [
  {"name": "order_id", "type": "string"}, {"name": "amount", "type": "long"},
  {"name": "currency", "type": {"type": "enum", "name": "Currency", "symbols": ["EUR", "USD"]}, "default": "EUR"},
  {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
    {"name": "sku", "type": "string"}, {"name": "quantity", "type": "int"}]}}, "default": []},
  {"name": "vip", "type": ["null", "boolean"], "default": null}]}
AVSC
printf '#!/bin/sh\ncat >/dev/null\necho "{}"\n' >"$dir/charge.sh"
chmod +x "$dir/charge.sh"
cat >"$conf" <<CFG
app = "$app"; region = "test"; shards = 2; kafka = { bootstrap = "$KASAGA_BOOTSTRAP"; };
actions = ( { name = "charge"; kind = "exec"; command = ["$dir/charge.sh"]; params = "$dir/charge.avsc"; } );
sagas = ( { name = "pay"; start = { topic = "$input"; type = "pay"; id = ".id"; };
            steps = ( { name = "charge"; action = "charge"; } ); } );
CFG
new_app 2
worker n1
must_within 20 assigned n1
number=0
# bad FIELD MEMBERS: beside the id.
bad() {
    number=$((number + 1))
    printf '{"id":"%d",%s}\n' $number "$2" >>"$dir/events"
    echo "pay/$number $1" >>"$dir/expected"
}
good='"order_id":"a","amount":1'
bad order_id '"amount":1'
bad order_id '"order_id":7,"amount":1'
bad order_id '"order_id":null,"amount":1'
bad order_id '"order_id":["a"],"amount":1'
bad amount '"order_id":"a"'
bad amount '"order_id":"a","amount":"1"'
bad amount '"order_id":"a","amount":1.5'
bad amount '"order_id":"a","amount":null'
bad amount '"order_id":"a","amount":9223372036854775808'
bad amount '"order_id":"a","amount":{}'
bad currency "$good,\"currency\":\"DEM\""
bad currency "$good,\"currency\":1"
bad lines "$good,\"lines\":{}"
bad 'lines[0]' "$good,\"lines\":[1]"
bad 'lines[0].quantity' "$good,\"lines\":[{\"sku\":\"a\"}]"
bad 'lines[1].sku' "$good,\"lines\":[{\"sku\":\"a\",\"quantity\":1},{\"sku\":1,\"quantity\":1}]"
bad 'lines[0].quantity' "$good,\"lines\":[{\"sku\":\"a\",\"quantity\":2147483648}]"
bad 'lines[0].quantity' "$good,\"lines\":[{\"sku\":\"a\",\"quantity\":true}]"
bad vip "$good,\"vip\":\"yes\""
bad vip "$good,\"vip\":0"
equal "inputs" 20 $number
kcat -P -b "$KASAGA_BOOTSTRAP" -t "$input" <"$dir/events"
all_failed() { [ "$(history_count step.failed)" = 20 ]; }
must_within 30 all_failed
records "$app.history" | jq -r 'select(.type == "kasaga.step.failed" and .data.code == "invalid_input" and (.data.maybe_done | not)) |
    "\(.subject) \(.data.message)"' | sed -n 's/^\([^ ]*\) field \([^:]*\): ..*/\1 \2/p' | sort >"$dir/found"
sort "$dir/expected" | diff - "$dir/found" || fail "fields differ from what was expected"
end n1 || fail "the worker did not end well"
! grep -q 'event=stats action=charge' "$dir/n1.log" || fail "the action ran"
passed "20 inputs that do not match failed with field and reason, none was executed"

echo '{"type":"record","name":"Charge"}' >"$dir/charge.avsc"
status=0
"$KASAGA" check 2>"$dir/err" >/dev/null || status=$?
equal "exit code" 78 $status
contains "what is wrong" "$(cat "$dir/err")" "app.conf:2: params: "
passed "a schema that is none is refused"
