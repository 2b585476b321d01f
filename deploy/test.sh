#!/usr/bin/env bash
# Builds the image, starts the clusters of both compose files, does the failover exercises on them, tests the dashboard on
# the larger one, and takes all down.
# Without a container engine it says "skipped: why" and does the exercises on processes.
#
#   deploy/test.sh [--binaries DIR]          DIR as for build-image.sh
set -euo pipefail
cd "$(dirname "$0")/.."

# A project, an image and ports of its own: whatever else runs here is left alone.
export PROJECT=quorate-test DEPLOY_IMAGE=quorate:test DEPLOY_PORT_R1=15984 DEPLOY_PORT_R2=15985
# Health checks come every ten seconds; a container that is not healthy after several of them will not be.
HEALTHY_WITHIN_S="${HEALTHY_WITHIN_S:-60}"

compose() {
    if docker compose version >/dev/null 2>&1; then docker compose "$@"; else docker-compose "$@"; fi
}

# Why there can be no containers; nothing when there can.
missing() {
    command -v docker >/dev/null || { echo "docker is not installed" && return; }
    docker version >/dev/null 2>&1 || { echo "no docker engine is reachable" && return; }
    compose version >/dev/null 2>&1 || { echo "neither docker compose nor docker-compose is installed" && return; }
}

# healthy FILE: waits until the health checks of all its containers succeed, or shows which do not.
healthy() {
    local wanted ill until=$((SECONDS + HEALTHY_WITHIN_S))
    wanted="$(compose -p "$PROJECT" -f "$1" config --services | wc -l)"
    while [ "$(docker ps -q --filter "label=com.docker.compose.project=$PROJECT" --filter health=healthy | wc -l)" != "$wanted" ]; do
        if ((SECONDS > until)); then
            ill="$(docker ps -a --filter "label=com.docker.compose.project=$PROJECT" --format '{{.Names}}: {{.Status}}')"
            printf 'not all of %s containers are healthy:\n%s\n' "$wanted" "$ill" >&2
            return 1
        fi
        sleep 1
    done
    echo "$wanted containers of $1 are healthy"
}

down() {
    compose -p "$PROJECT" -f "$1" down --volumes --timeout 1 >/dev/null 2>&1 || echo "could not take $1 down" >&2
}

dashboard() {
    tests/dashboard/run.sh "$PROJECT" "http://127.0.0.1:$DEPLOY_PORT_R1,http://127.0.0.1:$DEPLOY_PORT_R2" deploy/secrets/admin.password
}

# on FILE THEN EXERCISE…: starts the cluster of a compose file, does exercises on it, then something else, and takes it down.
on() {
    local file="$1" then="$2" said
    shift 2
    # Now, since the file's name is local to this function.
    # shellcheck disable=SC2064
    trap "down '$file'" EXIT
    said="$(compose -p "$PROJECT" -f "$file" up -d 2>&1)" || { echo "$said" >&2 && return 1; }
    healthy "$file"
    ON=containers FILE="$file" deploy/failover/all.sh "$@"
    "$then"
    down "$file"
    trap - EXIT
}

why="$(missing)"
if [ -n "$why" ]; then
    echo "skipped: containers: $why; the same exercises on processes:"
    ON=processes deploy/failover/all.sh
    exit
fi
deploy/build-image.sh --tag "$DEPLOY_IMAGE" "$@"
deploy/make-secrets.sh
on deploy/docker-compose.yml dashboard
# Here a node hosts several replicas, and there is one router.
on deploy/docker-compose.small.yml true kill-primary rolling-restart lose-router
docker rmi "$DEPLOY_IMAGE" >/dev/null
