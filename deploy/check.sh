#!/usr/bin/env bash
# Checks everything in deploy/ that a tool can check without running it: scripts, compose files, Kubernetes manifests,
# systemd units, Prometheus' files. What cannot be checked here says "skipped: why". Whether the settings are sound, and agree with what
# is started, is a test of its own: cargo test -p quorate-tests --test deploy.
#
#   deploy/check.sh
set -euo pipefail
cd "$(dirname "$0")/.."
# Tools that come as Python packages go here, and are kept for the next time.
venv="${CARGO_TARGET_DIR:-target}/deploy-check"

failed=0
ok() { echo "ok: $*"; }
wrong() { echo "WRONG: $*" >&2 && failed=1; }
skipped() { echo "skipped: $*"; }

scripts=(deploy/*.sh deploy/failover/*.sh)
for script in "${scripts[@]}"; do
    bash -n "$script" || wrong "$script"
done
if command -v shellcheck >/dev/null; then
    if shellcheck "${scripts[@]}"; then ok "${#scripts[@]} scripts, by shellcheck"; else wrong "scripts"; fi
else
    skipped "scripts by shellcheck: it is not installed"
fi

compose=(deploy/docker-compose.yml deploy/docker-compose.small.yml)
# Every compose there is must take the files: the program docker-compose, and docker's plugin.
for tool in docker-compose "docker compose"; do
    # Two words on purpose.
    # shellcheck disable=SC2086
    if ! $tool version >/dev/null 2>&1; then
        skipped "compose files by '$tool': it is not installed"
        continue
    fi
    for file in "${compose[@]}"; do
        # shellcheck disable=SC2086
        if $tool -f "$file" config -q; then ok "$file, by '$tool'"; else wrong "$file, by '$tool'"; fi
    done
done

# python PACKAGE==VERSION PROGRAM: installs a tool into the folder above unless it is there.
python() {
    [ -x "$venv/bin/$2" ] && return
    command -v python3 >/dev/null || return
    [ -d "$venv" ] || python3 -m venv "$venv" >/dev/null 2>&1 || return
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$1" >/dev/null 2>&1
}
if python check-jsonschema==0.39.0 check-jsonschema; then
    # What the compose specification says, which is what the plugin goes by.
    if "$venv/bin/check-jsonschema" --builtin-schema vendor.compose-spec "${compose[@]}" >/dev/null; then
        ok "compose files, by the specification's schema"
    else
        "$venv/bin/check-jsonschema" --builtin-schema vendor.compose-spec "${compose[@]}" || wrong "compose files"
    fi
else
    skipped "compose files by the specification's schema: check-jsonschema cannot be installed"
fi
if python kubernetes-validate==1.37.0 kubernetes-validate; then
    manifests=(deploy/kubernetes/*.yaml deploy/kubernetes/secret.yaml.example)
    # Two releases back as well: both have what the manifests use.
    for version in 1.37 1.35; do
        if said="$("$venv/bin/kubernetes-validate" --strict -k "$version" "${manifests[@]}" 2>&1)"; then
            ok "$(grep -c ' passed ' <<<"$said") Kubernetes resources, by the schemas of $version"
        else
            echo "$said"
            wrong "Kubernetes manifests, by the schemas of $version"
        fi
    done
else
    skipped "Kubernetes manifests: kubernetes-validate cannot be installed"
fi

if command -v promtool >/dev/null; then
    # The files with passwords are made where the cluster is started.
    if promtool check config --syntax-only deploy/prometheus.yml >/dev/null; then ok "prometheus.yml, by promtool"; else wrong "prometheus.yml"; fi
    if promtool check rules deploy/alerts.yml >/dev/null; then ok "alert rules, by promtool"; else wrong "alert rules"; fi
    if promtool test rules deploy/alerts.test.yml; then ok "alert rules, by their tests"; else wrong "tests of alert rules"; fi
else
    skipped "Prometheus' configuration and alert rules: promtool is not installed (package prometheus)"
fi

if command -v systemd-analyze >/dev/null; then
    units="$(mktemp -d)"
    trap 'rm -rf "$units"' EXIT
    for unit in deploy/systemd/*.service; do
        # The programs need not be installed here.
        sed 's|/usr/local/bin/quorate-[a-z-]*|/bin/true|' "$unit" >"$units/${unit##*/}"
    done
    # It warns of unknown settings and succeeds; a warning is a mistake all the same.
    said="$(systemd-analyze verify "$units"/*.service 2>&1)" || said="${said:-failed}"
    if [ -z "$said" ]; then ok "systemd units, by systemd-analyze verify"; else echo "$said" && wrong "systemd units"; fi
    # Exposure in tenths, 0 to 100: what a taken-over server could do to its machine. 20 is what systemd calls OK.
    if systemd-analyze security --offline=true --threshold=20 "$units"/*.service >"$units/security" 2>&1; then
        ok "systemd units, by systemd-analyze security"
    elif grep -q 'unrecognized option' "$units/security"; then
        skipped "systemd units by systemd-analyze security: it is too old to do that offline"
    else
        grep -i overall "$units/security"
        wrong "systemd units are too exposed"
    fi
else
    skipped "systemd units: systemd-analyze is not installed"
fi
exit "$failed"
