#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kasaga check --broker and topics plan on clusters that were set up wrongly on purpose.
# timeout: 180
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

# check EXPECTED [argument...]: of kasaga check --broker; what it says in $out.
check() {
    local expected=$1 status=0
    shift
    out=$("$KASAGA" check --broker "$@" 2>"$dir/err" </dev/null) || status=$?
    equal "exit code ($out $(cat "$dir/err"))" "$expected" "$status"
}
finding() { jq -r '.cluster.findings[] | select(.setting == "'"$1"'") | .severity + " " + (.names | join(","))' <<<"$out"; }

write_conf
check 0
contains "before apply" "$out" "warning topics $app.inbox, $app.state"
contains "before apply" "$out" "missing: kasaga topics apply"
new_app
check 0 -o json
equal "one broker" "warning $app.inbox,$app.state,$app.history,$app.replies,$app.dlq,$app.catalog,__transaction_state,__consumer_offsets" \
    "$(finding replication.factor)"
equal "errors" 0 "$(jq .cluster.errors <<<"$out")"
equal "nothing else" 1 "$(jq '.cluster.findings | length' <<<"$out")"
equal "ok" true "$(jq .ok <<<"$out")"
passed "a cluster as tools/kafka sets it up is weak in one point and wrong in none"

check 69 --bootstrap 127.0.0.1:1
check 78 -c "$dir/none.conf"
passed "a cluster that does not answer is 69, a file that is wrong 78"

good_app=$app app=$app-bad
write_conf
topic create "$app.inbox" 12 retention.ms=3600000 unclean.leader.election.enable=true
topic create "$app.state" 12 cleanup.policy=compact
topic create "$app.history" 12 max.message.bytes=100000 retention.ms=1000
topic create "$app.dlq" 12 min.insync.replicas=2 retention.ms=-1
topic create "$app.replies" 5
topic create "$app.catalog" 1
must_within 10 sh -c "kcat -L -b $KASAGA_BOOTSTRAP -t $app.catalog | grep -q 'with 1 partitions'"
check 1 -o json
equal "retention" "error $app.inbox|warning $app.history" "$(finding retention.ms | sort | tr '\n' '|' | sed 's/|$//')"
equal "election" "error $app.inbox" "$(finding unclean.leader.election.enable)"
equal "cleanup" "error $app.catalog|error $app.state" "$(finding cleanup.policy | sort | tr '\n' '|' | sed 's/|$//')"
equal "size" "error $app.history" "$(finding max.message.bytes)"
equal "replicas" "error $app.dlq" "$(finding min.insync.replicas)"
equal "partitions" 1 "$(jq '[.cluster.findings[] | select(.names == ["'"$app"'.replies"] and .severity == "error")] | length' <<<"$out")"
equal "ok" false "$(jq .ok <<<"$out")"
check 1
contains "as text" "$out" "error   topic $app.inbox: unclean.leader.election.enable=true"
plan=$("$KASAGA" topics plan || true)
contains "in the plan too" "$plan" "error   topic $app.inbox: unclean.leader.election.enable=true"
passed "topics whose settings break promises are named, with the setting"
app=$good_app

KASAGA_BOOTSTRAP=$(own_cluster wrong --set transaction.max.timeout.ms=8000 --set offsets.retention.minutes=60 \
    --set group.min.session.timeout.ms=7000 --set message.max.bytes=500000 --set offset.metadata.max.bytes=300)
write_conf 'topics = { replication = 2; };'
check 1 -o json
for setting in transaction.max.timeout.ms group.min.session.timeout.ms offset.metadata.max.bytes; do
    equal $setting "error 1" "$(finding $setting)"
done
equal offsets.retention.minutes "warning 1" "$(finding offsets.retention.minutes)"
contains "replication" "$(finding replication.factor)" "error $app.inbox"
contains "size of what would be created" "$(finding message.max.bytes)" "error $app.inbox"
equal "where" warning "$("$KASAGA" topics plan -o json | jq -r '.findings[] | select(.setting == "offsets.retention.minutes").severity')"
passed "brokers whose settings break promises are named, with the setting"

KASAGA_BOOTSTRAP=$(own_cluster good --brokers 3)
write_conf
topic create "$input" 6 retention.ms=-1
"$KASAGA" topics apply --yes >"$dir/topics.log" 2>&1
check 0 -o json
equal "findings" "[]" "$(jq -c .cluster.findings <<<"$out")"
equal "brokers" 3 "$(jq .cluster.brokers <<<"$out")"
passed "of three brokers with three replicas and two in sync there is nothing to say"
