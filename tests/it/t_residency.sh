#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Residency on two real clusters with links both ways: orders with canary values in fields of each
# class, steps in another region, refusals. What may not leave is in no byte of the other cluster,
# refusals stand in the history and in the audit, and a changed audit record is found.
# EACH=833 makes it 5,000 orders. (R26, R28 to R30, R32, R35)
# timeout: 400
. "$(dirname "$0")/lib.sh"

us=$KASAGA_BOOTSTRAP
eu=$(own_cluster eu)
export KASAGA_PLUGINS=${KASAGA_PLUGINS:-$KASAGA_BUILD/plugins}
orders=$app.orders

# region_conf REGION BOOTSTRAP OTHER ITS-BOOTSTRAP
region_conf() {
    cat >"$dir/$1.conf" <<CONF
app = "$app"; region = "$1"; shards = 4;
kafka = { bootstrap = "$2"; };
regions = ( { name = "us-west"; rtt = "80ms"; }, { name = "eu-central"; rtt = "80ms"; } );
residency = {
  personal = [ "email", "*name" ]; financial = [ "iban" ]; sensitive = [ "diagnosis" ];
  rules = ( { region = "eu-central"; class = "personal"; target = "eu-central"; },
            { class = "public"; target = "closest"; mode = "preferred"; } );
};
links = ( { source = "$3"; bootstrap = "$4"; } );
tenants = ( { name = "acme"; region = "eu-central"; }, { name = "west"; region = "us-west"; } );
actions = (
  { name = "order.validate"; kind = "plugin"; library = "shop.so"; inline = true; },
  { name = "stock.reserve";  kind = "plugin"; library = "shop.so"; },
  { name = "stock.release";  kind = "plugin"; library = "shop.so"; }
);
sagas = (
  { name = "order"; start = { topic = "$orders"; type = "order.placed"; id = ".order_id"; };
    steps = (
      { name = "reserve"; action = "stock.reserve"; compensate = "stock.release"; region = "eu-central";
        input = "{order_id, sku, quantity}"; dataclass = "public"; timeout = "60s"; },
      { name = "validate"; action = "order.validate"; region = "eu-central"; timeout = "60s"; }
    ); }
);
CONF
}
region_conf us-west "$us" eu-central "$eu"
region_conf eu-central "$eu" us-west "$us"

# in_region REGION COMMAND...: kasaga with the configuration and the cluster of that region.
in_region() {
    local region=$1 bootstrap=$us
    shift
    [ "$region" = us-west ] || bootstrap=$eu
    KASAGA_BOOTSTRAP=$bootstrap KASAGA_CONFIG=$dir/$region.conf "$@"
}

# everything BOOTSTRAP TOPIC: every byte of its records, keys and headers included.
everything() {
    kcat -C -q -e -b "$1" -X isolation.level=read_committed -o beginning -t "$2" -f '%k|%h|%s\n'
}

# topics_of BOOTSTRAP: names of all of them.
topics_of() { kcat -L -b "$1" | sed -n 's/^ *topic "\([^"]*\)" with.*/\1/p'; }

history() { everything "$us" "$app.history"; }
count() { history | grep -c "$1" || true; }
at_least() { [ "$(count "$1")" -ge "$2" ]; }

for region in us-west eu-central; do
    in_region $region "$KASAGA" check >"$dir/check.$region" || fail "$(cat "$dir/check.$region")"
    in_region $region "$KASAGA" topics apply --yes >>"$dir/topics.log" 2>&1 || fail "$(cat "$dir/topics.log")"
done
contains "the plan" "$(in_region eu-central "$KASAGA" topics plan)" "$app.out.us-west"
in_region us-west start w1 "$KASAGA" worker --node w1
in_region eu-central start w2 "$KASAGA" worker --node w2

all_ended() {
    [ $(($(count '"type":"kasaga.saga.completed"') + $(count '"type":"kasaga.saga.compensated"'))) -eq $((6 * each)) ]
}

# orders KIND FIELDS [TENANT]: $each of them; fields are a JSON list of members with a comma in front, # is the number.
orders() {
    local i
    for i in $(seq "$each"); do
        printf '{"order_id":"%s-%d","sku":"sku-1","quantity":1,"total":3%s}\n' "$1" "$i" "${2//\#/$i}"
    done | kcat -P -b "$us" -t "$orders" ${3:+-H "tenant=$3"} -X acks=all
}
each=${EACH:-60}
# acme is at home in eu-central, west here; nobody is nowhere.
orders a ',"note":"public-canary"' west
orders b ',"email":"personal-canary-#"' west
orders c ',"buyer":{"last_name":"personal-canary-#","iban":"financial-canary-#"}' west
orders d ',"payment":{"IBAN":"financial-canary-#"}' west
orders e ',"diagnosis":"sensitive-canary-#"' west
orders f ',"email":"eu-canary-#"' acme
orders g ',"email":"lost-canary-#"' nobody
must_within 200 all_ended

equal "completed: public, and acme's in its own region" $((2 * each)) "$(count '"type":"kasaga.saga.completed"')"
equal "validated by a worker of the other region" $((2 * each)) \
    "$(count '"step":"validate".*"executed_by":"eu-central/w2"')"
equal "reserved there, once each" $((6 * each)) "$(everything "$eu" "$app.history" | grep -c '"type":"kasaga.saga.started".*stock.reserve')"
equal "released there" $((4 * each)) "$(everything "$eu" "$app.history" | grep -c '"type":"kasaga.saga.completed".*stock.release')"
passed "steps run once in the other region, results and undos come and go"

equal "refusals in the history" $((4 * each)) "$(count '"type":"kasaga.step.failed".*"code":"residency"')"
equal "refusals in the audit" $((4 * each)) "$(in_region us-west "$KASAGA" audit ls -n 10000 -o jsonl | grep -c kasaga.residency.refused)"
equal "personal ones" $((2 * each)) "$(everything "$us" "$app.audit" | grep -c '"dataclass":"personal"')"
contains "the audit" "$(in_region us-west "$KASAGA" audit ls)" \
    "personal data of us-west may go to us-west only, not to eu-central"
equal "unknown tenants in the dlq" $each "$(everything "$us" "$app.dlq" | grep -c 'kasaga_error=UNKNOWN_TENANT')"
passed "refusals stand in the history and in the audit, unknown tenants in the dlq"

# ---- Canaries. The first line proves that a scan finds what is there.
contains "the history here" "$(history)" "personal-canary-1"
end w1 && end w2
scan() { # BOOTSTRAP TOPIC PATTERN
    ! everything "$1" "$2" | grep -aE "$3" >"$dir/leak.log" || fail "$2 holds $(head -c 300 "$dir/leak.log")"
}
scanned=0
while read -r topic; do
    scan "$eu" "$topic" '(personal|financial|sensitive|lost)-canary'
    scanned=$((scanned + 1))
done < <(topics_of "$eu" | grep -E "^($app|__consumer_offsets)")
[ "$scanned" -ge 11 ] || fail "only $scanned topics were looked at"
scan "$us" "$app.out.eu-central" '(personal|financial|sensitive|lost)-canary'
scan "$eu" "$app.out.us-west" canary
scan "$us" "$app.audit" canary
scan "$us" "$app.links" canary
scan "$us" __consumer_offsets canary
! grep -l canary "$dir"/w1.log "$dir"/w2.log || fail "a log has a canary"
everything "$us" "$app.out.eu-central" | grep -a eu-canary-1 >/dev/null || fail "acme's data did not go home"
passed "no canary is in any of $scanned topics of the other cluster, in the audit, in offsets or logs"

# ---- The chain
verify() { in_region us-west "$KASAGA" audit verify "$@"; }
contains "the chain" "$(verify)" "the chain holds"
# The offset with which the end of the chain rides is lost: repair finds it, and the chain goes on.
key=$(kcat -C -q -e -b "$us" -t "$app.audit" -o beginning -f '%p %k\n' -c 1)
KASAGA_BOOTSTRAP=$us topic offset "$app" "$app.inbox" "${key%% *}" none
repaired() { in_region us-west "$KASAGA" shard repair --yes --reason "a test" >"$dir/repair.log" 2>&1; }
must_within 30 repaired
in_region us-west start w3 "$KASAGA" worker --node w3
in_region eu-central start w4 "$KASAGA" worker --node w4
audited() { everything "$us" "$app.audit" | wc -l; }
before=$(audited)
first=$each each=20
orders h ',"email":"more-canary-#"' west
more() { [ "$(audited)" -ge $((before + 20)) ]; }
must_within 60 more
all_ended() { [ "$(count '"type":"kasaga.saga.compensated"')" -eq $((4 * first + each)) ]; }
must_within 60 all_ended
end w3 && end w4 || fail "a worker did not end well"
contains "the chain goes on" "$(verify)" "the chain holds"
for region in us-west eu-central; do
    in_region $region "$KASAGA" shard rebuild >"$dir/rebuild.log" || fail "$region: $(cat "$dir/rebuild.log")"
done
passed "the chain goes on behind a lost offset; the history gives the same states in both regions"
# Somebody without the group's offsets adds a record.
key=$(kcat -C -q -e -b "$us" -t "$app.audit" -o beginning -f '%p %k\n' -c 1)
kcat -C -q -e -b "$us" -t "$app.audit" -p "${key%% *}" -o beginning -c 1 -f '%s' >"$dir/value"
kcat -P -b "$us" -t "$app.audit" -p "${key%% *}" -k "${key#* }" "$dir/value"
! verify >"$dir/verify.txt" || fail "a record that was put in was not found"
contains "what was put in" "$(cat "$dir/verify.txt")" "does not belong there"
# A copy of the topic in which one record was changed and one left out.
sed "s/app = \"$app\"/app = \"$app-copy\"/" "$dir/us-west.conf" >"$dir/copy.conf"
KASAGA_CONFIG=$dir/copy.conf KASAGA_BOOTSTRAP=$us "$KASAGA" topics apply --yes >>"$dir/topics.log" 2>&1
for part in 0 1 2 3; do
    kcat -C -q -e -b "$us" -X isolation.level=read_committed -t "$app.audit" -p $part -o beginning -f '%k\t%s\n' |
        awk '!seen[$0]++' >"$dir/part.$part"
done
{ read -r one && read -r other; } < <(wc -l "$dir"/part.? | grep -v total | sort -rn | sed 's/.*\.//') # the longest
[ "$(wc -l <"$dir/part.$other")" -ge 3 ] || fail "too few records in a partition"
sed -i '2s/not to eu-central/not to anywhere/' "$dir/part.$one"
sed -i 2d "$dir/part.$other"
for i in 0 1 2 3; do
    kcat -P -b "$us" -t "$app-copy.audit" -p $i -K "$(printf '\t')" -X acks=all -l "$dir/part.$i"
done
! KASAGA_CONFIG=$dir/copy.conf KASAGA_BOOTSTRAP=$us "$KASAGA" audit verify >"$dir/verify.txt" || fail "the copy passed"
contains "what was altered" "$(cat "$dir/verify.txt")" "$app-copy.audit/$one: offset 1 was altered (record 2)"
contains "what was left out" "$(cat "$dir/verify.txt")" "$app-copy.audit/$other: records 2 to 2 are missing before offset 1"
equal "places named" 2 "$(grep -c "$app-copy.audit/" "$dir/verify.txt")"
passed "an audit record that was put in, altered or left out is found, and no other is named"
