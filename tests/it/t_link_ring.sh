#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Three regions, six links, one topic with the same name everywhere: each region ends with the
# records of all three, once and in order, while link processes are killed; then nothing grows any
# more. LINK_RECORDS (per region), KILLS and REST (seconds of silence to be seen) make it longer.
# timeout: 900
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/link.sh"

count=${LINK_RECORDS:-5000}
kills=${KILLS:-6}
rest=${REST:-8}
region us "$KASAGA_BOOTSTRAP"
region eu "$(own_cluster eu)"
region ap "$(own_cluster ap)"
topic=$app.events

for r in us eu ap; do
    in_region "$r" topic create "$topic" 6 >/dev/null
    links=''
    for other in us eu ap; do [ "$other" = "$r" ] || links+="$(link_from "$other" "$app.ev*"),"; done
    link_conf "$r" "${links%,}"
done

# ends: the sum of the ends of all topics of the app but <app>.links, in all regions.
ends() {
    local r t
    for r in us eu ap; do
        for t in $(kcat -L -J -b "${brokers[$r]}" | jq -r ".topics[].topic | select(startswith(\"$app.\"))"); do
            [[ $t == "$app.links" ]] || kcat -Q -b "${brokers[$r]}" $(printf -- '-t %s:%d:-1 ' \
                $(kcat -L -J -b "${brokers[$r]}" -t "$t" | jq -r '.topics[0] | .topic as $t | .partitions[] | "\($t) \(.partition)"'))
        done
    done | awk '{ sum += $NF } END { print sum }'
}

declare -A node
for r in us eu ap; do node[$r]=$r-0 && link "$r" "$r-0"; done
feeders=()
for r in us eu ap; do
    fill "$r" "$topic" --mark "$r" --count "$count" --rate $((count / (2 * kills))) &
    feeders+=($!)
done
regions=(us eu ap)
for ((kill = 1; kill <= kills; kill++)); do
    sleep 2
    r=${regions[RANDOM % 3]}
    end "${node[$r]}" KILL || true
    node[$r]=$r-$kill
    link "$r" "$r-$kill"
done
wait "${feeders[@]}"

for from in us eu ap; do
    for to in us eu ap; do
        [ "$from" = "$to" ] || same "$from" "$to" "$topic" --mark "$from" --expect "$count" --wait 120
    done
done
passed "$kills kills, $count records in each region: every region has all of them, once, in order"

before=$(ends)
[ "$before" -ge $((9 * count)) ] || fail "only $before records in all"
sleep "$rest"
equal "records and markers after $rest s" "$before" "$(ends)"
passed 'afterwards nothing grows'

# A region's broker dies: the others go on; it is back: what it missed is there within 10 s.
tools/kafka kill -9 --name "$(cluster_of eu)"
fill us "$topic" --mark outage --count 1000
same us ap "$topic" --mark outage --expect 1000 --wait 10
sleep 5
tools/kafka start --name "$(cluster_of eu)" >/dev/null
back=$SECONDS
same us eu "$topic" --mark outage --expect 1000 --wait ${RECOVERY:-10}
recovered=$((SECONDS - back))
fill eu "$topic" --mark again --count 1000
same eu us "$topic" --mark again --expect 1000 --wait 10
same eu ap "$topic" --mark again --expect 1000 --wait 10
passed "a broker dies and comes back: the others are undisturbed, what it missed is there $recovered s later"
for r in us eu ap; do end "${node[$r]}" || fail "${node[$r]} did not end well"; done

# refused NODE TEXT: the process ends with 78 and says so.
refused() {
    local status=0
    must_within 20 gone "$(pid_of "$1")"
    end "$1" || status=$?
    equal "exit of $1" 78 "$status"
    contains "$1" "$(cat "$dir/$1.log")" "$2"
}
brokers[me]=${brokers[us]}
link_conf us "$(link_from me "$app.ev*")"
link us alias
refused alias 'is this very cluster'
brokers[eu2]=${brokers[eu]}
link_conf us "$(link_from eu "$app.ev*"), $(link_from eu2 "$app.ev*")"
link us twice
refused twice 'are one cluster'
passed 'two names of one cluster are refused, by its id'
