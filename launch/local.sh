#!/usr/bin/env bash
# Trains on all GPUs of this host.
#   bash launch/local.sh [--gpus N | --cpu N] [--accelerate-config FILE] [--port P] [--restarts R]
#                        [--module M] -- --config configs/mosi.yaml --output runs/mosi --resume
#   --gpus N      GPUs to use (default: all); --cpu N: N processes on the CPU instead
#   --accelerate-config FILE   one of launch/accelerate/ (default: DDP, or none for one process)
#   --restarts R  start all processes again, R times at most, when one of them dies; what follows
#                 the -- must hold --resume, so that they go on from the newest checkpoint
#   --module M    lnln_dist.doctor checks instead of training (default lnln_dist.train)
# Exit code 85: told to leave (SIGTERM, SIGUSR1), checkpoint written; start it again to go on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. launch/common.sh
help_if_asked "$@"

gpus='' cpu='' config='' port=29500 restarts=0 module=lnln_dist.train
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    [ $# -ge 2 ] || fail "$1 needs a value"
    case $1 in
        --gpus) gpus=$2 ;;
        --cpu) cpu=$2 ;;
        --accelerate-config | --accelerate_config) config=$2 ;;
        --port) port=$2 ;;
        --restarts) restarts=$2 ;;
        --module) module=$2 ;;
        *) fail "unknown option $1 (options of training follow a --)" ;;
    esac
    shift 2
done
[ $# -gt 1 ] || fail "give the options of training after a --"
shift
are_numbers "$port" "$restarts" || fail "--port and --restarts are whole numbers"
[ "$restarts" = 0 ] || [[ " $* " == *" --resume "* ]] || fail "--restarts needs --resume after the --"

check_config "$config"
set_devices "$gpus" "$cpu"
if [ -n "$config" ] && is_single "$config"; then
    check_single "$config" "$processes"
    config=''
fi
if [ "$processes" = 1 ] && [ -z "$config" ]; then # Accelerate refuses DDP of one process
    if [ "$restarts" = 0 ]; then
        supervise "$(program python)" -m "$module" "$@"
    else
        supervise "$(program torchrun)" --nnodes 1 --nproc-per-node 1 --master-port "$port" \
            --max-restarts "$restarts" --monitor-interval 1 -m "$module" "$@"
    fi
    exit
fi
options=(--num_processes "$processes" --num_machines 1 --main_process_port "$port")
if [ -n "$config" ]; then
    options+=(--config_file "$config")
else
    options+=(--multi_gpu --mixed_precision no --dynamo_backend no)
fi
if [ "$restarts" != 0 ]; then
    options+=(--max_restarts "$restarts" --monitor_interval 1)
fi
supervise "$(program accelerate)" launch "${options[@]}" -m "$module" "$@"
