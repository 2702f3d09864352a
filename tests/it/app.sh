# SPDX-License-Identifier: Apache-2.0
# The order app of the tests that need workers: configuration, workers, orders, verdict.
# Sourced behind lib.sh.  shellcheck shell=bash

conf=$dir/app.conf
input=$app.orders
steps=validate,reserve,charge,ship
export KASAGA_CONFIG=$conf KASAGA_PLUGINS=${KASAGA_PLUGINS:-$KASAGA_BUILD/plugins}

# write_conf [line...]: lines go to the top level of the file. One order in ten is refused at its
# third step. Overrides: $shards, $inline, $action_keys (of the charge), $saga_keys; $parallel: the second
# and the third step are branches of one. Two shard lanes in a worker, whatever the machine, unless a line
# says otherwise.
write_conf() {
    [[ $* == *'lanes ='* || ${shards:-12} == 1 ]] || set -- 'lanes = { shard = 2; };' "$@"
    local fork='' join=','
    [ -z "${parallel:-}" ] || fork='{ name = "pay"; parallel = (' join='); },'
    cat >"$conf" <<EOF
app = "$app";
region = "test";
shards = ${shards:-12};
kafka = { bootstrap = "$KASAGA_BOOTSTRAP"; };
$(printf '%s\n' "$@")
actions = (
  { name = "order.validate"; kind = "plugin"; library = "shop.so"; inline = ${inline:-true}; },
  { name = "stock.reserve";  kind = "plugin"; library = "shop.so"; inline = ${inline:-true}; },
  { name = "stock.release";  kind = "plugin"; library = "shop.so"; inline = ${inline:-true}; },
  { name = "payment.charge"; kind = "plugin"; library = "shop.so"; inline = ${inline:-true};
    options = { fail_every = 10; }; ${action_keys:-} },
  { name = "payment.refund"; kind = "plugin"; library = "shop.so"; inline = ${inline:-true}; },
  { name = "parcel.book";    kind = "plugin"; library = "shop.so"; inline = ${inline:-true}; },
  { name = "parcel.cancel";  kind = "plugin"; library = "shop.so"; inline = ${inline:-true}; }
);
sagas = (
  { name = "order";
    start = { topic = "$input"; type = "order.placed"; id = ".order_id"; };
    ${saga_keys:-}
    steps = (
      { name = "validate"; action = "order.validate"; },
      $fork
      { name = "reserve";  action = "stock.reserve";  compensate = "stock.release"; },
      { name = "charge";   action = "payment.charge"; compensate = "payment.refund"; }$join
      { name = "ship";     action = "parcel.book";    compensate = "parcel.cancel"; }
    ); }
);
EOF
}

# new_app [input partitions]: the input topic, then the app's own.
new_app() {
    topic create "$input" "${1:-6}" >/dev/null
    must_within 10 sh -c "kcat -L -b $KASAGA_BOOTSTRAP -t $input | grep -q 'with ${1:-6} partitions'"
    "$KASAGA" topics apply --yes >"$dir/topics.log" 2>&1 || fail "topics apply: $(cat "$dir/topics.log")"
}

# worker NAME: a worker process of this node name.
worker() { start "$1" "$KASAGA" worker --node "$1"; }

# order_lines FIRST COUNT: key and value of orders, tab between, for kcat -K.
order_lines() {
    awk -v first="$1" -v count="$2" 'BEGIN { for (i = first; i < first + count; i++)
        printf "c%d\t{\"order_id\":\"o-%d\",\"customer\":\"c%d\",\"sku\":\"sku-%d\",\"quantity\":%d,\"total\":%d}\n",
               i % 97, i, i % 97, i % 31, 1 + i % 3, 10 + i % 90 }'
}

# orders FIRST COUNT: by kcat, whose partitioner (CRC32 of the customer) is not ours.
orders() {
    order_lines "$1" "$2" | kcat -P -b "$KASAGA_BOOTSTRAP" -t "$input" -K "$(printf '\t')" -X acks=all
}

# verdict WAIT [checker options]: what an observer that knows nothing of the engine says.
verdict() {
    local wait=$1
    shift
    checker --bootstrap "$KASAGA_BOOTSTRAP" --app "$app" --input "$input:order_id" \
        --steps "$steps" --wait "$wait" "$@" || fail "the checker found violations"
}

# history_count TYPE: committed history records of this type.
history_count() { records "$app.history" | grep -c "\"type\":\"kasaga.$1\"" || true; }

# assigned NAME [LANES]: so many of its lanes have got partitions.
assigned() { [ "$(grep -c event=assigned "$dir/$1.log")" -ge "${2:-2}" ]; }

# takes_part NODE: it writes the latest records of the history. Orders must arrive: so many records are
# read, not to an end (kcat runs after an end that moves all the time).
takes_part() {
    { timeout 5 kcat -C -q -b "$KASAGA_BOOTSTRAP" -X isolation.level=read_committed -t "$app.history" -o -20 -c 400 || true; } |
        grep -c "\"executedby\":\"test/$1\"" >/dev/null
}
