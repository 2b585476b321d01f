#!/usr/bin/env bash
# pycouchdb's own test-suite on a fresh embedded server: pycouchdb-suite.sh [FOLDER]
# FOLDER is a checkout of pycouchdb; without one its published sources are taken.
set -euo pipefail
tests="${1:+$(realpath "$1")}"
# shellcheck source=tests/conformance/prepare.sh
. "$(dirname "$0")/prepare.sh"
[ -n "$tests" ] || tests="$(unpack pycouchdb "$(version pycouchdb)")" || skip "the sources of pycouchdb cannot be had"
run_suite pycouchdb "$tests"
