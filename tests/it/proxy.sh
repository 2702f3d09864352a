# SPDX-License-Identifier: Apache-2.0
# A cluster behind kproxy, for tests that do things to single requests. Sourced behind app.sh.
# Workers of `proxied` go through the proxy, everybody else (kcat, the checker) goes round it.
# shellcheck shell=bash

# proxied_cluster [options of tools/kafka up]: sets KASAGA_BOOTSTRAP, $front and $control.
proxied_cluster() {
    local arguments
    KASAGA_BOOTSTRAP=$(own_cluster proxied --proxy "$@")
    read -ra arguments <<<"$(tools/kafka proxy --name "$(cluster_of proxied)")"
    start kproxy kproxy "${arguments[@]}"
    control=${arguments[0]}
    front=$(printf ',127.0.0.1:%s' "${arguments[@]:1}" | sed 's/=[^,]*//g; s/^,//')
    export KASAGA_BOOTSTRAP front control
    must_within 5 px held >/dev/null
}

# px COMMAND: prints what kproxy answers, without its "ok".
px() {
    local answer
    { exec 7<>"/dev/tcp/127.0.0.1/$control"; } 2>/dev/null || return 1
    echo "$*" >&7
    answer=$(cat <&7)
    exec 7>&-
    [[ $answer == *ok* ]] || fail "kproxy: $*: $answer"
    echo "${answer#ok}"
}

proxied() { start "$1" "$KASAGA" worker --node "$1" --bootstrap "$front"; }

# hit RULE TIMES: the rule has met that many requests.
hit() { [ "$(px hits "$1")" -ge "$2" ]; }
