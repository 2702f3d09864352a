#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sagas with steps in another region, over links, while workers of both regions are killed with -9
# and the other region's broker stands still for a while: every saga ends, every step and every undo
# ran once, in its region. ORDERS and KILLS make it longer.
# timeout: 400
. "$(dirname "$0")/lib.sh"

orders=${ORDERS:-300}
kills=${KILLS:-6}
us=$KASAGA_BOOTSTRAP
eu=$(own_cluster eu)
export KASAGA_PLUGINS=${KASAGA_PLUGINS:-$KASAGA_BUILD/plugins}
input=$app.orders

# region_conf REGION BOOTSTRAP OTHER ITS-BOOTSTRAP
region_conf() {
    cat >"$dir/$1.conf" <<CONF
app = "$app"; region = "$1"; shards = 4;
kafka = { bootstrap = "$2"; };
regions = ( { name = "us"; }, { name = "eu"; } );
residency = { rules = ( { class = "public"; target = "closest"; mode = "preferred"; } ); };
links = ( { source = "$3"; bootstrap = "$4"; refresh = "5s"; } ); # not down for a shorter time than two of these
actions = (
  { name = "order.validate"; kind = "plugin"; library = "shop.so"; inline = true; },
  { name = "stock.reserve";  kind = "plugin"; library = "shop.so"; inline = true; },
  { name = "stock.release";  kind = "plugin"; library = "shop.so"; inline = true; },
  { name = "payment.charge"; kind = "plugin"; library = "shop.so"; inline = true;
    options = { fail_every = 10; }; },
  { name = "payment.refund"; kind = "plugin"; library = "shop.so"; inline = true; }
);
sagas = (
  { name = "order"; start = { topic = "$input"; type = "order.placed"; id = ".order_id"; };
    steps = (
      { name = "validate"; action = "order.validate"; },
      { name = "reserve";  action = "stock.reserve";  compensate = "stock.release"; region = "eu"; timeout = "5m";
        compensate_timeout = "5m"; },
      { name = "charge";   action = "payment.charge"; compensate = "payment.refund"; }
    ); }
);
CONF
}
region_conf us "$us" eu "$eu"
region_conf eu "$eu" us "$us"
for region in us eu; do
    "$KASAGA" topics apply --yes -c "$dir/$region.conf" --bootstrap "$([ $region = us ] && echo "$us" || echo "$eu")" \
        >>"$dir/topics.log" 2>&1 || fail "$(cat "$dir/topics.log")"
done
work() { start "$1$2" env -u KASAGA_BOOTSTRAP "$KASAGA" worker -c "$dir/$1.conf" --node "$1$2"; }

# lines BOOTSTRAP PATTERN: documents of the history.
lines() { kcat -C -q -e -b "$1" -X isolation.level=read_committed -o beginning -t "$app.history" | grep -- "$2" || true; }
number() { lines "$1" "$2" | wc -l; }
distinct() { lines "$1" "$2" | sed 's/.*"subject":"\([^"]*\)".*/\1/' | sort -u | wc -l; }
ended() { [ "$(number "$us" '"type":"kasaga.saga.co\(mpleted\|mpensated\)"')" -ge "$orders" ]; }

work us 0
work eu 0
for ((i = 1; i <= orders; i++)); do
    printf '{"order_id":"o-%d","sku":"sku-%d","quantity":1,"total":%d}\n' "$i" $((i % 31)) $((10 + i % 90))
    [ $((i % (orders / 20))) -ne 0 ] || sleep 1
done | kcat -P -b "$us" -t "$input" -X acks=all -X linger.ms=5 &
for ((kill = 1; kill <= kills; kill++)); do
    sleep 3
    region=$([ $((kill % 2)) -eq 0 ] && echo us || echo eu)
    end "$region$(((kill - 1) / 2))" KILL || true
    work $region $(((kill - 1) / 2 + 1))
done
must_within 30 grep -q 'event=region region=eu up=yes' "$dir/us$((kills / 2)).log"
tools/kafka stop --name "$(cluster_of eu)"
sleep 5
tools/kafka cont --name "$(cluster_of eu)"
must_within 150 ended

checker --bootstrap "$us" --app "$app" --input "$input:order_id" --steps validate,reserve,charge --wait 30 \
    >"$dir/checker.log" 2>&1 || fail "the checker found violations in us: $(cat "$dir/checker.log")"
# An attempt that is given up may run all the same: with these timeouts none is.
equal "attempts given up" 0 "$(number "$us" '"code":"timeout"')"
undone=$(number "$us" '"type":"kasaga.saga.compensated"')
[ "$undone" -gt 0 ] || fail "nothing was undone"
equal "reserved" "$orders" "$(number "$eu" '"type":"kasaga.step.completed","subject":"remote:stock.reserve/')"
equal "reserved, of as many orders" "$orders" "$(distinct "$eu" '"type":"kasaga.step.completed","subject":"remote:stock.reserve/')"
equal "released" "$undone" "$(number "$eu" '"type":"kasaga.step.completed","subject":"remote:stock.release/')"
equal "released, of as many orders" "$undone" "$(distinct "$eu" '"type":"kasaga.step.completed","subject":"remote:stock.release/')"
equal "undone as us says" "$undone" "$(number "$us" '"type":"kasaga.compensation.completed".*"executed_by":"eu/')"
equal "charged here" "$orders" "$(number "$us" '"type":"kasaga.step.\(completed\|failed\)".*"action":"payment.charge"')"
equal "reserved here" 0 "$(number "$us" 'remote:')"
for i in 1 7 $orders; do
    "$KASAGA" replay --saga "order/o-$i" -c "$dir/us.conf" --bootstrap "$us" >"$dir/replay.log" 2>&1 ||
        fail "order/o-$i cannot be run again: $(cat "$dir/replay.log")"
done
passed "$kills kills, $orders orders, $undone of them undone: each step and each undo once, in its region"
