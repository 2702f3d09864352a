#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A worker whose clock is a minute behind the broker's says so, and works all the same.
# timeout: 120
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/app.sh"

cat >"$dir/behind.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *now)
{
    int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (id == CLOCK_REALTIME)
        now->tv_sec -= 60;
    return result;
}
C
cc -shared -fPIC -o "$dir/behind.so" "$dir/behind.c" -ldl
write_conf
new_app
worker right
start behind env LD_PRELOAD="$dir/behind.so" "$KASAGA" worker --node behind
says() { grep -Eq "event=clock_skew.*ms=(5[5-9]|6[0-5])[0-9]{3} clock=behind" "$dir/behind.log"; }
must_within 40 says
orders 1 200
verdict 60
end behind || fail "it did not end well"
grep -Eq "event=stats.*clock_skew_ms=(5[5-9]|6[0-5])[0-9]{3}" "$dir/behind.log" || fail "the stats do not say it"
end right || fail "it did not end well"
! grep -q event=clock_skew "$dir/right.log" || fail "a right clock is reported"
equal "lines a minute" 1 "$(grep -c event=clock_skew "$dir/behind.log")"
passed "a clock that differs from the broker's is reported, once a minute and in the stats"
