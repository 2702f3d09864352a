#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Twice the workers do twice the work where the work is calls: each order makes one call of 20 ms,
# and a worker makes four at once. Read off the times of the history. (R5)
# timeout: 150
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

count=${ORDERS:-1200}
write_conf 'lanes = { shard = 1; };' 'invoker = { threads = 4; queue = 100; };'
sed -i 's|{ name = "order.validate"; kind = "plugin"; library = "shop.so"; inline = true;|{ name = "order.validate"; kind = "plugin"; library = "shop.so"; options = { sleep_ms = 20; };|' "$conf"
new_app
ended() { "$KASAGA" status -o json | jq '.completed + .compensated'; }
all_ended() { [ "$(ended)" = "$1" ]; }
# took FIRST COUNT: milliseconds from the start of the first of these orders to the end of the last.
took() {
    kcat -C -q -e -b "$KASAGA_BOOTSTRAP" -X isolation.level=read_committed -t "$app.history" -o beginning -f '%k %T %s\n' |
        awk -v first="$1" -v count="$2" '{ split($1, key, "-") }
            key[2] < first || key[2] >= first + count { next }
            /"type":"kasaga.saga.started"/ && (began == 0 || $2 < began) { began = $2 }
            /"type":"kasaga.saga.comp(leted|ensated)"/ && $2 > ended { ended = $2 }
            END { print ended - began }'
}
shares() { "$KASAGA" status -o json | jq -c '[.shards[].member | select(. != null)] | group_by(.) | map(length)'; }
have() { [ "$(shares)" = "$1" ]; }

worker n1
must_within 30 have '[12]'
orders 1 "$count"
must_within 60 all_ended "$count"
one=$(took 1 "$count")
worker n2
must_within 30 have '[6,6]'
orders $((count + 1)) "$count"
must_within 60 all_ended $((2 * count))
two=$(took $((count + 1)) "$count")
verdict 30
echo "one worker: $one ms for $count orders, two: $two ms"
[ $((one * 10)) -ge $((two * 17)) ] || fail "two workers are only $one / $two times as fast as one"
passed "two workers make calls 1.7 times as fast as one, at least ($one ms, $two ms)"
