#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A worker is killed at each KILL_POINT of the engine, at its first hit and at a later one, while a
# healthy worker and a stream of orders go on: afterwards nothing is lost, nothing repeated. The
# points come from the source; one that is never reached is a failure. KILL_POINTS="a b" = only those. Every done
# step has its undo, wherever the end came. (R40)
# timeout: 500
#
# Each case is this script again, with an app of its own: t_killpoints.sh POINT HIT.
# shellcheck disable=SC2119
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"
. "$(dirname "$0")/proxy.sh"

jobs_max=${JOBS:-8}
faulty=${KASAGA_FAULTS:-$KASAGA_BUILD-faults/kasaga}

# Where work is rare the second hit is the later one: two lanes, two to four partitions.
later_of() {
    case $1 in
    definition_written | current_written | *fence* | *unassign* | *abort* | *reset*) echo 2 ;;
    claimed | before_claim | restored | offset_stable | producer_initialised | state_record_read) echo 2 ;;
    *) echo 25 ;;
    esac
}

victim_runs() {
    KASAGA_KILL_AT=$1:$2 start victim "$faulty" worker --node "v-$1-$2" --bootstrap "${via:-$KASAGA_BOOTSTRAP}"
}
dead() { gone "$(pid_of victim)"; }
provoke_until_dead() { wait_for 120 eval "dead || { $1; false; }"; }

# A member that comes and goes: offsets sent during a rebalance are refused, the transaction aborted.
disturb() {
    rm -f "$dir/guest.log"
    worker guest
    wait_for 5 assigned guest 3 || true # all its lanes
    end guest || true
}
# Two definitions, so that publishing has a second hit.
second_saga() {
    sed -i "s/^sagas = (/&\n  { name = \"other\"; start = { topic = \"$app.others\"; type = \"other\"; id = \".id\"; };\n\
    steps = ( { name = \"validate\"; action = \"order.validate\"; } ); },/" "$conf"
}
# Somebody takes the victim's transactional ids: its producers are fenced and must be made anew.
fence() {
    local lane
    for lane in s0.a s0.b r0.a r0.b; do
        timeout 2 kcat -q -P -b "$KASAGA_BOOTSTRAP" -t none -X transactional.id="$app.v-$1-$2.$lane" \
            </dev/null >/dev/null 2>&1 || true
    done
}

one() {
    local point=$1 hit=$2
    shards=6 inline=true rate=100 # two for each lane, one when a third worker joins
    case $point in
    *dispatch* | invocation* | result*) inline=false parallel=1 ;; # branches are in flight
    *abort*) # its offsets are on their way for most of the time, so a rebalance meets them
        via=$front
        px "delay TxnOffsetCommit client=v-$point-$hit. ms=700" >/dev/null
        ;;
    esac
    write_conf
    case $point in definition_written | current_written) second_saga ;; esac
    new_app 3
    start feed bash -c '. tests/it/feed.sh' feed "$input" "$rate"
    case $point in
    definition_written | current_written) # only who comes first publishes
        victim_runs "$point" "$hit"
        ;;
    *fence*) # the victim takes over from a worker that has died
        worker doomed
        must_within 20 assigned doomed
        sleep 1
        victim_runs "$point" "$hit"
        must_within 20 assigned victim
        sleep 1
        end doomed KILL || true
        ;;
    *unassign*) # the victim has everything, then another joins
        victim_runs "$point" "$hit"
        must_within 20 assigned victim
        worker healthy
        ;;
    *)
        worker healthy
        must_within 20 assigned healthy
        sleep 1 # some state to restore
        victim_runs "$point" "$hit"
        case $point in *reset*) must_within 20 assigned victim ;; esac
        ;;
    esac
    case $point in
    *abort*) provoke_until_dead disturb ;;
    *reset*) provoke_until_dead "fence $point $hit" ;;
    *) wait_for 40 dead ;;
    esac || fail "$point: never reached for the ${hit}th time"
    grep "^killed at=$point hit=$hit" "$dir/victim.log" || fail "$point: ended elsewhere"
    [ -f "$dir/healthy.pid" ] || worker healthy
    sleep 1
    end feed || true
    verdict 60
}

if [ $# -eq 2 ]; then
    one "$@"
    exit
fi
proxied_cluster

[ -x "$faulty" ] || fail "there is no $faulty: make faults"
points=${KILL_POINTS:-$(grep -rhoE 'KILL_POINT(_SOON)?\("[a-z_]+"' src/engine | sed 's/.*"\(.*\)"/\1/' | sort -u)}
[ -n "$points" ] || fail 'no kill points in src/engine'
cases_running=()
for point in $points; do
    for hit in 1 "$(later_of "$point")"; do
        while [ "$(jobs -rp | wc -l)" -gt "$jobs_max" ]; do wait -n || true; done # one is kproxy
        { "$0" "$point" "$hit" >"$dir/$point-$hit.out" 2>&1 && echo clean || echo FAILED; } >"$dir/$point-$hit.word" &
        cases_running+=($!)
    done
done
wait "${cases_running[@]}"

# What became of the last transaction of the lane in question that had sent its offsets: their
# metadata names node, lane and number; a read_committed reader sees those of committed ones.
tokens() {
    kcat -C -q -e -b "$KASAGA_BOOTSTRAP" -X isolation.level="$1" -o beginning -t __consumer_offsets -f '%s\n' |
        { LC_ALL=C grep -aoE 'k1;v-[a-z_]+-[0-9]+\.[sr][0-9];[0-9]+:[0-9]+' || true; } | tr ';:' '  ' |
        awk '{ if ($4 > max[$2]) max[$2] = $4 } END { for (i in max) print i, max[i] }'
}
tokens read_uncommitted >"$dir/sent"
tokens read_committed >"$dir/committed"
number() { awk -v lane="$2" '$1 == lane { n = $2 } END { print n + 0 }' "$dir/$1"; }
outcome() { # NODE LANE
    local sent
    sent=$(number sent "$1.$2")
    if [ "$sent" = 0 ]; then
        echo 'none had sent offsets'
    elif [ "$sent" = "$(number committed "$1.$2")" ]; then
        echo "number $sent committed"
    else
        echo "number $sent aborted"
    fi
}
failed=0
printf '%-22s %4s  %-8s %-18s %s\n' point hit checker thread 'last transaction of its lane'
for point in $points; do
    for hit in 1 "$(later_of "$point")"; do
        word=$(cat "$dir/$point-$hit.word")
        thread=$(sed -n 's/^killed .*thread=//p' "$dir/$point-$hit.out" | head -1)
        printf '%-22s %4d  %-8s %-18s %s\n' "$point" "$hit" "$word" "$thread" "$(outcome "v-$point-$hit" "${thread%%.*}")"
        [ "$word" = clean ] || { failed=$((failed + 1)); (grep -v ^time= "$dir/$point-$hit.out" && tail -n 60 "$dir/$point-$hit.out") | sed 's/^/    /'; }
    done
done
[ $failed -eq 0 ] || fail "$failed cases"
passed "$(wc -w <<<"$points") kill points, each at two hits: nothing lost, nothing repeated"
