#!/usr/bin/env bash
# Stops and starts every node, then every router, one after the other, as for an upgrade; the clients repeat what did
# not succeed for RETRY_MS, and no request may fail.
# Limits and settings: see run.sh.
exec "$(dirname "$0")/run.sh" rolling-restart "$@"
