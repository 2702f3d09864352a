#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An exec action: the price of a parcel. Needs jq.
#
#   { name = "parcel.quote"; kind = "exec"; command = ["examples/exec/quote.sh"]; timeout = "5s"; }
#
# stdin is the input as JSON, stdout the result as JSON. Exit 0 = done, 1 = no (with code and
# message), 75 = try again later; anything else, or no end before the timeout, counts as "may have
# happened". KASAGA_IDEMPOTENCY_KEY is the same in every attempt, so the number made of it is too;
# a program with effects outside hands the key on or remembers it.
set -eu

input=$(cat)

no() {
    jq -cn --arg code "$1" --arg message "$2" '{code: $code, message: $message}'
    exit 1
}

# A compensation closes the forward call it names; a quote has nothing to undo.
if [ "${KASAGA_COMPENSATION:-0}" = 1 ]; then
    echo "closing $KASAGA_FORWARD_KEY" >&2 # stderr goes to the worker's log
    echo '{}'
    exit 0
fi

weight=$(printf '%s' "$input" | jq -r '.weight_g | numbers')
[ -n "$weight" ] || no invalid_input "weight_g: a number of grams is missing"

if [ -e "${TMPDIR:-/tmp}/quote-closed" ]; then
    echo '{"code": "closed", "message": "no quotes right now", "retry_after_ms": 30000}'
    exit 75
fi

number=$(printf '%s' "$KASAGA_IDEMPOTENCY_KEY" | cksum | cut -d ' ' -f 1)
printf '%s' "$input" | jq -c --arg number "$number" \
    '{quote: ("quote-" + $number), price_cents: (490 + (.weight_g / 1000 | ceil) * 120)}'
