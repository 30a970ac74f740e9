#!/usr/bin/env bash
# Submits a sweep to a running Ray cluster and says how to follow and stop it.
#   launch/ray/submit.sh SWEEP.yaml /shared/OUTPUT [options of `lnln-dist sweep`]
#   RAY_ADDRESS=http://HOST:8265    the cluster's dashboard (default http://127.0.0.1:8265)
#   LNLN_PYTHON=python              interpreter on the cluster's nodes
#   LNLN_PATHS=DIR                  where relative data paths start (default: here)
#   WAIT=1                          stay and show the log until the sweep has ended
# The sweep's files and --set options are merged and its paths made absolute here; this checkout's
# code travels along, its dependencies must be installed on the nodes. Submit the same OUTPUT again
# to resume.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
say() { printf 'submit: %s\n' "$*" >&2; }
if [ $# -lt 2 ]; then
    say "usage: launch/ray/submit.sh SWEEP.yaml /shared/OUTPUT [options]"
    exit 2
fi
[ -f "$1" ] || { say "$1: no such file"; exit 2; }
config=$(realpath "$1")
output=$2
shift 2
case $output in
    /*) ;;
    *) say "OUTPUT $output is relative: give the absolute path that all nodes share"; exit 2 ;;
esac
bin=${LNLN_VENV:-$here/.venv}/bin
export RAY_ADDRESS=${RAY_ADDRESS:-http://127.0.0.1:8265}
export RAY_AUTH_MODE=${RAY_AUTH_MODE:-token}
export RAY_USAGE_STATS_ENABLED=0
if [ "$RAY_AUTH_MODE" = token ] && [ -z "${RAY_AUTH_TOKEN:-}" ] &&
    [ ! -s "${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}" ]; then
    say "no token: copy ~/.ray/auth_token from the cluster's head node, or set RAY_AUTH_TOKEN"
    exit 2
fi

[ -x "$bin/python" ] || { say "no environment in $bin: bash launch/install.sh ray"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/job"
# With all options, so that none is found to be wrong on the cluster only.
(cd "${LNLN_PATHS:-$PWD}" && "$bin/python" -m lnln_dist sweep --config "$config" --resolve "$@") \
    > "$work/job/sweep.yaml"
rest=() # without --set, which is in sweep.yaml now
while [ $# -gt 0 ]; do
    case $1 in
        --set) shift 2 ;;
        --set=*) shift ;;
        *) rest+=("$1"); shift ;;
    esac
done
cp -r "$here/lnln_dist" "$work/job/"
find "$work" -name __pycache__ -prune -exec rm -rf {} +

id=sweep-$(basename "$output")-$(date +%Y%m%d-%H%M%S)
environment='{"env_vars": {"RAY_USAGE_STATS_ENABLED": "0", "TOKENIZERS_PARALLELISM": "false"'
for name in HF_HOME HF_HUB_OFFLINE; do
    [ -z "${!name:-}" ] || environment+=", \"$name\": \"${!name}\""
done
environment+='}}'
flags=(--no-wait)
[ -z "${WAIT:-}" ] || flags=()
# Before the submission, which with WAIT=1 ends only with the sweep.
cat >&2 <<EOF
submit: $id to $RAY_ADDRESS
  log      RAY_AUTH_MODE=$RAY_AUTH_MODE RAY_ADDRESS=$RAY_ADDRESS ray job logs --follow $id
  stop     RAY_AUTH_MODE=$RAY_AUTH_MODE RAY_ADDRESS=$RAY_ADDRESS ray job stop $id
           (submit again to resume)
  summary  lnln-dist sweep show $output
  curves   tensorboard --logdir $output/trials
EOF
# A cluster that has just started takes no job until its agent answers.
patience=$((SECONDS + 60))
until "$bin/ray" job submit ${flags[@]+"${flags[@]}"} --submission-id "$id" \
    --working-dir "$work/job" --runtime-env-json "$environment" -- \
    "${LNLN_PYTHON:-python}" -m lnln_dist sweep --config sweep.yaml --output "$output" --resume \
    ${rest[@]+"${rest[@]}"} 2> "$work/said"; do
    code=$?
    if ! grep -q "No available agent" "$work/said"; then
        cat "$work/said" >&2
        exit $code
    fi
    if [ $SECONDS -ge $patience ]; then
        say "no agent of the cluster answers: see dashboard_agent.log on its head node (does" \
            "another Ray there hold --dashboard-agent-listen-port?)"
        exit $code
    fi
    say "the cluster is not ready yet: trying again"
    sleep 3
done
cat "$work/said" >&2
