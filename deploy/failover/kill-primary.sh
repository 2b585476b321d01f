#!/usr/bin/env bash
# Kills the primary of each shard with SIGKILL, one after the other, and starts it again once another leads.
# Limits and settings: see run.sh.
exec "$(dirname "$0")/run.sh" kill-primary "$@"
