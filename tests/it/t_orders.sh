#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job: orders produced with kcat, three workers, one order in ten refused at its third
# step. Every saga completed xor compensated, each step once, history and state agree.
# Records come from kcat and are read with it. (R14)
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

count=${ORDERS:-20000}
write_conf
new_app
worker n1
worker n2
worker n3
orders 1 "$count"
verdict 120
equal "completed" $((count - count / 10)) "$(history_count saga.completed)"
equal "compensated" $((count / 10)) "$(history_count saga.compensated)"
equal "refused charges" $((count / 10)) "$(history_count step.failed)"
for n in n1 n2 n3; do end $n || fail "$n did not stop cleanly"; done
passed "$count orders over three workers"
