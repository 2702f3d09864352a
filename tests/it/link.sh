# SPDX-License-Identifier: Apache-2.0
# Clusters and links of the link tests. Sourced behind lib.sh.  shellcheck shell=bash

declare -A brokers # region -> bootstrap

# region NAME BOOTSTRAP
region() { brokers[$1]=$2; }

# link_conf REGION "link group…" [line...]: the configuration $dir/REGION.conf. The groups of the
# links are written with link_from; lines go to the top level.
link_conf() {
    local here=$1 links=$2 names='' name
    shift 2
    for name in "${!brokers[@]}"; do names+="{ name = \"$name\"; },"; done
    cat >"$dir/$here.conf" <<CONF
app = "$app";
region = "$here";
shards = 4;
link_slots = ${slots:-6};
kafka = { bootstrap = "${brokers[$here]}"; };
regions = ( ${names%,} );
residency = { rules = ( { class = "public"; target = "closest"; mode = "preferred"; } ); };
links = ( $links );
$(printf '%s\n' "$@")
CONF
    "$KASAGA" topics apply --yes -c "$dir/$here.conf" --bootstrap "${brokers[$here]}" >"$dir/topics.log" 2>&1 ||
        fail "topics apply in $here: $(cat "$dir/topics.log")"
}

# link_from REGION PATTERN [keys]: one group of links.
link_from() {
    echo "{ source = \"$1\"; bootstrap = \"${brokers[$1]}\"; refresh = \"500ms\";
        topics = ( { match = \"$2\"; class = \"public\"; } ); ${3:-naming = \"identical\";} }"
}

# link REGION NODE: a link process of that region.
link() { start "$2" env -u KASAGA_BOOTSTRAP "$KASAGA" link run -c "$dir/$1.conf" --node "$2"; }

in_region() { # REGION COMMAND...: with its cluster as KASAGA_BOOTSTRAP
    KASAGA_BOOTSTRAP=${brokers[$1]} "${@:2}"
}

fill() { checklink fill --to "${brokers[$1]}" --topic "$2" "${@:3}" >>"$dir/fill.log" || fail "fill $*"; }

# same FROM TO TOPIC [options]: the copy is what the source has.
same() {
    local answer
    answer=$(checklink compare --from "${brokers[$1]}" --to "${brokers[$2]}" --topic "$3" "${@:4}") ||
        fail "$3 in $1 and $2: $answer"
}

# says NODE PATTERN: the log of a process.
says() { grep -q -- "$2" "$dir/$1.log"; }
