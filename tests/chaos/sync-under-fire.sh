#!/usr/bin/env bash
# Two databases replicate continuously both ways, with writers at both and clients that keep edits while they are
# offline, and a primary is killed every 5 seconds for N seconds (120 unless told). Prints counts; exits with 1 if in the
# end anything differs between the databases and the clients, or anything acknowledged is lost.
# More arguments go on to the program: `sync-under-fire.sh 120 --clusters 2 --seed 7`; see `--help`.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --quiet --release --workspace --bins
exec "${CARGO_TARGET_DIR:-target}/release/sync" "$@"
