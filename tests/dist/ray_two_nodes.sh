#!/usr/bin/env bash
# A sweep on a Ray cluster of two "hosts" (network namespaces of this machine), disturbed twice:
# one host is killed in the middle of its trial and comes back, then the driver is killed and the
# sweep is submitted again. Its summary has to equal that of the same sweep left in peace.
#   sudo bash tests/dist/ray_two_nodes.sh [WORK]        (needs root, iproute2 and the [ray] extra)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=${1:-$(mktemp -d)}
mkdir -p "$work"
venv=${LNLN_VENV:-$here/.venv}
python=$venv/bin/python
export LNLN_VENV=$venv LNLN_PYTHON=$python OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$("$python" -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN
tag=$$
net=10.78.$((tag % 250 + 1))
one=la$tag two=lb$tag                    # namespaces and host names
dashboard=http://$net.1:8265
say() { printf '%s %s\n' "$(date +%T)" "$*"; }
die() { say "FAILED: $*"; exit 1; }

tree() { # process ids of a process and all its descendants
    local child
    echo "$1"
    for child in $(cat "/proc/$1/task/"*/children 2>/dev/null || true); do tree "$child"; done
}
kill_tree() {
    local pids
    pids=$(tree "$1")
    # shellcheck disable=SC2086
    kill -9 $pids 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}
node1='' node2=''
clean() {
    [ -z "$node1" ] || kill_tree "$node1"
    [ -z "$node2" ] || kill_tree "$node2"
    ip netns del "$one" 2>/dev/null || true
    ip netns del "$two" 2>/dev/null || true
    rm -rf "/etc/netns/$one" "/etc/netns/$two" "/tmp/lr1-$tag" "/tmp/lr2-$tag"
}
trap clean EXIT

for name in $one $two; do
    ip netns add "$name"
    ip -n "$name" link set lo up
    mkdir -p "/etc/netns/$name"
    printf '127.0.0.1 localhost\n%s.1 %s\n%s.2 %s\n' "$net" "$one" "$net" "$two" \
        > "/etc/netns/$name/hosts"
done
ip link add "va$tag" netns "$one" type veth peer name "vb$tag" netns "$two"
ip -n "$one" addr add "$net.1/24" dev "va$tag"
ip -n "$two" addr add "$net.2/24" dev "vb$tag"
ip -n "$one" link set "va$tag" up
ip -n "$two" link set "vb$tag" up

on() { # HOST COMMAND...: runs a command on a host, under its name
    local host=$1
    shift
    # shellcheck disable=SC2016
    ip netns exec "$host" unshare --uts sh -c 'hostname "$0"; exec "$@"' "$host" "$@"
}
start=("$venv/bin/ray" start --num-cpus 1 --object-store-memory 80000000 --disable-usage-stats --block)
start_two() {
    # A folder of its own: both hosts share this machine's /tmp.
    on "$two" "${start[@]}" --address "$net.1:6399" --node-ip-address "$net.2" \
        --temp-dir "/tmp/lr2-$tag" > "$work/node2.log" 2>&1 &
    node2=$!
}
on "$one" "${start[@]}" --head --node-ip-address "$net.1" --port 6399 --dashboard-host "$net.1" \
    --temp-dir "/tmp/lr1-$tag" > "$work/node1.log" 2>&1 &
node1=$!
for _ in $(seq 60); do
    on "$one" "$venv/bin/ray" job list --address "$dashboard" > /dev/null 2>&1 && break
    sleep 1
done
start_two

if [ ! -e "$work/data/index.json" ]; then
    "$python" -m lnln_dist synthesize "$work/corpus.pkl" --samples 640,64,64 --seed 3 > /dev/null
    "$python" -m lnln_dist prepare "$work/corpus.pkl" "$work/data" --dataset demo \
        --tokenizer corpus > /dev/null
fi
cat > "$work/sweep.yaml" <<EOF
config: $here/tests/tiny.yaml
settings: {data.path: $work/data, train.epochs: 9, train.log_steps: 10}
axes:
  optim.lr: {grid: [0.0003, 0.003, 0.01]}
  loss.reconstruction: {grid: [0.1, 1.0]}
seeds: [1, 2]
screen: {seeds: 1, grace_epochs: 3}
confirm: {best: 2}
EOF
submit() { # OUTPUT: submits the sweep and leaves
    on "$one" env RAY_ADDRESS="$dashboard" bash "$here/launch/ray/submit.sh" \
        "$work/sweep.yaml" "$1" > "$work/submit.log" 2>&1 || die "$(cat "$work/submit.log")"
}
wait_for() { # WHAT OUTPUT: waits until the sweep's folder is in some state
    "$python" "$here/tests/dist/ray_two_nodes.py" "$1" "$2" || die "waiting for: $1"
}

out=$work/disturbed
say "submitting to two hosts"
submit "$out"
wait_for both-hosts "$out"
wait_for both-in-the-middle "$out"
say "killing host $two in the middle of its trial"
kill_tree "$node2"
wait_for lost "$out"
say "host $two comes back"
start_two
wait_for after-lost "$out"
wait_for both-in-the-middle "$out"
driver=$(pgrep -f "^$python -m lnln_dist sweep --config sweep.yaml --output $out")
say "killing the driver"
kill -9 "$driver"
sleep 3
say "submitting again"
submit "$out"
wait_for finished "$out"

say "the same sweep in peace"
submit "$work/peace"
wait_for finished "$work/peace"
cmp "$out/summary.csv" "$work/peace/summary.csv" || die "the summaries differ"
"$python" "$here/tests/dist/ray_two_nodes.py" report "$out"
say "PASSED: disturbed and undisturbed summaries are the same bytes"
