#!/usr/bin/env bash
# Kills a node and empties its disk; it is rebuilt from the others, and then leads while everything is read back.
# Limits and settings: see run.sh.
exec "$(dirname "$0")/run.sh" wipe-replica "$@"
