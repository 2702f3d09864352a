#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# More calls than the pool can make: starts wait in the user topic, everything else goes on, and no
# attempt is lost to the time that its call has waited. (R206)
# timeout: 120
. "$(dirname "$0")/lib.sh"

export KASAGA_CONFIG=$dir/app.cfg
cat >"$dir/slow.sh" <<'SH'
#!/bin/sh
cat >/dev/null
sleep 0.25
echo '{}'
SH
chmod +x "$dir/slow.sh"
cat >"$KASAGA_CONFIG" <<CFG
app = "$app"; region = "here"; shards = 1;
kafka = { bootstrap = "$KASAGA_BOOTSTRAP"; };
lanes = { shard = 1; route = 1; };
invoker = { threads = 1; queue = 4; };
actions = (
  { name = "slow"; kind = "exec"; command = ["$dir/slow.sh"]; timeout = "2s";
    retry = { attempts = 1; backoff = "100ms"; }; } );
sagas = (
  { name = "job"; start = { topic = "$app-jobs"; type = "job"; id = ".id"; };
    steps = ( { name = "one"; action = "slow"; } ); }
);
CFG
topic create "$app-jobs" 2 >/dev/null
kasaga topics apply --yes >"$dir/topics.log"
jobs_from() { # FIRST LAST
    seq "$1" "$2" | sed 's/.*/{"id":&}/' | kcat -P -b "$KASAGA_BOOTSTRAP" -t "$app-jobs"
}
count() { records "$app.history" | grep -c "\"type\":\"kasaga.$1\"" || true; }

start n1 kasaga worker --node n1
start n2 kasaga worker --node n2
# One of the two has the shard, both have a partition of the input.
assigned() { [ "$(cat "$dir"/n?.log | grep -c event=assigned)" -ge 3 ] && [ "$(cat "$dir"/n?.log | grep -c "event=positioned.*jobs/1")" -ge 1 ]; }
must_within 30 assigned
sleep 4 # the rebalance is over
jobs_from 1 30
held() { grep -q "event=inputs_held.*calls=yes" "$dir"/n?.log && grep -q "event=inputs_held.*others=yes" "$dir"/n?.log; }
must_within 20 held
jobs_from 31 50
sleep 2
waiting=$(kasaga status -o json | jq '[.inputs[].lag] | add')
[ "$waiting" -ge 20 ] || fail "only $waiting records of the input wait under pressure"
passed "user records wait while more calls wait than may"

kasaga submit job --id urgent
kasaga saga pause job/urgent --reason "not now" --timeout 10s
kasaga saga cancel job/urgent --reason "never mind" --timeout 10s
passed "commands are answered meanwhile"

complete() { [ "$(count saga.completed)" = 50 ]; }
must_within 60 complete
equal "failed steps" 1 "$(count step.failed)" # of the one that was cancelled
grep -q "event=inputs_released" "$dir"/n?.log || fail "the inputs were never released"
waited=$(records "$app.history" | grep -c '"code":"not_begun"' || true)
[ "$waited" -gt 0 ] || fail "no call waited until its time was over: the test shows nothing"
passed "with one attempt each, $waited calls that waited too long cost no saga"
end n1 || fail "n1 did not end well"
end n2 || fail "n2 did not end well"
