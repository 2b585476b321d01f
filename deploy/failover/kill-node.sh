#!/usr/bin/env bash
# Kills a node that leads nothing (with few nodes: as little as possible) with SIGKILL, and starts it after a while.
# Limits and settings: see run.sh.
exec "$(dirname "$0")/run.sh" kill-node "$@"
