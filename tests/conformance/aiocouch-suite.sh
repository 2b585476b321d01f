#!/usr/bin/env bash
# aiocouch's own test-suite on a fresh embedded server: aiocouch-suite.sh [FOLDER]
# FOLDER is a checkout of aiocouch; without one its published sources are taken.
set -euo pipefail
tests="${1:+$(realpath "$1")}"
# shellcheck source=tests/conformance/prepare.sh
. "$(dirname "$0")/prepare.sh"
[ -n "$tests" ] || tests="$(unpack aiocouch "$(version aiocouch)")" || skip "the sources of aiocouch cannot be had"
run_suite aiocouch "$tests"
