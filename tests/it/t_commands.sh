#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The commands on a real Kafka: topics, submit, trace, saga, status, dlq, with their exit codes.
# timeout: 240
. "$(dirname "$0")/lib.sh"

export KASAGA_CONFIG=$dir/app.cfg
cat >"$dir/ok.sh" <<'SH'
#!/bin/sh
cat >/dev/null
echo '{}'
SH
cat >"$dir/no.sh" <<'SH'
#!/bin/sh
cat >/dev/null
echo '{"code":"declined","message":"no money"}'
exit 1
SH
printf '#!/bin/sh\ncat >/dev/null\nexit 75\n' >"$dir/again.sh"
chmod +x "$dir"/*.sh
configure() { # SHARDS
    cat >"$KASAGA_CONFIG" <<CFG
app = "$app"; region = "here"; node = "n1"; shards = $1;
kafka = { bootstrap = "$KASAGA_BOOTSTRAP"; };
actions = (
  { name = "ok"; kind = "exec"; command = ["$dir/ok.sh"]; },
  { name = "again"; kind = "exec"; command = ["$dir/again.sh"]; retry = { attempts = 2; backoff = "10ms"; }; },
  { name = "no"; kind = "exec"; command = ["$dir/no.sh"]; retry = { attempts = 1; backoff = "10ms"; }; } );
sagas = (
  { name = "good"; start = { topic = "$app-events"; type = "good"; id = ".id"; };
    steps = ( { name = "one"; action = "ok"; }, { name = "two"; action = "ok"; } ); },
  { name = "bad"; start = { topic = "$app-events"; type = "bad"; id = ".id"; };
    steps = ( { name = "one"; action = "ok"; compensate = "ok"; }, { name = "two"; action = "no"; } ); },
  { name = "flaky"; steps = ( { name = "one"; action = "again"; } ); },
  { name = "stuck"; start = { topic = "$app-events"; type = "stuck"; id = ".id"; };
    steps = ( { name = "one"; action = "ok"; compensate = "no"; }, { name = "two"; action = "no"; } ); }
);
CFG
}

# code EXPECTED COMMAND...: runs it, its output in $out and its errors in $err.
code() {
    local expected=$1 status=0
    shift
    "$@" >"$dir/out" 2>"$dir/err" </dev/null || status=$?
    out=$(cat "$dir/out") err=$(cat "$dir/err")
    equal "exit code of '$*' ($err)" "$expected" "$status"
}

configure 4
code 0 kasaga topics plan
contains plan "$out" "create  $app.inbox"
code 2 kasaga topics apply
contains "apply without a terminal" "$err" "--yes"
code 0 kasaga topics apply --yes -o json
equal "created" 7 "$(jq .creates <<<"$out")"
equal "first offsets of the inbox" 4 "$(jq '.offsets[] | select(.group == "'"$app"'").partitions' <<<"$out")"
code 0 kasaga topics apply
contains "a second apply" "$out" "nothing to do"
configure 6
code 1 kasaga topics plan
contains "another number of shards" "$out" "shards = 6"
code 1 kasaga topics apply --yes
configure 4
passed "topics are planned, created once and never changed"

topic create "$app-lost.inbox" 4
topic create "$app-lost.state" 4
kcat -P -b "$KASAGA_BOOTSTRAP" -t "$app-lost.state" -p 2 <<<'a state'
sed "s/^app = \"$app\"/app = \"$app-lost\"/" "$KASAGA_CONFIG" >"$dir/lost.cfg"
code 1 kasaga topics apply --yes -c "$dir/lost.cfg"
contains "a lost offset" "$out" "$app-lost.inbox/2 but"
passed "a first offset is never written over a lost one"

sed -e "s/^app = .*/start_at = \"latest\"; app = \"$app-late\"; region = \"here\"; node = \"n1\"; shards = 4;/" \
    "$KASAGA_CONFIG" >"$dir/late.cfg"
from() { jq -r '.offsets[] | select(.topic == "'"$app"'-events").from' <<<"$out"; }
code 0 kasaga topics plan -c "$dir/late.cfg" -o json
equal "where a new input begins" latest "$(from)"
code 0 kasaga topics apply --yes -c "$dir/late.cfg"
topic grow "$app-events" 9
code 0 kasaga topics plan -c "$dir/late.cfg" -o json
equal "where a new partition begins" earliest "$(from)"
code 0 kasaga topics apply --yes -c "$dir/late.cfg"
code 0 kasaga topics apply --yes
passed "nothing of a partition that was added is skipped"

code 2 kasaga submit
code 2 kasaga submit good --id 1 --data '[1]'
code 5 kasaga submit nosuch --id 1
code 2 kasaga saga pause good/1
code 5 kasaga trace good/1
code 78 kasaga status -c "$dir/no.sh"
code 69 kasaga status --bootstrap 127.0.0.1:1
code 2 kasaga nosuch
code 0 kasaga submit good --id 1 --data '{"a":1}'
contains submit "$out" "$app.inbox/"
code 75 kasaga submit good --id 1 --wait --timeout 500ms
code 75 kasaga saga pause good/9 --reason test --timeout 500ms
code 0 kasaga status -o json
equal "shards nobody owns" 4 "$(jq '[.shards[] | select(.member == null)] | length' <<<"$out")"
passed "commands answer without a worker"

start worker kasaga worker
code 0 kasaga submit good --id 2 --wait --timeout 30s
contains "its end" "$out" "good/2 completed"
code 0 kasaga submit good --id 2 --wait --timeout 30s -o json
equal "a second start" true "$(jq .repeated <<<"$out")"
echo '{"a":1}' >"$dir/data.json"
code 3 kasaga submit bad --id 1 --data "@$dir/data.json" --wait --timeout 30s
code 3 kasaga submit flaky --id 1 --wait --timeout 30s
code 4 kasaga submit stuck --id 1 --follow --timeout 30s
contains "what happened" "$out" "saga.stuck"
passed "submit --wait says with its exit code how the saga ended"

# The same command three times, then the same event three times: one effect, the same answer. (R205)
for i in 1 2 3; do
    code 3 kasaga submit bad --id same --wait --timeout 30s -o json
    jq -c '{key, incarnation, state, code}' <<<"$out" >>"$dir/answers"
done
equal "answers" 1 "$(sort -u "$dir/answers" | wc -l)"
contains "the answer" "$(cat "$dir/answers")" '"state":"compensated"'
for i in 1 2 3; do echo '{"id":"same"}'; done | kcat -P -b "$KASAGA_BOOTSTRAP" -t "$app-events" -p 3 \
    -H ce_specversion=1.0 -H ce_type=bad -H ce_id=1 -H ce_source=/test
read_up() { [ "$(kasaga status -o json | jq '.lag + .inputs[0].lag')" = 0 ]; }
must_within 20 read_up
equal "effects" "1 1 1" "$(records "$app.history" | jq -r 'select(.subject == "bad/same") | .type' | sort | uniq -c |
    awk '$2 ~ /saga.started|step.failed|compensation.completed/ { printf "%s%s", sep, $1; sep = " " }')"
passed "a command that is delivered again has one effect and the same answer"

code 0 kasaga trace bad/1
contains "the undo" "$out" "undone"
contains "the reason" "$out" "declined: no money"
code 0 kasaga trace bad/1 -o json
equal "state" compensated "$(jq -r .state <<<"$out")"
equal "undone" one "$(jq -r '.steps[] | select(.undo.state == "undone").name' <<<"$out")"
code 0 kasaga trace bad/1 -o jsonl
equal "the last record" kasaga.saga.compensated "$(tail -1 <<<"$out" | jq -r .type)"
passed "trace shows steps, reasons and what was undone"

code 1 kasaga saga pause stuck/1 --reason "too late"
contains "a refusal" "$err" "refused"
code 5 kasaga saga cancel good/none --reason "no such"
code 0 kasaga saga skip stuck/1 --reason "done by hand" --actor ann
code 0 kasaga trace stuck/1
contains "who and why" "$out" "by ann: done by hand"
passed "operators' verbs are answered from the history"

kcat -P -b "$KASAGA_BOOTSTRAP" -t "$app-events" -H ce_type=good <<<'not json'
dead() { [ "$(kasaga dlq ls -o json | jq length)" = 1 ]; }
must_within 20 dead
code 0 kasaga dlq ls
contains "its origin" "$out" "$app-events/"
place=$(kasaga dlq ls -o jsonl | jq -r '"\(.partition)/\(.offset)"')
code 0 kasaga dlq show "$place" -o json
equal "its bytes" "not json" "$(jq -r .value <<<"$out")"
code 5 kasaga dlq show 0/12345
passed "the dlq shows what came in, from where, and why it stays"

code 0 kasaga status -o json
equal "shards with an owner" 4 "$(jq '[.shards[] | select(.member != null)] | length' <<<"$out")"
equal "lag" 0 "$(jq .lag <<<"$out")"
equal "lag of the input" 0 "$(jq '.inputs[0].lag' <<<"$out")"
equal "dead letters" 1 "$(jq .dlq <<<"$out")"
equal "all of it is counted" true "$(jq '.lag_exact and .dlq_exact and all(.shards[]; .lag_exact)' <<<"$out")"
equal "completed" 2 "$(jq .completed <<<"$out")"
passed "status counts sagas and names owners"
end worker || fail "the worker did not end well"

[ "$(kasaga errors -o json --since 1d | jq -r '[.[].class] | unique | join(" ")')" = "fail poison refused retry stuck" ] || fail "classes: $(kasaga errors)"
code 0 kasaga errors -o jsonl
equal "what said no" "declined no 3" "$(jq -r 'select(.class == "fail" and .where == "no" and (.compensation | not)) | "\(.code) \(.where) \(.count)"' <<<"$out")"
equal "what is tried again" "true again 1" "$(jq -r 'select(.class == "retry") | "\(.retryable) \(.where) \(.count)"' <<<"$out")"
equal "a bad record" "ENVELOPE $app-events" "$(jq -r 'select(.class == "poison") | "\(.code) \(.where)"' <<<"$out")"
code 0 kasaga errors
contains "as text" "$out" "no money"
code 2 kasaga errors --since never
passed "errors shows one of each kind" # (R19)

# What a route lane writes ends with a marker behind the last record of each shard it was for.
start again kasaga worker
for i in {1..8}; do echo "{\"id\":\"rest-$i\"}"; done |
    kcat -P -b "$KASAGA_BOOTSTRAP" -t "$app-events" -H ce_specversion=1.0 -H ce_type=good -H ce_id=1 -H ce_source=/test
at_rest() {
    kasaga status -o json >"$dir/rest"
    [ "$(jq '.completed - 2' "$dir/rest")" = 8 ] && [ "$(jq .live "$dir/rest")" = 0 ]
}
must_within 20 at_rest
equal "at rest" "0 true" "$(jq -r '"\(.lag) \(.lag_exact)"' "$dir/rest")"
[ "$(jq '[.shards[] | select(.end > .offset)] | length' "$dir/rest")" -gt 0 ] || fail "no shard had a marker behind its offset"
passed "a shard at rest has no lag, whatever takes offsets behind its own"
end again || fail "the worker did not end well"
for i in 1 2 3; do code 0 kasaga submit good --id "left-$i"; done
code 0 kasaga status -o json
equal "unread" "3 true" "$(jq -r '"\(.lag) \(.lag_exact)"' <<<"$out")"
passed "lag is the number of records that nobody has read"

start last kasaga worker
sed 's/{ name = "good"; start/{ name = "ghost"; start/; s/type = "good"/type = "ghost"/' "$KASAGA_CONFIG" >"$dir/ghost.cfg"
code 0 kasaga submit ghost --id 1 -c "$dir/ghost.cfg"
unknown() { kasaga dlq ls -o jsonl | grep -q UNKNOWN_SAGA; }
must_within 20 unknown
grep -q "event=looked_up saga=ghost" "$dir/last.log" || fail "the catalog was not asked"
code 0 kasaga submit good --id 3 --wait --timeout 30s
start ghost kasaga worker --node n2 -c "$dir/ghost.cfg"
published() { grep -q "event=published saga=ghost" "$dir/ghost.log"; }
must_within 20 published
code 0 kasaga submit ghost --id 2 --wait --timeout 30s -c "$dir/ghost.cfg"
end ghost || fail "the second worker did not end well"
passed "a start waits until the catalog was read, and only what is unknown then goes to the dlq"
end last || fail "the last worker did not end well"

# A command of a later version: its shard stands still and says so.
start third kasaga worker --node n3
shard=$(code 0 kasaga submit good --id later --wait --timeout 30s -o json && jq -r '.command | split("/")[1]' <<<"$(cat "$dir/out")")
printf '\xc3\x01LATERONE rest' >"$dir/later"
kcat -P -b "$KASAGA_BOOTSTRAP" -t "$app.inbox" -p "$shard" -k good/later "$dir/later"
parked() { kasaga status -o json | jq -e ".shards[$shard].parked.reason == \"VERSION\"" >/dev/null; }
must_within 20 parked
code 0 kasaga status
contains "as text" "$out" "PARKED VERSION: "
equal "others" 0 "$(kasaga status -o json | jq '[.shards[] | select(.parked and .shard != '"$shard"')] | length')"
end third || fail "the worker did not end well"
code 0 kasaga status -o json
equal "parked, when nobody has it" null "$(jq ".shards[$shard].parked" <<<"$out")"
passed "a parked shard is shown with its reason"
