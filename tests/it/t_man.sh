#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The manual pages: one for each command, every option of `kasaga help COMMAND` in it and no other,
# kasaga.conf.5 as docs/man/conf2man writes it, and no warnings of groff. Needs no broker.
# timeout: 60
set -euo pipefail
cd "$(dirname "$0")/../.."
KASAGA=${KASAGA:-${KASAGA_BUILD:-$PWD/build/gcc}/kasaga}
wrong=0
cases=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

complain() {
    echo "FAIL: $*" >&2
    wrong=$((wrong + 1))
}
passed() { [ $wrong -ne 0 ] || echo "ok $((cases += 1)) - $*"; }

# offered COMMAND: its options as help has them, "-x --long ARGUMENT".
offered() {
    "$KASAGA" help "$1" | sed -n 's/^  \(-[a-z], \)\{0,1\}\(--[a-z-]*\)\( [A-Z]*\)\{0,1\}  .*/\1\2\3/p' | sed 's/ *$//' | sort
}
# documented PAGE: the same of a page.
documented() {
    sed -n 's/^\.It Fl -/--/p; s/^\.It Fl \([a-z]\) , Fl -/-\1, --/p' "$1" | sed 's/ Ar / /' | sort
}

"$KASAGA" help | sed -n 's/^  \([a-z]*\)  *.*/\1/p' | grep -vx help >"$dir/commands"
offered version >"$dir/common"
comm -23 "$dir/common" <(documented docs/man/kasaga.1) | grep . >&2 && complain 'kasaga.1 lacks options of every command'
while read -r command; do
    page=docs/man/kasaga-$command.1
    grep -q "^\.It Cm $command\$" docs/man/kasaga.1 || complain "kasaga.1 does not name $command"
    [ -f "$page" ] || { complain "there is no $page" && continue; }
    offered "$command" | comm -23 - "$dir/common" >"$dir/offered"
    diff "$dir/offered" <(documented "$page") >&2 ||
        complain "$page differs from kasaga help $command (<: in the help only)"
done <"$dir/commands"
for page in docs/man/kasaga-*.1; do
    command=${page##*/kasaga-}
    grep -qx "${command%.1}" "$dir/commands" || complain "$page is of no command"
done
passed 'every command has its page, every option is in it and no other'

while read -r code; do
    grep -qx "\.It $code" docs/man/kasaga.1 || complain "kasaga.1 lacks exit code $code"
done < <("$KASAGA" help | tr '\n' ' ' | sed 's/.*Exit codes: //' | grep -oE '[0-9]+')
passed 'every exit code is in kasaga.1'

docs/man/conf2man | diff - docs/man/kasaga.conf.5 >&2 ||
    complain 'kasaga.conf.5 is not of this configuration.md: docs/man/conf2man >docs/man/kasaga.conf.5'
passed 'kasaga.conf.5 is what conf2man makes of docs/configuration.md'

if command -v groff >/dev/null; then
    for page in docs/man/*.[15]; do
        groff -mandoc -Tutf8 -ww -z "$page" 2>&1 | grep . >&2 && complain "groff warns about $page"
    done
    passed 'groff has no warnings'
else
    echo 'skip: no groff: warnings were not looked for'
fi
[ $wrong -eq 0 ]
