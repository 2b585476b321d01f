#!/usr/bin/env bash
# All exercises in turn, and one table.
# Limits and settings: see run.sh.
exec "$(dirname "$0")/run.sh" "$@"
