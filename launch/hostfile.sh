#!/usr/bin/env bash
# Trains on the hosts of a file by ssh, started from any of them.
#   bash launch/hostfile.sh HOSTFILE [options of launch/multinode.sh] -- --config ... --output ...
# The checkout has to be at the same path on every host, and ssh to them must not ask anything.
# The same with DeepSpeed's own launcher: see launch/README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. launch/common.sh

[ $# -ge 1 ] && [ -f "$1" ] || fail "give a hostfile (launch/hostfile.example shows one)"
file=$1
shift
hosts=() slots=()
while read -r host slot _; do
    case $host in '' | '#'*) continue ;; esac
    [[ $slot =~ ^slots=([0-9]+)$ ]] || fail "$file: expected HOST slots=N, got: $host $slot"
    hosts+=("$host") slots+=("${BASH_REMATCH[1]}")
done <"$file"
[ ${#hosts[@]} -ge 1 ] || fail "$file names no host"
for slot in "${slots[@]}"; do
    [ "$slot" = "${slots[0]}" ] || fail "$file: all hosts need the same number of slots"
done
devices=(--gpus "${slots[0]}")
for option in "$@"; do
    case $option in
        --cpu) devices=() ;;
        --) break ;;
    esac
done

started=()
# A terminal on the other side: when ssh goes, what it started is told (SIGHUP).
trap 'kill "${started[@]}" 2>/dev/null || true' TERM USR1 INT HUP
for i in "${!hosts[@]}"; do
    line=(bash launch/multinode.sh --hosts "${#hosts[@]}" --rank "$i" --main "${hosts[0]}"
        ${devices[@]+"${devices[@]}"} "$@")
    ssh -tt -o BatchMode=yes "${hosts[i]}" "cd $(printf %q "$PWD") && exec $(printf '%q ' "${line[@]}")" \
        </dev/null &
    started+=($!)
done
worst=0
for child in "${started[@]}"; do
    await "$child"
    if [ "$code" -gt "$worst" ]; then worst=$code; fi
done
exit "$worst"
