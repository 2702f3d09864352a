#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Far more orders than a worker can do: it takes what fits into its memory and leaves the rest
# in the user's topic, its memory stays bounded, what it has begun goes on, and in the end nothing is
# lost. (R206)
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

memory_mib=48
count=${ORDERS:-12000}
write_conf "memory_max = \"${memory_mib}MiB\"; lanes = { shard = 1; };" 'invoker = { threads = 8; queue = 100000; };'
# 8 calls of 10 ms at once: 800 orders a second, at most. They come with 10 kB each, all at once.
sed -i 's|{ name = "order.validate"; kind = "plugin"; library = "shop.so"; inline = true;|{ name = "order.validate"; kind = "plugin"; library = "shop.so"; options = { sleep_ms = 10; }; timeout = "120s";|' "$conf"
new_app
worker n1
must_within 20 assigned n1
sleep 1
rss() { awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$(pid_of n1)/status"; }
idle=$(rss)
began=$SECONDS
awk -v n="$count" 'BEGIN { pad = "xxxxxxxxxx"; while (length(pad) < 10000) pad = pad pad
    for (i = 1; i <= n; i++) printf "{\"order_id\":\"o-%d\",\"sku\":\"s\",\"quantity\":1,\"total\":5,\"pad\":\"%s\"}\n", i, pad }' |
    kcat -P -b "$KASAGA_BOOTSTRAP" -t "$input" -X acks=all
echo "$count orders of 10 kB in $((SECONDS - began)) s"
most=0
all_ended() {
    local now
    now=$(rss)
    [ "$now" -le "$most" ] || most=$now
    [ "$("$KASAGA" status -o json | jq '.completed + .compensated')" = "$count" ]
}
must_within 200 all_ended
echo "memory: $idle MB idle, $most MB at most, memory_max $memory_mib MiB"
grep -q 'event=inputs_held.*memory=yes' "$dir/n1.log" || fail "the worker never held back: that was no overload"
grep -q event=inputs_released "$dir/n1.log" || fail "the worker never went on"
# The clients of librdkafka and what malloc keeps come on top; that does not grow with what waits.
[ "$most" -le $((idle + memory_mib + 180)) ] || fail "the worker grew to $most MB"
verdict 30
equal "orders that ended" "$count" $(($(history_count saga.completed) + $(history_count saga.compensated)))
passed "overload: held back, $most MB at most with memory_max = $memory_mib MiB, nothing lost"
