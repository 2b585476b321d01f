# shellcheck shell=bash
# Sourced: installs the clients once, beside what cargo builds, and builds the servers. Sets `clients` (an environment
# of Python) and `folder` (the programs). Says "skipped: why" and ends where the clients cannot be installed.
#
# PROFILE is cargo's for the servers; HARNESS_BIN_DIR is a folder to take them from instead, as they are.
if [ -n "${HARNESS_BIN_DIR:-}" ]; then
    HARNESS_BIN_DIR="$(realpath "$HARNESS_BIN_DIR")" && export HARNESS_BIN_DIR
fi
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
PROFILE="${PROFILE:-release}"
here=tests/conformance

skip() { echo "skipped: clients of others: $*" && exit 0; }

target="${CARGO_TARGET_DIR:-target}"
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
    cargo build --quiet --profile "$PROFILE" --workspace --bins
    folder="$target/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")"
fi
# This is about answers, not about the time a failover takes: a busy machine is to hold no elections in between, and a
# slow answer is not to become a 503.
export QUORATE_REPLICATION__HEALTH_CHECK_INTERVAL_MS=300 QUORATE_REPLICATION__FAILOVER_TIMEOUT_MS=5000
export QUORATE_LIMITS__REQUEST_TIMEOUT_MS=30000

# What the own test-suites of clients find where they look: a user called admin with this password.
suite_password=password

# run_suite SUITE FOLDER [WHERE…]: on a fresh server, or as WHERE tells `cluster` to start. Suites have the server
# replicate with itself by its URL.
run_suite() {
    local suite="$1" tests="$2"
    shift 2
    QUORATE_REPLICATOR__ALLOW="*" QUORATE_REPLICATOR__NETWORKS="127.0.0.0/8,::1/128" \
        "$folder/cluster" "${@:---embedded}" --admin "$suite_password" -- \
        "$clients/bin/python" -B $here/suite.py "$suite" "$tests" '{urls}' "$suite_password"
}

# unpack CLIENT VERSION: the sources of a client as its authors publish them, tests and all; prints the folder.
unpack() {
    local at="$target/conformance/$1-$2"
    if [ ! -e "$at/complete" ]; then
        rm -rf "$at" && mkdir -p "$at"
        "$clients/bin/python" -m pip download --quiet --disable-pip-version-check --retries 2 --timeout 30 --no-deps \
            --no-binary :all: --dest "$at" "$1==$2" >"$at/log" 2>&1 || return 1
        tar -xzf "$at"/*.tar.gz -C "$at" --strip-components 1 && touch "$at/complete" || return 1
    fi
    echo "$at"
}

# version CLIENT: the one that is tried.
version() { sed -n "s/^$1==//p" $here/requirements.txt; }
