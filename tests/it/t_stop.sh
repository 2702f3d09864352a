#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A worker that is asked to stop ends within 10 s, whatever it is at, and the next one finishes what
# it leaves.
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

KASAGA_BOOTSTRAP=$(own_cluster broker)
export KASAGA_BOOTSTRAP
broker=$(cluster_of broker)
write_conf
new_app

# stops NAME [STATUS]: TERM ends it within 10 s (with this exit status).
stops() {
    local began=$SECONDS pid status=0
    pid=$(pid_of "$1")
    kill -TERM "$pid"
    wait_for 10 gone "$pid" || fail "$1 has not ended 10 s after TERM: $(cat /proc/"$pid"/task/*/comm | sort | uniq -c | tr '\n' ' ')"
    wait "$pid" || status=$?
    rm -f "$dir/$1.pid"
    [ -z "${2:-}" ] || equal "exit status of $1" "$2" "$status"
    [ $status -le 1 ] || fail "$1 ended with $status"
    echo "# $1 ended with $status after about $((SECONDS - began)) s"
}
parts() { grep -q event=assigned "$dir/$1.log"; }

worker idle
must_within 30 assigned idle
sleep 2
stops idle 0
passed "an idle worker"

worker joins
must_within 30 grep -q event=started "$dir/joins.log"
stops joins 0
passed "a worker that joins its groups"

worker gone
must_within 30 assigned gone
orders 1 2000
tools/kafka kill -9 --name "$broker"
stops gone
tools/kafka start --name "$broker"
passed "a worker whose broker is gone"

worker reset
must_within 30 assigned reset
orders 2001 20000 &
feeding=$!
sleep 1
tools/kafka stop --name "$broker"
sleep 7 # commits have timed out: producers are being made again
stops reset
passed "a worker whose producers are being reset"
tools/kafka cont --name "$broker"
wait $feeding

worker restores
must_within 30 parts restores
tools/kafka stop --name "$broker"
sleep 1
stops restores
tools/kafka cont --name "$broker"
passed "a worker that restores while the broker does not answer"

worker last
must_within 60 assigned last
verdict 120
passed "what they left is finished"
stops last 0

app=$app-calls input=$app.orders inline=false action_keys='timeout = "120s";'
write_conf
sed -i "s/fail_every = 10;/fail_every = 10; sleep_ms = 60000;/" "$conf"
new_app
worker calls
must_within 30 assigned calls
orders 1 8
running() { [ "$(records "$app.history" | grep -c '"type":"kasaga.step.started".*"step":"charge"')" -ge 8 ]; }
must_within 30 running
stops calls 0
passed "a worker with calls under way"
