#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A link between two clusters whose processes are killed with -9 while records arrive: nothing lost,
# nothing twice, order kept, and keys, nulls, headers and times as they were. LINK_RECORDS and KILLS
# make it longer.
# timeout: 400
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/link.sh"
. "$(dirname "$0")/proxy.sh"

count=${LINK_RECORDS:-20000}
kills=${KILLS:-8}
region here "$KASAGA_BOOTSTRAP"
region there "$(own_cluster there --proxy)"
topic=$app.events
link_conf here "$(link_from there "$app.ev*")"
in_region there topic create "$topic" 6 >/dev/null

names=(l1 l2)
for n in "${names[@]}"; do link here "$n"; done
must_within 20 says l1 event=started
fill there "$topic" --count 1000
same there here "$topic" --expect 1000
passed 'records of every kind arrive as they were'

fill there "$topic" --mark plain --count "$count" --rate $((count / (2 * kills))) &
feeder=$!
fill there "$topic" --mark tx --count $((count / 4)) --rate $((count / (8 * kills))) --transactions &
feeder2=$!
for ((kill = 1; kill <= kills; kill++)); do
    sleep 2
    victim=$((RANDOM % 2))
    end "${names[$victim]}" KILL || true
    names[$victim]=k$kill
    link here "k$kill"
done
wait $feeder $feeder2
same there here "$topic" --expect $((1000 + count + count / 4)) --wait 60
passed "$kills kills, $count records, none lost, none repeated, in order"

in_region there topic create "$app.evening" 2 >/dev/null
fill there "$app.evening" --count 300
same there here "$app.evening" --expect 300 --wait 15
in_region there topic grow "$app.evening" 5 >/dev/null
sleep 1
fill there "$app.evening" --count 300 --first 300
same there here "$app.evening" --expect 600 --wait 15
passed 'a new topic and new partitions are picked up in seconds'

for n in "${names[@]}"; do end "$n" || fail "$n did not end well"; done
before=$(kcat -b "${brokers[here]}" -Q -t "$topic:0:-1")
fill there "$topic" --count 500 --mark late
link here l9
same there here "$topic" --mark late --expect 500 --wait 20
[ "$(kcat -b "${brokers[here]}" -Q -t "$topic:0:-1")" != "$before" ] || fail 'nothing was copied after the restart'
passed 'a link that was stopped catches up'

start namesake env -u KASAGA_BOOTSTRAP "$KASAGA" link run -c "$dir/here.conf" --node l9
two_names() { says namesake 'another process has the node name l9' || says l9 'another process has the node name l9'; }
must_within 30 two_names
passed 'two processes with one node name end with its name'
end l9 || true
end namesake || true

# What goes wrong is counted per source, as often as it went wrong: here requests that vanish.
read -ra ports <<<"$(tools/kafka proxy --name "$(cluster_of there)")"
start kproxy kproxy "${ports[@]}"
control=${ports[0]}
must_within 5 px held >/dev/null
sed "s/${brokers[there]}/127.0.0.1:${ports[1]%%=*}/; s/naming =/breaker = { threshold = 2; timeout = \"1s\"; }; naming =/" "$dir/here.conf" >"$dir/proxied.conf"
link proxied l10
node_says() { # FILTER: of the node's own record
    env -u KASAGA_BOOTSTRAP "$KASAGA" link status -c "$dir/proxied.conf" -o json | jq -r ".links[0].nodes[] | select(.node == \"l10\") | $1"
}
is_said() { [ "$(node_says "$1")" = "$2" ]; }
fill there "$topic" --count 400 --mark counted
same there here "$topic" --mark counted --expect 400 --wait 30
must_within 15 is_said .copied 400
equal 'failures before any' '0 0' "$(node_says '"\(.failures) \(.openings)"')"
equal 'bytes of its partitions' "$(node_says .bytes)" "$(node_says '[.counts[].bytes] | add')"
equal 'bytes of one partition' true "$(env -u KASAGA_BOOTSTRAP "$KASAGA" link status -c "$dir/proxied.conf" -o jsonl |
    jq -s "any(.[]; .topic == \"$topic\" and .partition == 0 and .bytes > 0 and .again == 0)")"
rule=$(px drop ListOffsets client=l10.link times=2)
must_within 30 hit "$rule" 2
must_within 30 is_said .failures 2
must_within 15 is_said .breaker closed
equal 'times that the breaker opened' 1 "$(node_says .openings)"
sleep 5 # looks that succeed, and another record of the node
equal 'failures when all is well' 2 "$(node_says .failures)"
equal 'failures in the log' 2 "$(grep -c event=look_failed "$dir/l10.log")"
contains 'the text' "$(env -u KASAGA_BOOTSTRAP "$KASAGA" link status -c "$dir/proxied.conf")" 'copied 400 records'
end l10
passed 'what fails is counted, once each'

# A hub of its own app in the cluster here: what a rule names for it, and nothing else.
hub() { # CLASS [keys of the link]
    cat >"$dir/hub.conf" <<CONF
app = "$app-hub"; region = "hub"; link_slots = 6;
kafka = { bootstrap = "${brokers[here]}"; };
regions = ( { name = "there"; }, { name = "hub"; role = "hub"; } );
residency = { rules = ( { class = "public"; target = "closest"; mode = "preferred"; },
                        { region = "there"; class = "public"; target = "hub"; } ); };
links = ( { source = "there"; bootstrap = "${brokers[there]}"; app = "$app"; refresh = "500ms";
    topics = ( { match = "$app.evening"; class = "public"; }, { match = "$app.$1*"; class = "$1"; } ); ${2:-} } );
CONF
}
refused() { # TEXT COMMAND...
    local code=0
    "${@:2}" >"$dir/refused" 2>&1 </dev/null || code=$?
    equal "exit code of ${*:2}" 78 "$code"
    contains "${*:2}" "$(cat "$dir/refused")" "$1"
}
in_region there topic create "$app.personal" 2 >/dev/null
in_region there topic create "$app.out.hub" 2 >/dev/null
fill there "$app.personal" --count 100
fill there "$app.out.hub" --count 100
hub personal
refused 'no rule lets personal data of there go to the hub hub' "$KASAGA" check -c "$dir/hub.conf"
refused 'no rule lets personal data of there go to the hub hub' "$KASAGA" link run -c "$dir/hub.conf" --node h1
hub public 'commands = true;'
refused 'is a hub: no commands come here' "$KASAGA" check -c "$dir/hub.conf"
hub public
refused 'is a hub: nothing runs in it' env -u KASAGA_BOOTSTRAP "$KASAGA" worker -c "$dir/hub.conf" --node h1
"$KASAGA" topics apply --yes -c "$dir/hub.conf" --bootstrap "${brokers[here]}" >"$dir/topics.log" 2>&1 || fail "$(cat "$dir/topics.log")"
link hub h1
same there here "$app.evening" --as "there.$app.evening" --expect 600 --wait 20
sleep 1
equal 'topics of the hub' "$app-hub.links there.$app.evening" "$(kcat -L -J -b "${brokers[here]}" |
    jq -r "[.topics[].topic | select(startswith(\"$app-hub.\") or startswith(\"there.$app.\"))] | sort | join(\" \")")"
passed 'a hub holds what a rule names for it, and nothing else'
