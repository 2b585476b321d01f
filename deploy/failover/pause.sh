#!/usr/bin/env bash
# Freezes a primary (docker pause) for a while: it keeps its connections, and wakes up believing that it leads.
# Limits and settings: see run.sh.
exec "$(dirname "$0")/run.sh" pause "$@"
