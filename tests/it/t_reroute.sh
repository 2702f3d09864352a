#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The other region goes down: public data, for which it is only preferred, is worked on here; data
# that must go there waits in the out topic and is worked on there when the region is back. (R31, R33)
# And a step that may run anywhere goes where there is room. Up and down are heartbeats. (R25, R66, R116)
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
regions = ( { name = "us"; }, { name = "eu"; }, { name = "reports"; role = "hub"; rtt = "1ms"; } );
residency = { personal = "email";
  rules = ( { region = "eu"; class = "personal"; target = "eu"; },
            { class = "public"; target = "closest"; mode = "preferred"; } ); };
links = ( { source = "$3"; bootstrap = "$4"; refresh = "500ms"; breaker = { threshold = 2; timeout = "1s"; }; } );
tenants = ( { name = "acme"; region = "eu"; } );
invoker = { threads = 2; };
actions = ( { name = "order.validate"; kind = "plugin"; library = "shop.so"; inline = true; },
            { name = "score"; kind = "exec"; command = [ "/bin/echo", "{}" ]; intensive = "compute"; },
            { name = "nap"; kind = "exec"; command = [ "/bin/sh", "-c", "sleep 300; echo {}" ]; timeout = "5m"; } );
sagas = ( { name = "order"; steps = (
    { name = "validate"; action = "order.validate"; region = "eu"; timeout = "5m"; } ); },
    { name = "score"; start = { topic = "$app.score"; type = "$app.score"; id = ".id"; }; steps = ( { name = "score"; action = "score"; } ); },
    { name = "nap"; start = { topic = "$app.nap"; type = "$app.nap"; id = ".id"; }; steps = ( { name = "nap"; action = "nap"; } ); } );
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

runs() { for ((i = $2; i < $3; i++)); do echo "{\"id\":\"$i\"}"; done | kcat -P -b "$us" -t "$app.$1" -X acks=all; }
placements() { # of the score steps that have begun
    kcat -C -q -e -b "$us" -X isolation.level=read_committed -o beginning -t "$app.history" | grep kasaga.step.started |
        jq -r 'select(.subject | startswith("score/")) | .data.placement'
}
begun() { [ "$(placements | wc -l)" -eq "$1" ]; }
known() { grep -q "event=region region=$1 known=yes" "$dir/us0.log"; }
busy() { # REGION: as the nodes there say it in their topic
    kcat -C -q -b "$1" -t "$app.load" -p 0 -o -1 -c 1 | jq -e '.in_flight >= 20' >/dev/null
}
must_within 20 known us
must_within 20 known eu
runs score 0 1
must_within 20 begun 1
contains 'a run with nothing to do anywhere' "$(placements)" 'least_loaded: us '
runs nap 0 20
must_within 20 busy "$us"
sleep 5 # two more beats, and a look of the lanes
runs score 1 101
must_within 30 begun 101
equal 'runs of the next hundred in the other region' 100 "$(placements | grep -c '^least_loaded: eu ')"
"$KASAGA" trace score/7 -c "$dir/us.conf" --bootstrap "$us" >"$dir/trace"
contains 'the trace' "$(cat "$dir/trace")" '(least_loaded: eu '
must_within 30 eval "\"$KASAGA\" trace score/7 -c $dir/us.conf --bootstrap $us | grep -q 'by eu/eu0'"
"$KASAGA" replay --saga score/7 -c "$dir/us.conf" --bootstrap "$us" >"$dir/replay.log" 2>&1 || fail "$(cat "$dir/replay.log")"
passed "a region has calls waiting: the next hundred undecided runs go elsewhere, and the history says why"

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

# A worker without links of its own goes by what link processes of its region say.
end us0 || fail "us0 did not end well"
sed '/^links = /d' "$dir/us.conf" >"$dir/plain.conf"
link_process() { start "$1" env -u KASAGA_BOOTSTRAP "$KASAGA" link run -c "$dir/us.conf" --node "$1"; }
reached() { [ "$(grep -o 'event=region region=eu up=[a-z]*' "$dir/plain1.log" | tail -1)" = "event=region region=eu up=$1" ]; }
work plain 1
must_within 30 grep -q event=assigned "$dir/plain1.log"
sleep 11 # what us0 said last is too old then
submit alone '{"order_id":"alone","total":1}' --wait --timeout 30s >"$dir/submit.log" || fail "$(cat "$dir/submit.log")"
[[ $(ran alone) != *region* ]] || fail "it ran where nobody had heard of: $(ran alone)"
link_process usl1
must_within 30 reached yes
sleep 1
submit heard '{"order_id":"heard","total":1}' --wait --timeout 40s >"$dir/submit.log" || fail "$(cat "$dir/submit.log")"
contains "where it ran" "$(ran heard)" '"executed_by":"eu/eu0"'
end usl1 KILL || true
must_within 15 reached no # two of its intervals, which are 5 s
sleep 1
submit silent '{"order_id":"silent","total":1}' --wait --timeout 30s >"$dir/submit.log" || fail "$(cat "$dir/submit.log")"
[[ $(ran silent) != *region* ]] || fail "it ran elsewhere: $(ran silent)"
link_process usl2
must_within 30 reached yes
passed "a region is up while a link process here has heard it within two intervals, and down before and after"
