#!/usr/bin/env bash
# Scenarios written with clients of others (aiocouch, pycouchdb, IBM's SDK) and the own test-suites of aiocouch and
# pycouchdb, on three nodes with two routers and on the embedded mode, all with an admin. Says "skipped: why" where the
# clients cannot be installed.
#
#   tests/conformance/run.sh
set -euo pipefail
# shellcheck source=tests/conformance/prepare.sh
. "$(dirname "$0")/prepare.sh"

# own_suite CLIENT [WHERE…]
own_suite() {
    local tests
    if tests="$(unpack "$1" "$(version "$1")")"; then
        run_suite "$1" "$tests" "${@:2}"
    else
        echo "skipped: the test-suite of $1: its sources cannot be had"
    fi
}

password="a pass:word"
failed=0
for where in "--nodes 3 --shards 3 --routers 2" "--embedded"; do
    echo "--- $where"
    read -ra where <<<"$where"
    # It waits for feeds to end, two minutes of the time: on servers of its own, beside the rest.
    log="$(mktemp)"
    own_suite pycouchdb "${where[@]}" >"$log" 2>&1 &
    "$folder/cluster" "${where[@]}" --admin "$password" -- \
        $here/clients.sh "$clients/bin/python" '{urls}' "$password" || failed=1
    own_suite aiocouch "${where[@]}" || failed=1
    wait $! || failed=1
    cat "$log" && rm "$log"
done
exit $failed
