#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A worker is stopped (SIGSTOP) past its session timeout several times, once also past the timeout of
# its transaction and the broker's sweep; its shards move, then it goes on in the middle of whatever it
# was doing: nothing of the zombie is visible to a read_committed reader, and it works again.
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

stops=${STOPS:-16 24}
write_conf
new_app
for n in n1 n2 n3; do worker $n; done
start feed bash -c '. tests/it/feed.sh' feed "$input" 500 # so that a stop meets an open transaction
must_within 60 takes_part n2

lost() { cat "$dir"/n2.log | grep -cE 'event=(SESSTMOUT|unassigned)|class=FENCED|UNKNOWN_MEMBER_ID' || true; }
for seconds in $stops; do
    before=$(lost)
    kill -STOP "$(pid_of n2)"
    sleep "$seconds"
    ! takes_part n2 || fail "nobody took over from n2 within $seconds s"
    kill -CONT "$(pid_of n2)"
    must_within 60 takes_part n2
    [ "$(lost)" -gt "$before" ] || fail "n2 never noticed that it was away"
done
end feed || true
verdict 120
for n in n1 n2 n3; do ! gone "$(pid_of $n)" || fail "$n has ended"; done
passed "zombies of $stops s leave no trace and work again"
