#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Somebody else commits offsets in the app's group while no worker runs: what they pass by would be
# lost in silence, so the shards stop, named.
# timeout: 120
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

shards=4
write_conf
new_app 2
worker n1
orders 1 40
verdict 60
end n1 || fail "the worker did not end well"

# Unread starts, and a consumer of the same group that reads them.
shard_of() { sed 's/.*inbox.\([0-9]*\).[0-9]*$/\1/'; }
"$KASAGA" submit order --id lost-1 --data '{"order_id":"lost-1"}' >"$dir/submit"
lost=$(shard_of <"$dir/submit")
foreign() { # refused while a member of ours is in the group
    timeout 20 kcat -b "$KASAGA_BOOTSTRAP" -X isolation.level=read_committed -X auto.commit.interval.ms=200 \
        -G "$app" -c 1 "$app.inbox" >"$dir/foreign.out" 2>"$dir/foreign.log" && [ -s "$dir/foreign.out" ]
}
must_within 40 foreign

worker n2
stopped() { grep -q "event=parked.*partition=$app.inbox/$lost .*reason=DIVERGED.*somebody else has committed" "$dir/n2.log"; }
must_within 30 stopped
passed "a shard whose offset somebody else has moved stops, named"
end n2 || fail "the worker did not end well"
