#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# How a worker starts when the cluster is not there, and when another worker has its name.
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

says() { grep -q "$2" "$dir/$1.log"; }

KASAGA_BOOTSTRAP=$(own_cluster late)
export KASAGA_BOOTSTRAP
late=$(cluster_of late)
write_conf
new_app
tools/kafka kill --name "$late"

worker n1
must_within 20 says n1 waiting
sleep 20
kill -0 "$(pid_of n1)" || fail "the worker did not wait for the cluster"
worker n2
must_within 20 says n2 waiting
end n2 || fail "a worker that waits for the cluster does not end with 0: $?"
passed "a worker that waits for the cluster can be stopped"

tools/kafka start --name "$late"
must_within 60 says n1 started
orders 1 100
verdict 60
passed "a worker waits for a cluster that is down for longer than any timeout"

# In the middle of the work the cluster goes away for half a minute.
orders 101 400
tools/kafka kill -9 --name "$late"
sleep 30
kill -0 "$(pid_of n1)" || fail "the worker ended with the cluster"
tools/kafka start --name "$late"
orders 501 100
verdict 120
passed "a cluster that is gone for half a minute is outlived"

# Whichever sees it first ends; the other is alone then and goes on.
start twin "$KASAGA" worker --node n1
told() { grep -lq "another worker has the node name n1" "$dir/n1.log" "$dir/twin.log"; }
must_within 60 told
orders 601 100
told_by=n1
says n1 "another worker has the node name n1" || told_by=twin
must_within 20 gone "$(pid_of $told_by)"
status=0
end $told_by || status=$?
equal "exit status of a worker whose name is taken" 78 $status
passed "two workers with one node name are found out"

worker n3
verdict 120
passed "what they leave is finished"
