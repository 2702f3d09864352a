#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A receiver that has stopped answers nothing: the attempt ends as "timeout" after its time, 30 s if
# nothing else is said, and its outcome is not known. Measured between records of the history. (R46)
# timeout: 120
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

# Stops itself before it reads anything.
printf '#!/bin/sh\nkill -STOP $$\n' >"$dir/stopped.sh"
chmod +x "$dir/stopped.sh"
export KASAGA_CONFIG=$conf
cat >"$conf" <<CFG
app = "$app"; region = "test"; shards = 2; lanes = { shard = 2; }; kafka = { bootstrap = "$KASAGA_BOOTSTRAP"; };
actions = (
  { name = "default"; kind = "exec"; command = ["$dir/stopped.sh"]; retry = { attempts = 1; }; },
  { name = "short"; kind = "exec"; command = ["$dir/stopped.sh"]; timeout = "2s";
    retry = { attempts = 2; backoff = "100ms"; }; } );
sagas = (
  { name = "waits"; steps = ( { name = "send"; action = "default"; } ); },
  { name = "hurries"; steps = ( { name = "send"; action = "short"; } ); } );
CFG
"$KASAGA" topics apply --yes >"$dir/topics.log" 2>&1
worker n1
must_within 20 assigned n1
start waits "$KASAGA" submit waits --id 1 --wait --timeout 60s
status=0
"$KASAGA" submit hurries --id 1 --wait --timeout 30s || status=$?
equal "exit code" 3 $status
end_of_waits() { gone "$(pid_of waits)"; }
must_within 45 end_of_waits

# waited KEY ATTEMPT: code and milliseconds from the start of the attempt to its end.
waited() {
    "$KASAGA" trace "$1" -o jsonl | jq -r "select(.attempt == $2) | [.type, .time, .data.code, .data.maybe_done] | @tsv" |
        awk -F'\t' '{ split($2, t, /[T:Z]/); ms = (t[2] * 3600 + t[3] * 60 + t[4]) * 1000 }
            $1 ~ /started$/ { began = ms }
            $1 ~ /(failed|retrying)$/ { gap = ms - began; if (gap < 0) gap += 86400000; print $3, $4, gap }'
}
in_time() { # WHAT MS RESULT
    read -r code maybe ms <<<"$3"
    equal "$1" "timeout true" "$code $maybe"
    [ "$ms" -ge $(($2 - 500)) ] && [ "$ms" -le $(($2 + 500)) ] || fail "$1: $ms ms, expected $2 +- 500"
    echo "$1: $ms ms"
}
in_time "a stopped receiver, timeout 2s" 2000 "$(waited hurries/1 1)"
in_time "its second attempt" 2000 "$(waited hurries/1 2)"
in_time "a stopped receiver, no timeout given" 30000 "$(waited waits/1 1)"
passed "what does not answer is given up after its timeout, 30 s by default, as unknown"
