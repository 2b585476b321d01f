#!/usr/bin/env bash
# Builds the image from programs built on this machine; nothing is pulled.
#
#   deploy/build-image.sh [--binaries DIR] [--tag NAME]
#
# --binaries DIR   take quorate-router and quorate-shard-node from DIR as they are, instead of building them
# --tag NAME       the image's name, quorate:local unless told
set -euo pipefail
cd "$(dirname "$0")/.."
# More than this is no small image any more: the programs and libc take some 40 MB.
SIZE_MAX_MB="${SIZE_MAX_MB:-60}"

binaries='' tag=quorate:local
while (($#)); do
    case "$1" in
    --binaries) binaries="${2:?--binaries needs a folder}" && shift 2 ;;
    --tag) tag="${2:?--tag needs a name}" && shift 2 ;;
    *) sed -n '2,7p' "$0" >&2 && exit 2 ;;
    esac
done
if [ -z "$binaries" ]; then
    cargo build --release --locked -p quorate-router -p quorate-shard-node
    binaries=target/release
fi

context="$(mktemp -d)"
trap 'rm -rf "$context"' EXIT
# Others than root must be able to read what is in it once it is the image's root.
chmod 755 "$context"
deploy/image-root.sh "$binaries" "$context/image"
# The Dockerfile's last stage, with the files from here instead of from a stage before it.
sed -n '/^FROM scratch/,$p' deploy/Dockerfile | sed 's|--from=build /image/|image/|' >"$context/Dockerfile"
docker build --quiet --tag "$tag" "$context" >/dev/null
bytes="$(docker image inspect --format '{{.Size}}' "$tag")"
# Shows that it starts: a missing library would show here.
version="$(docker run --rm --read-only --network none "$tag" quorate-router --version)"
docker run --rm --read-only --network none "$tag" quorate-shard-node --version >/dev/null
echo "$tag: $version, $((bytes / 1000000)) MB"
if ((bytes > SIZE_MAX_MB * 1000000)); then
    echo "that is more than $SIZE_MAX_MB MB" >&2
    exit 1
fi
