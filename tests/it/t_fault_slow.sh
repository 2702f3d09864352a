#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Calls of a pooled action that take longer than max.poll.interval (15 s) and than session and
# transaction timeouts: no worker leaves the group for it, each call happens once.
# timeout: 200
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

seconds=${SLOW_SECONDS:-18}
shards=4 inline=false action_keys='timeout = "40s";'
write_conf
sed -i "s/fail_every = 10;/fail_every = 10; sleep_ms = ${seconds}000;/" "$conf"
new_app 2
worker n1
worker n2
settled() { [ "$(grep -c event=assigned "$dir/n1.log" "$dir/n2.log" | awk -F: '{ n += $2 } END { print n }')" -ge 4 ]; }
must_within 30 settled
sleep 3 # the rebalance of n2's arrival is over
events() { cat "$dir"/n?.log | grep -cE 'event=(assigned|unassigned|client_error|commit_failed|not_started)' || true; }
before=$(events)
orders 1 12
verdict 100
equal "rebalances and failures while calls ran" "$before" "$(events)"
equal "attempts of the slow step" 12 "$(records "$app.history" | grep -c '"type":"kasaga.step.started".*"step":"charge"' || true)"
passed "calls of $seconds s cause no rebalance and happen once"
