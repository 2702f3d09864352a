# SPDX-License-Identifier: Apache-2.0
# feed.sh TOPIC RATE [PREFIX]: orders with rising numbers, RATE a second, until it is ended. A prefix
# in front of the value makes it something else.
# shellcheck shell=bash
topic=$1
rate=$2
prefix=${3:-}
trap 'kill $(jobs -p) 2>/dev/null; wait; exit 0' TERM # what kcat has it still writes
for ((first = 1;; first += rate / 10)); do
    awk -v prefix="$prefix" -v first=$first -v count=$((rate / 10)) 'BEGIN { for (i = first; i < first + count; i++)
        printf "c%d\t%s{\"order_id\":\"f-%d\",\"customer\":\"c%d\",\"sku\":\"s\",\"quantity\":1,\"total\":10}\n", i % 97, prefix, i, i % 97 }' || exit 0
    sleep 0.1
done | kcat -P -E -b "$KASAGA_BOOTSTRAP" -t "$topic" -K "$(printf '\t')" -X linger.ms=1 -X acks=all &
wait
