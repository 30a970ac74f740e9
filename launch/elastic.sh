#!/usr/bin/env bash
# Trains on as many hosts as there are: when a process or a host dies, all others start again from
# the newest checkpoint, and hosts may join again. Run the same line on each host.
#   bash launch/elastic.sh --hosts 1:4 --main node1 [--port P] [--id JOB] [--gpus N | --cpu N]
#        [--restarts R] -- --config configs/mosei.yaml --output runs/mosei --resume
#   --hosts MIN:MAX   goes on while there are at least MIN
#   --main ADDRESS    host where the others meet; if it dies the job ends, start it again then
#   --id JOB          the same on all hosts (default lnln)
#   --restarts R      at most R of them (default 10)
# ZeRO and FSDP2 by --train.strategy after the --. The global batch does not depend on the hosts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. launch/common.sh
help_if_asked "$@"

hosts='' main='' port=29400 id=lnln gpus='' cpu='' restarts=10
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    [ $# -ge 2 ] || fail "$1 needs a value"
    case $1 in
        --hosts) hosts=$2 ;;
        --main) main=$2 ;;
        --port) port=$2 ;;
        --id) id=$2 ;;
        --gpus) gpus=$2 ;;
        --cpu) cpu=$2 ;;
        --restarts) restarts=$2 ;;
        *) fail "unknown option $1 (options of training follow a --)" ;;
    esac
    shift 2
done
[ $# -gt 1 ] || fail "give the options of training after a --"
shift
[[ $hosts =~ ^[0-9]+(:[0-9]+)?$ ]] || fail "--hosts is a number, or two such as 1:4"
[ -n "$main" ] || fail "--main is missing: name the host where all meet"
are_numbers "$port" "$restarts" || fail "--port and --restarts are whole numbers"
[[ " $* " == *" --resume "* ]] || fail "a restart needs --resume after the --"

set_devices "$gpus" "$cpu"
found=$("$(program python)" launch/interface.py "$main" "${LNLN_WAIT_S:-300}" "$hosts")
export GLOO_SOCKET_IFNAME=${GLOO_SOCKET_IFNAME:-${found% *}}
export NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-${found% *}}
# torch 2.13: with the shared store a host that joins again brings the others down.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
supervise "$(program torchrun)" --nnodes "$hosts" --nproc-per-node "$processes" \
    --rdzv-backend c10d --rdzv-endpoint "$main:$port" --rdzv-id "$id" --local-addr "${found#* }" \
    --max-restarts "$restarts" --monitor-interval 1 \
    --rdzv-conf last_call_timeout=3,keep_alive_interval=1,keep_alive_max_attempt=3 \
    -m lnln_dist.train "$@"
