#!/usr/bin/env bash
# Does failover exercises under load and says what clients saw; the scripts beside it each do one, all.sh does them all.
#
#   deploy/failover/run.sh EXERCISE… [MORE FLAGS OF THE PROGRAM failover]
#
# Exits with 1 when an acknowledged write was lost, a read was stale or otherwise wrong, a shard was silent for too
# long, or a request failed that its client had repeated. On the containers of the compose project PROJECT if it runs,
# else on processes.
set -euo pipefail
cd "$(dirname "$0")/../.."

# A shard that loses its primary is promised back within a second. With a busy machine under all containers at once,
# a scheduler's pauses come on top of the third of a second that an election takes.
SILENCE_MAX_MS="${SILENCE_MAX_MS:-1000}"
# A shard that loses nothing it needs should not notice; this is room for the pauses of a busy machine.
ELSEWHERE_MAX_MS="${ELSEWHERE_MAX_MS:-500}"
# How long clients repeat a request in rolling-restart and lose-router: what an app's driver does by itself.
RETRY_MS="${RETRY_MS:-2000}"
# How long a fault lasts that could last: many times what it takes to notice it and to elect.
HOLD_MS="${HOLD_MS:-5000}"
# Enough clients that every shard always has several requests under way, few enough for a small machine.
WRITERS="${WRITERS:-12}"
READERS="${READERS:-6}"
# `containers` refuses to fall back on processes; `processes` leaves containers alone.
ON="${ON:-auto}"
PROJECT="${PROJECT:-quorate}"
FILE="${FILE:-deploy/docker-compose.yml}"
# Cargo's profile for the program, and for the servers where they are processes.
PROFILE="${PROFILE:-release}"

# The servers as well: processes are started from them, and with the same packages cargo settles on the same features.
cargo build --quiet --profile "$PROFILE" --workspace --bins
folder="${CARGO_TARGET_DIR:-target}/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")"
exec "$folder/failover" --on "$ON" --project "$PROJECT" --file "$FILE" \
    --silence-max-ms "$SILENCE_MAX_MS" --elsewhere-max-ms "$ELSEWHERE_MAX_MS" \
    --retry-ms "$RETRY_MS" --hold-ms "$HOLD_MS" --writers "$WRITERS" --readers "$READERS" "$@"
