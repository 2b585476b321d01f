#!/usr/bin/env bash
# Cuts the primary of shard 0 off from every other server (docker network disconnect), and joins it after a while.
# Limits and settings: see run.sh.
exec "$(dirname "$0")/run.sh" partition "$@"
