#!/usr/bin/env bash
# Scenarios written with clients of others (aiocouch, pycouchdb, IBM's SDK), on three nodes with two routers and on the
# embedded mode, both with an admin. Says "skipped: why" where the clients cannot be installed.
#
#   tests/conformance/run.sh
#
# PROFILE is cargo's for the servers; HARNESS_BIN_DIR is a folder to take them from instead, as they are.
# The clients are installed once, beside what cargo builds.
set -euo pipefail
if [ -n "${HARNESS_BIN_DIR:-}" ]; then
    HARNESS_BIN_DIR="$(realpath "$HARNESS_BIN_DIR")" && export HARNESS_BIN_DIR
fi
cd "$(dirname "$0")/../.."
PROFILE="${PROFILE:-release}"

skip() { echo "skipped: clients of others: $*" && exit 0; }

target="${CARGO_TARGET_DIR:-target}"
here=tests/conformance
clients="$target/conformance/$(sha256sum $here/requirements.txt | cut -c 1-16)"
# install PYTHON: makes $clients with it. Another run may be doing the same.
install() {
    rm -rf "$clients"
    "$1" -m venv "$clients" &&
        "$clients/bin/python" -m pip install --quiet --disable-pip-version-check --retries 2 --timeout 30 \
            --requirement $here/requirements.txt &&
        touch "$clients/complete"
}
mkdir -p "$target/conformance"
exec 9>"$target/conformance/lock"
flock 9
if [ ! -e "$clients/complete" ]; then
    command -v python3 >/dev/null || skip "python3 is not installed"
    install python3 >"$target/conformance/log" 2>&1 ||
        skip "pip could not install them: $(grep -v '^ *$' "$target/conformance/log" | tail -n 1)"
fi
exec 9>&-

if [ -n "${HARNESS_BIN_DIR:-}" ]; then
    folder="$HARNESS_BIN_DIR"
else
    cargo build --quiet --profile "$PROFILE" --bins -p quorate-tests -p quorate-router -p quorate-shard-node
    folder="$target/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")"
fi
# This is about answers, not about the time a failover takes: a busy machine is to hold no elections in between, and a
# slow answer is not to become a 503.
export QUORATE_REPLICATION__HEALTH_CHECK_INTERVAL_MS=300 QUORATE_REPLICATION__FAILOVER_TIMEOUT_MS=5000
export QUORATE_LIMITS__REQUEST_TIMEOUT_MS=30000
password="a pass:word"
for where in "--nodes 3 --shards 3 --routers 2" "--embedded"; do
    echo "--- $where"
    # shellcheck disable=SC2086
    "$folder/cluster" $where --admin "$password" -- $here/clients.sh "$clients/bin/python" '{urls}' "$password"
done
