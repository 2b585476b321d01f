#!/usr/bin/env bash
# Makes the cluster's secret and the admin's password, unless they are there: files in deploy/secrets that only the
# containers' user may read. Git ignores them; keep a copy where you keep such things.
#
#   deploy/make-secrets.sh
set -euo pipefail
cd "$(dirname "$0")"
# The image's user; whoever sets another one in .env sets DEPLOY_USER=UID:GID.
user=65532:65532

umask 077
mkdir -p secrets
# Containers look the files up by their full path.
chmod 711 secrets
for name in cluster.secret admin.password; do
    if [ -e "secrets/$name" ]; then
        echo "deploy/secrets/$name is there already"
        continue
    fi
    # 256 random bits.
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"secrets/$name.new"
    mv "secrets/$name.new" "secrets/$name"
    echo "made deploy/secrets/$name"
done
if [ "$(id -u)" = 0 ]; then
    chown "$(sed -n 's/^DEPLOY_USER=//p' .env 2>/dev/null | grep . || echo "$user")" secrets/*
elif ! grep -qs '^DEPLOY_USER=' .env; then
    # Only root may give files away; so the containers run as whoever owns them.
    echo "DEPLOY_USER=$(id -u):$(id -g)" >>.env
    echo "the containers will run as you: see DEPLOY_USER in deploy/.env"
fi
