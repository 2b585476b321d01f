#!/usr/bin/env bash
# Kills the primary of a random shard N times (30 unless told) under 16 writers, nine nodes and two routers, and prints
# how long that shard's writes were silent and whether anything was lost. Exits with 1 when a promise was broken.
# More arguments go on to the program: `kill-primary.sh 30 --sled --seed 7`; see `--help`.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --quiet --release --workspace --bins
exec "${CARGO_TARGET_DIR:-target}/release/chaos" "$@"
