#!/usr/bin/env bash
# Measures three nodes with three shards and one router on this machine, load generator included, and prints what each
# process used. First argument: the engine (fjall unless told); the others go on to `bench`.
set -euo pipefail
cd "$(dirname "$0")/../.."
engine="${1:-fjall}"
shift || true
cargo build --quiet --release --workspace --bins
exec target/release/cluster --nodes "${NODES:-3}" --shards "${SHARDS:-3}" --routers "${ROUTERS:-1}" --engine "$engine" \
    -- target/release/bench --url '{urls}' --pids '{pids}' "$@"
