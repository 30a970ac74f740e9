#!/usr/bin/env bash
# Trains on several hosts: run the same line on each of them, with its own --rank.
#   bash launch/multinode.sh --hosts 2 --rank 0 --main node1 [--port P] [--gpus N | --cpu N]
#        [--accelerate-config FILE] [--module M] -- --config configs/mosei.yaml --output runs/mosei
#   --hosts N --rank I   number of hosts, and this one's number from 0
#   --main ADDRESS       name or address of the host of rank 0, as the others reach it
#   --port P             a port of that host nobody else uses (default 29500)
#   --gpus N | --cpu N   processes on every host (default: this host's GPUs); the same everywhere
#   --accelerate-config FILE   one of launch/accelerate/ (default: DDP, or none for one process)
#   --module M           lnln_dist.doctor compares the hosts instead (default lnln_dist.train)
# --output has to be a folder that all hosts share. Gloo and NCCL use the interface that leads to
# the main host, unless GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME are set.
# Exit code 85: told to leave (SIGTERM, SIGUSR1), checkpoint written; start it again to go on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. launch/common.sh
help_if_asked "$@"

hosts='' rank='' main='' port=29500 gpus='' cpu='' config='' module=lnln_dist.train
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    [ $# -ge 2 ] || fail "$1 needs a value"
    case $1 in
        --hosts) hosts=$2 ;;
        --rank) rank=$2 ;;
        --main) main=$2 ;;
        --port) port=$2 ;;
        --gpus) gpus=$2 ;;
        --cpu) cpu=$2 ;;
        --accelerate-config | --accelerate_config) config=$2 ;;
        --module) module=$2 ;;
        *) fail "unknown option $1 (options of training follow a --)" ;;
    esac
    shift 2
done
[ $# -gt 1 ] || fail "give the options of training after a --"
shift
are_numbers "$hosts" "$rank" "$port" || fail "--hosts, --rank and --port are whole numbers"
[ "$rank" -lt "$hosts" ] || fail "--rank $rank of $hosts hosts: they count from 0"
[ -n "$main" ] || fail "--main is missing: name the host of rank 0"

check_config "$config"
set_devices "$gpus" "$cpu"
found=$("$(program python)" launch/interface.py "$main" "${LNLN_WAIT_S:-300}" "$hosts")
export GLOO_SOCKET_IFNAME=${GLOO_SOCKET_IFNAME:-${found% *}}
export NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-${found% *}}

printf 'multinode: host %s of %s, %s process(es), main %s:%s, interface %s\n' \
    "$rank" "$hosts" "$processes" "$main" "$port" "$GLOO_SOCKET_IFNAME" >&2
total=$((hosts * processes))
if [ -n "$config" ] && is_single "$config"; then
    check_single "$config" "$total"
    config=''
fi
if [ "$total" = 1 ] && [ -z "$config" ]; then # Accelerate refuses DDP of one process
    supervise "$(program python)" -m "$module" "$@"
    exit
fi
options=(
    --num_processes "$total" --num_machines "$hosts" --machine_rank "$rank"
    --main_process_ip "$main" --main_process_port "$port"
)
if [ -z "$config" ]; then
    options+=(--multi_gpu --mixed_precision no --dynamo_backend no)
else
    options+=(--config_file "$config")
    # This line is run on every host; DeepSpeed's own way would start the others by pdsh.
    if is_deepspeed "$config"; then options+=(--deepspeed_multinode_launcher standard); fi
fi
supervise "$(program accelerate)" launch "${options[@]}" -m "$module" "$@"
