#!/usr/bin/env bash
# CouchDB's own test-suite of Mango on a fresh embedded server: mango-suite.sh FOLDER
# FOLDER is a checkout of CouchDB's repository at a release up to 3.5.0 (later ones have it in another language).
set -euo pipefail
tests="${1:+$(realpath "$1")}"
# shellcheck source=tests/conformance/prepare.sh
. "$(dirname "$0")/prepare.sh"
[ -n "$tests" ] || skip "CouchDB's test-suite of Mango: no folder with its sources is named"
[ -e "$tests/src/mango/test/mango.py" ] || skip "CouchDB's test-suite of Mango is not in $tests"
run_suite mango "$tests"
