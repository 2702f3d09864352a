#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An input topic is deleted under running workers and comes back empty: the workers live, its partitions
# are parked by name, other inputs go on, and nothing is read from the new topic in silence.
# timeout: 200
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

others() { for i in $(seq "$1" "$2"); do echo "{\"id\":\"x-$i\"}"; done | kcat -P -b "$KASAGA_BOOTSTRAP" -t "$app.others" -X acks=all; }
ended() { records "$app.history" | grep -E '"type":"kasaga.saga.(completed|compensated)"' | grep -c '"subject":"other/x-' || true; }
others_done() { [ "$(ended)" = "$1" ]; }

shards=4
write_conf
sed -i "s/^sagas = (/&\n  { name = \"other\"; start = { topic = \"$app.others\"; type = \"other\"; id = \".id\"; };\n\
    steps = ( { name = \"validate\"; action = \"order.validate\"; } ); },/" "$conf"
new_app 2
worker n1
worker n2
orders 1 500
must_within 60 sh -c "[ \$(kcat -C -q -e -b $KASAGA_BOOTSTRAP -X isolation.level=read_committed -t $app.history -o beginning | grep -cE 'saga.(completed|compensated)') = 500 ]"
topic delete "$input"
sleep 8
others 1 100
must_within 60 others_done 100
passed "other inputs go on while a topic is gone"
topic create "$input" 2 >/dev/null
orders 1001 50
others 101 200
must_within 60 others_done 200
parked() { cat "$dir"/n?.log | grep 'event=parked' | grep -c "$input/" >/dev/null; }
must_within 90 parked
equal "orders taken from the new topic" 0 "$(records "$app.history" | grep -c 'order/o-10[0-9][0-9]"' || true)"
for n in n1 n2; do ! gone "$(pid_of $n)" || fail "$n has ended"; done
passed "a topic that came back empty is not read in silence: parked by name"
