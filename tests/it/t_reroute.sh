#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The other region goes down: public data, for which it is only preferred, is worked on here; data
# that must go there waits in the out topic and is worked on there when the region is back. (R31, R33)
# timeout: 300
. "$(dirname "$0")/lib.sh"

us=$KASAGA_BOOTSTRAP
eu=$(own_cluster eu)
export KASAGA_PLUGINS=${KASAGA_PLUGINS:-$KASAGA_BUILD/plugins}

# region_conf REGION BOOTSTRAP OTHER ITS-BOOTSTRAP
region_conf() {
    cat >"$dir/$1.conf" <<CONF
app = "$app"; region = "$1"; shards = 4;
kafka = { bootstrap = "$2"; };
regions = ( { name = "us"; }, { name = "eu"; } );
residency = { personal = "email";
  rules = ( { region = "eu"; class = "personal"; target = "eu"; },
            { class = "public"; target = "closest"; mode = "preferred"; } ); };
links = ( { source = "$3"; bootstrap = "$4"; refresh = "500ms"; breaker = { threshold = 2; timeout = "1s"; }; } );
tenants = ( { name = "acme"; region = "eu"; } );
actions = ( { name = "order.validate"; kind = "plugin"; library = "shop.so"; inline = true; } );
sagas = ( { name = "order"; steps = (
    { name = "validate"; action = "order.validate"; region = "eu"; timeout = "5m"; } ); } );
CONF
    "$KASAGA" topics apply --yes -c "$dir/$1.conf" --bootstrap "$2" >>"$dir/topics.log" 2>&1 || fail "$(cat "$dir/topics.log")"
}
region_conf us "$us" eu "$eu"
region_conf eu "$eu" us "$us"
work() { start "$1$2" env -u KASAGA_BOOTSTRAP "$KASAGA" worker -c "$dir/$1.conf" --node "$1$2"; }
submit() { # ID DATA [options]
    "$KASAGA" submit order -c "$dir/us.conf" --bootstrap "$us" --id "$1" --data "$2" "${@:3}" 2>&1
}
# ran ID: the document of the end of its step.
ran() {
    kcat -C -q -e -b "$us" -X isolation.level=read_committed -o beginning -t "$app.history" |
        grep "\"subject\":\"order/$1\".*validate" | grep step.completed || true
}
completed() { [ -n "$(ran "$1")" ]; }
breaker() { [ "$(grep -o "event=breaker.*state=[a-z-]*" "$dir/us0.log" | tail -1 | sed 's/.*state=//')" = "$1" ]; }

work us 0
work eu 0
submit near '{"order_id":"near","total":1}' --wait --timeout 40s >"$dir/submit.log" || fail "$(cat "$dir/submit.log")"
contains "where it ran" "$(ran near)" '"executed_by":"eu/eu0"'
contains "the trace" "$("$KASAGA" trace order/near -c "$dir/us.conf" --bootstrap "$us")" "by eu/eu0"
passed "the other region is up: the step runs there"

tools/kafka kill -9 --name "$(cluster_of eu)"
must_within 40 breaker open
sleep 1 # the lanes look at the links five times a second
submit here '{"order_id":"here","total":1}' --wait --timeout 30s >"$dir/submit.log" || fail "$(cat "$dir/submit.log")"
[[ $(ran here) != *region* ]] || fail "it ran elsewhere: $(ran here)"
submit must '{"order_id":"must","total":1,"email":"a@b.c"}' --tenant acme >"$dir/submit.log" || fail "$(cat "$dir/submit.log")"
waits() { kcat -C -q -e -b "$us" -X isolation.level=read_committed -o beginning -t "$app.out.eu" -f '%k\n' | grep -q order/must@; }
must_within 20 waits
sleep 2
! completed must || fail "personal data of eu was worked on: $(ran must)"
passed "it is down: what may is worked on here, what must go there waits"

tools/kafka start --name "$(cluster_of eu)" >/dev/null
must_within 90 completed must
contains "where it ran" "$(ran must)" '"executed_by":"eu/eu0"'
must_within 30 breaker closed
submit again '{"order_id":"again","total":1}' --wait --timeout 40s >"$dir/submit.log" || fail "$(cat "$dir/submit.log")"
contains "where it ran" "$(ran again)" '"executed_by":"eu/eu0"'
for id in near here must again; do
    "$KASAGA" replay --saga "order/$id" -c "$dir/us.conf" --bootstrap "$us" >"$dir/replay.log" 2>&1 || fail "$(cat "$dir/replay.log")"
done
passed "it is back: what waited is worked on there, once, and a replay finds each where it was"
