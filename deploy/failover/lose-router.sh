#!/usr/bin/env bash
# Kills a router with SIGKILL, and starts it after a while; clients go on through the others.
# Limits and settings: see run.sh.
exec "$(dirname "$0")/run.sh" lose-router "$@"
