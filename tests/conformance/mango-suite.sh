#!/usr/bin/env bash
# CouchDB's own test-suite of Mango on a fresh embedded server: mango-suite.sh FOLDER
# FOLDER is a checkout of CouchDB's repository at a release up to 3.5.0 (later ones have it in another language).
set -euo pipefail
skipped() { echo "skipped: CouchDB's test-suite of Mango: $*" && exit 0; }
[ -n "${1:-}" ] || skipped "no folder with its sources is named"
[ -e "$1/src/mango/test/mango.py" ] || skipped "it is not in $1"
tests="$(realpath "$1")"
# shellcheck source=tests/conformance/prepare.sh
. "$(dirname "$0")/prepare.sh"
run_suite mango "$tests"
