#!/usr/bin/env bash
# Runs the scenarios of all clients, also after some failed: clients.sh PYTHON URL[,URL…] PASSWORD
set -euo pipefail
failed=0
for scenarios in "$(dirname "$0")"/with_*.py; do
    "$1" -B "$scenarios" "${@:2}" || failed=1
done
exit $failed
