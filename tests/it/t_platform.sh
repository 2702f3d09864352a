#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# conf/regions on three clusters: orders come in everywhere, are checked and paid in the region of
# their tenant, and have their stock and parcels in the regions of their warehouses, side by side,
# while a region is cut off for a while. Everything adds up, also when a region has no stock or no
# courier, and nobody's address is seen elsewhere. (R6, R58, R59, R61 to R65)
# timeout: 500
. "$(dirname "$0")/lib.sh"

each=${EACH:-24} # orders per region
names=(us-west eu-central apac-east)
tenants=(acme linde kiwi)
declare -A at
at[us-west]=$KASAGA_BOOTSTRAP
at[eu-central]=$(own_cluster eu)
at[apac-east]=$(own_cluster apac)
export KASAGA_PLUGINS=${KASAGA_PLUGINS:-$KASAGA_BUILD/plugins}

# The shipped files with this test's app, clusters and input topic.
sed -e "s/^app = .*/app = \"$app\";/" -e 's/^shards = 12;/shards = 4; link_slots = 3;/' \
    -e "s/topic = \"orders\"/topic = \"$app.orders\"/" -e "s/amount: .total}/amount: .total, fail}/" \
    -e 's/items: .item.items}/items: .item.items, fail: .item.items[0].fail}/' \
    -e "s/options = { fail_every = 10; };//" conf/regions/platform.conf >"$dir/platform.conf"
for name in "${names[@]}"; do
    sed -e "s/127.0.0.1:19092/${at[us-west]}/; s/127.0.0.1:29092/${at[eu-central]}/; s/127.0.0.1:39092/${at[apac-east]}/" \
        -e 's/; }\(,*\)$/; refresh = "500ms"; }\1/' "conf/regions/$name.conf" >"$dir/$name.conf"
    "$KASAGA" topics apply --yes -c "$dir/$name.conf" --bootstrap "${at[$name]}" >>"$dir/topics.log" 2>&1 ||
        fail "$(cat "$dir/topics.log")"
    start "$name-1" env -u KASAGA_BOOTSTRAP "$KASAGA" worker -c "$dir/$name.conf" --node "$name-1"
done

# Every order has items of two warehouses. Of eight, one is refused by the bank, one is no order, of one the
# second warehouse has no stock, of one no courier.
declare -A reserved released booked voided
refused=0 invalid=0 no_stock=0 no_courier=0
add() { # add COUNTER WAREHOUSE…
    local -n counter=$1
    shift
    local name
    for name; do counter[$name]=$((${counter[$name]:-0} + 1)); done
}
for r in 0 1 2; do
    for ((i = 0; i < each; i++)); do
        w=("${names[$((i % 3))]}" "${names[$(((i + 1) % 3))]}") wish='' second=''
        [ $((i % 8)) -ne 3 ] || wish=',"fail":"charge"'
        [ $((i % 8)) -ne 5 ] || wish=',"fail":"validate"'
        [ $((i % 8)) -ne 1 ] || second=',"fail":"book"'
        [ $((i % 8)) -ne 6 ] || second=',"fail":"reserve"'
        printf '{"order_id":"%s-%dx","total":%d,"email":"%s-canary","items":[{"sku":"a","warehouse":"%s"},{"sku":"b","warehouse":"%s"%s}]%s}\n' \
            "${tenants[$r]}" "$i" $((10 + i)) "${tenants[$r]}" "${w[@]}" "$second" "$wish"
    done | tee "$dir/orders.$r" | kcat -P -b "${at[${names[$r]}]}" -t "$app.orders" -H "tenant=${tenants[$r]}" -X acks=all
    while read -r line; do
        [[ $line =~ \"warehouse\":\"([a-z-]*)\".*\"warehouse\":\"([a-z-]*)\" ]]
        w=("${BASH_REMATCH[@]:1}")
        case $line in
        *'"fail":"validate"'*) invalid=$((invalid + 1)) ;;
        *'"fail":"reserve"'*) add reserved "${w[0]}" && add released "${w[0]}" && no_stock=$((no_stock + 1)) ;;
        *'"fail":"charge"'*) add reserved "${w[@]}" && add released "${w[@]}" && refused=$((refused + 1)) ;;
        *'"fail":"book"'*)
            add reserved "${w[@]}" && add released "${w[@]}"
            add booked "${w[0]}" && add voided "${w[0]}" && no_courier=$((no_courier + 1))
            ;;
        *) add reserved "${w[@]}" && add booked "${w[@]}" ;;
        esac
    done <"$dir/orders.$r"
done
undone=$((refused + invalid + no_stock + no_courier))

sleep 4
tools/kafka stop --name "$(cluster_of apac)"
sleep "${CUT:-8}"
tools/kafka cont --name "$(cluster_of apac)"

# lines REGION PATTERN: documents of its history.
lines() { kcat -C -q -e -b "${at[$1]}" -X isolation.level=read_committed -o beginning -t "$app.history" | grep -- "$2" || true; }
everywhere() { for name in "${names[@]}"; do lines "$name" "$1"; done | wc -l; }
all_ended() { [ "$(everywhere '"type":"kasaga.saga.co\(mpleted\|mpensated\)","subject":"order/')" -eq $((3 * each)) ]; }
must_within 200 all_ended
equal "completed" $((3 * each - undone)) "$(everywhere '"type":"kasaga.saga.completed","subject":"order/')"
equal "undone" $undone "$(everywhere '"type":"kasaga.saga.compensated","subject":"order/')"

# done_in REGION ACTION: ends of the action that stand in this region and happened in it.
done_in() { lines "$1" "\"action\":\"$2\"" | grep '\(step\|compensation\).completed' | grep -vc '"region":' || true; }
# unsure REGION ACTION: steps there that were refused after an attempt which had no answer in time, because the region
# was cut off. They may have happened, so they are undone as well.
unsure() {
    for from in "${names[@]}"; do lines "$from" '"type":"kasaga.step.failed","subject":"order/'; done |
        grep "\"action\":\"$2\"" | grep '"maybe_done":true' | grep -c "\"region\":\"$1\"" || true
}
for name in "${names[@]}"; do
    equal "reserved in $name" "${reserved[$name]}" "$(done_in "$name" stock.reserve)"
    # An undo of a step elsewhere is the step of a saga there.
    equal "released in $name" $((${released[$name]} + $(unsure "$name" stock.reserve))) "$(done_in "$name" stock.release)"
    equal "parcels of $name" "${booked[$name]}" "$(done_in "$name" parcel.book)"
    equal "parcels voided in $name" $((${voided[$name]:-0} + $(unsure "$name" parcel.book))) "$(done_in "$name" parcel.cancel)"
    equal "paid in $name" $((each - (refused + invalid + no_stock) / 3)) "$(done_in "$name" payment.charge)"
    equal "refunded in $name" $((no_courier / 3)) "$(done_in "$name" payment.refund)"
done
passed "$((3 * each)) orders, $undone undone: stock, parcels and money add up in each region"

# The branches of an order are begun in one transaction: its records have one time.
for name in "${names[@]}"; do
    lines "$name" '"type":"kasaga.step.started","subject":"order/.*"group":"stock"' |
        sed 's/.*"subject":"\([^"]*\)","time":"\([^"]*\)".*/\1 \2/' | sort | uniq -c
done >"$dir/begun"
equal "orders whose stock was asked for in two regions at once" $((3 * each - invalid)) "$(grep -c '^ *2 ' "$dir/begun")"
"$KASAGA" trace order/acme-1x -c "$dir/us-west.conf" --bootstrap "${at[us-west]}" >"$dir/trace" || fail "$(cat "$dir/trace")"
grep -q '^  : stock$' "$dir/trace" && grep -q '^    + stock\[0\] ' "$dir/trace" && grep -q '^    < ship\[[01]\] ' "$dir/trace" ||
    fail "$(cat "$dir/trace")"
passed "stock is reserved and parcels are sent side by side, and undone where they were made"

for r in 0 1 2; do
    for name in "${names[@]}"; do
        [ "$name" != "${names[$r]}" ] || continue
        while read -r topic; do
            ! kcat -C -q -e -b "${at[$name]}" -o beginning -t "$topic" -f '%k|%h|%s\n' |
                grep -a "${tenants[$r]}-canary" >"$dir/leak.log" || fail "$topic in $name: $(head -c 300 "$dir/leak.log")"
        done < <(kcat -L -b "${at[$name]}" | sed -n 's/^ *topic "\([^"]*\)" with.*/\1/p' | grep "^$app")
    done
done
passed "no address of a tenant is in any topic of another region"
