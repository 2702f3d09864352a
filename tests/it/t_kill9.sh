#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A random worker is killed with -9 every 2 s and replaced, 20 times, while orders arrive: nothing
# lost, nothing repeated. Killed workers come back under a new node name, as in a cluster that
# reschedules. (R4, R44)
# timeout: 400
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

kills=${KILLS:-20}
count=${ORDERS:-100000}
write_conf
new_app
names=(n1 n2 n3)
for n in "${names[@]}"; do worker "$n"; done

feed() {
    local first
    for ((first = 1; first <= count; first += count / 400)); do
        order_lines "$first" $((count / 400))
        sleep 0.1
    done | kcat -P -b "$KASAGA_BOOTSTRAP" -t "$input" -K "$(printf '\t')" -X acks=all -X linger.ms=1
}
feed &
feeder=$!
for ((kill = 1; kill <= kills; kill++)); do
    sleep 2
    victim=$((RANDOM % 3))
    end "${names[$victim]}" KILL || true
    names[$victim]=k$kill
    worker "k$kill"
done
wait $feeder
verdict 120
equal "ended" "$count" $(($(history_count saga.completed) + $(history_count saga.compensated)))
passed "$kills kills, $count orders, none lost, none repeated"
