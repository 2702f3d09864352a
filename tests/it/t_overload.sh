#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Far more orders than a worker can do, with slow calls and large records: it takes what fits into its
# memory and leaves the rest in the user's topic, all that the process ever had is within memory_max,
# what it has begun goes on, and in the end nothing is lost. At two sizes. (R206)
# timeout: 400
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

all_ended() { [ "$("$KASAGA" status -o json | jq '.completed + .compensated')" = "$1" ]; }

overload() { # MIB ORDERS
    local name=n$1 count=$2 idle peak
    app=${test_name//_/-}-$$-$1 input=$app.orders
    write_conf "memory_max = \"${1}MiB\"; lanes = { shard = 1; };" 'invoker = { threads = 8; queue = 100000; };'
    # 8 calls of 10 ms at once: 800 orders a second, at most. They come with 10 kB each, all at once.
    sed -i 's|{ name = "order.validate"; kind = "plugin"; library = "shop.so"; inline = true;|{ name = "order.validate"; kind = "plugin"; library = "shop.so"; options = { sleep_ms = 10; }; timeout = "120s";|' "$conf"
    new_app
    worker "$name"
    must_within 20 assigned "$name"
    sleep 1
    idle=$(awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$(pid_of "$name")/status")
    awk -v n="$count" 'BEGIN { pad = "xxxxxxxxxx"; while (length(pad) < 10000) pad = pad pad
        for (i = 1; i <= n; i++) printf "{\"order_id\":\"o-%d\",\"sku\":\"s\",\"quantity\":1,\"total\":5,\"pad\":\"%s\"}\n", i, pad }' |
        kcat -P -b "$KASAGA_BOOTSTRAP" -t "$input" -X acks=all
    must_within 150 all_ended "$count"
    peak=$(awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$(pid_of "$name")/status")
    echo "memory: $idle MiB idle, $peak MiB at most, memory_max $1 MiB, $count orders of 10 kB"
    grep -q 'event=inputs_held.*memory=yes' "$dir/$name.log" || fail "the worker never held back: that was no overload"
    grep -q event=inputs_released "$dir/$name.log" || fail "the worker never went on"
    [ "$peak" -le "$1" ] || fail "the worker grew to $peak MiB"
    end "$name" || fail "$name did not end well"
    verdict 30
    equal "orders that ended" "$count" $(($(history_count saga.completed) + $(history_count saga.compensated)))
    passed "overload: held back, $peak MiB at most with memory_max = $1 MiB, nothing lost"
}

overload 64 "${ORDERS:-3000}"
overload 128 "${ORDERS:-6000}"
