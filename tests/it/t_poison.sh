#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bad input of 32 kinds, into the user's topic and into the inbox: each record is in the dlq byte for
# byte with topic, partition, offset and reason, none is executed, the partition goes on.
# timeout: 200
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

shards=1
write_conf
new_app 1
kinds=0
offset=0  # of the input topic
inbox=0   # of the inbox: bad records come first, before any worker runs
expected=$dir/expected

# A file is one record, whatever its bytes.
put() {
    cat >"$dir/value"
    kcat -P -b "$KASAGA_BOOTSTRAP" -p 0 -X acks=all "$@" "$dir/value"
}

# bad ERROR [kcat options]: standard input is the value of one record of the input topic.
bad() {
    local error=$1
    shift
    put -t "$input" "$@"
    echo "$input 0 $offset $error" >>"$expected"
    offset=$((offset + 1)) kinds=$((kinds + 1))
}
# bad_inbox ERROR [options]: the same for the inbox.
bad_inbox() {
    local error=$1
    shift
    put -t "$app.inbox" "$@"
    echo "$app.inbox 0 $inbox $error" >>"$expected"
    inbox=$((inbox + 1)) kinds=$((kinds + 1))
}
ce=(-H ce_specversion=1.0 -H ce_id=e1 -H ce_source=/shop -H ce_type=order.placed)

bad JSON < <(printf '{"order_id":')
bad JSON < <(printf '{"order_id":"x"} tail')
bad JSON < <(printf '{order_id:"x"}')
bad JSON < <(printf "{'order_id':'x'}")
bad JSON < <(printf '{"order_id":"x",}')
bad JSON < <(printf '{"order_id":"\x80\xff"}')
bad JSON < <(printf '{"order_id":"\\ud800"}')
bad JSON < <(printf '{"order_id":01}')
bad JSON < <(printf '\x00\x00\x00\x00\x07avro')
bad JSON < <(printf ' ')
bad JSON < <((head -c 2000 /dev/zero | tr '\0' '['))
bad ENVELOPE < <(printf '[1,2,3]')
bad ENVELOPE < <(printf '"order"')
bad NO_ID < <(printf '{"total":3}')
bad NO_ID < <(printf '{"order_id":null}')
bad NO_ID < <(printf '{"order_id":""}')
bad NO_ID < <(printf '{"order_id":{"a":1}}')
bad NO_ID < <(printf '{"order_id":[1]}')
bad NO_ID < <(printf '{"order_id":true}')
bad NO_ID < <(printf '{"order_id":"%0300d"}' 7)
bad ENVELOPE -H ce_id=e1 -H ce_source=/shop -H ce_type=order.placed < <(printf '{"order_id":"x"}')
bad ENVELOPE -H ce_specversion=1.0 -H ce_source=/shop -H ce_type=order.placed < <(printf '{"order_id":"x"}')
bad ENVELOPE -H ce_specversion=1.0 -H ce_id=e1 -H ce_type=order.placed < <(printf '{"order_id":"x"}')
bad ENVELOPE -H ce_specversion=1.0 -H ce_id=e1 -H ce_source=/shop < <(printf '{"order_id":"x"}')
bad ENVELOPE -H ce_specversion=9.9 -H ce_id=e1 -H ce_source=/shop -H ce_type=order.placed < <(printf '{"order_id":"x"}')
bad JSON "${ce[@]}" < <(printf 'not json')
bad ENVELOPE -H content-type=application/cloudevents+json < <(printf '{"specversion":"1.0"}')
bad ENVELOPE -H content-type=application/cloudevents+json < <(printf '{"specversion":"1.0","id":"1","source":"/s","type":"order.placed","data":7}')
# A null value.
printf 'k:\n' | kcat -P -b "$KASAGA_BOOTSTRAP" -p 0 -t "$input" -K : -Z
echo "$input 0 $offset ENVELOPE" >>"$expected"
offset=$((offset + 1)) kinds=$((kinds + 1))
# Larger than a state may be, below what the topic takes.
bad TOO_LARGE < <((printf '{"order_id":"big","pad":"'; head -c 900000 /dev/zero | tr '\0' x; printf '"}'))
# The inbox: what only kasaga writes, written by somebody else.
bad_inbox AVRO -k order/1 < <(printf 'no avro')
bad_inbox AVRO -k order/2 < <(printf '\xc3\x01')
bad_inbox NO_KEY < <(printf 'no key')

worker n1
orders 1 20
offset=$((offset + 20))
verdict 60 --dlq "$kinds"
# Origin and reason of each, as headers of the dlq.
kcat -C -q -e -b "$KASAGA_BOOTSTRAP" -X isolation.level=read_committed -t "$app.dlq" -o beginning -f '%h\n' |
    sed -n 's/.*__connect.errors.topic=\([^,]*\),__connect.errors.partition=\([^,]*\),__connect.errors.offset=\([^,]*\),.*kasaga_error=\([A-Z_]*\).*/\1 \2 \3 \4/p' |
    sort >"$dir/found"
sort "$expected" | diff - "$dir/found" || fail "dlq records differ from what was expected"
equal "executed" 20 "$(history_count saga.started)"
passed "$kinds kinds of bad input are in the dlq with place and reason, the partition goes on"
