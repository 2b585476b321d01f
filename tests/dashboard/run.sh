#!/usr/bin/env bash
# Tests the dashboard in a headless Chromium, on nine processes and two routers with an admin, and on the embedded mode
# without one. Says "skipped: why" where there is no Chromium to test with.
#
#   tests/dashboard/run.sh                                     starts them
#   tests/dashboard/run.sh PROJECT URL,URL PASSWORD-FILE       the containers of a compose project that runs already
#
# HARNESS_PICTURES=DIR keeps pictures of the page, as it was at several points and where it failed.
# PROFILE is cargo's for the servers.
set -euo pipefail
cd "$(dirname "$0")/../.."
PROFILE="${PROFILE:-release}"

skip() { echo "skipped: the dashboard in a browser: $*" && exit 0; }
command -v chromium >/dev/null || skip "chromium is not installed"
command -v chromedriver >/dev/null || skip "chromedriver is not installed"
# Where several Pythons are installed, the system's has the packages.
for python in python3 /usr/bin/python3 ""; do
    [ -n "$python" ] || skip "python3-selenium is not installed"
    if "$python" -c 'import selenium' 2>/dev/null; then break; fi
done

if (($# == 3)); then
    exec "$python" -B tests/dashboard/nine.py "$2" "compose:$1" "$(cat "$3")"
fi

cargo build --quiet --profile "$PROFILE" --workspace --bins
folder="${CARGO_TARGET_DIR:-target}/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")"
# This is about the page, not about the time a failover takes: a busy machine is to hold elections when the test kills
# primaries, and not in between.
export QUORATE_REPLICATION__HEALTH_CHECK_INTERVAL_MS=300 QUORATE_REPLICATION__FAILOVER_TIMEOUT_MS=2500
"$python" -B tests/dashboard/open.py "$folder/quorate-router"
exec "$folder/cluster" --nodes 9 --shards 3 --routers 2 --admin "a password: ünsafe" \
    -- "$python" -B tests/dashboard/nine.py '{urls}' '{folder}' "a password: ünsafe"
