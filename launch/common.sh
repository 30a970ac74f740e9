# shellcheck shell=bash
# What the launch scripts share; they source it.

# The header of the script, if --help or -h is its first option.
help_if_asked() {
    case ${1:-} in
        -h | --help) sed -n '2,/^[^#]/{/^#SBATCH/d;s/^# \{0,1\}//p}' "launch/${0##*/}"; exit 0 ;;
    esac
}

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 2
}

# Told to leave before anything was started, by a scheduler that is in a hurry.
not_begun() {
    printf '%s: told to leave before anything was done: start the same line again\n' "${0##*/}" >&2
    exit 85
}
trap not_begun TERM USR1 HUP INT

# The environment's programs if there is one beside this checkout, else those on PATH.
program() {
    local own=${LNLN_VENV:-.venv}/bin/$1
    if [ -x "$own" ]; then printf '%s\n' "$own"; else printf '%s\n' "$1"; fi
}

# are_numbers VALUE...: whether all of them are whole numbers.
are_numbers() {
    local value
    for value in "$@"; do [[ $value =~ ^[0-9]+$ ]] || return 1; done
}

# GPUs that a program would see: of CUDA_VISIBLE_DEVICES (to its first -1) if it is set, else all.
count_gpus() {
    if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
        tr , '\n' <<<"$CUDA_VISIBLE_DEVICES" | sed '/^ *-1/,$d' | grep -c '[^ ]' || true
    else
        { nvidia-smi -L 2>/dev/null || true; } | grep -c '^GPU' || true
    fi
}

# set_devices GPUS CPU: sets processes (per host) and what a CPU launch needs, and tells training
# which device was asked for: where torch sees no GPU it would train on the CPU without a word.
set_devices() {
    local gpus=$1 cpu=$2
    [ -z "$gpus" ] || [ -z "$cpu" ] || fail "give --gpus or --cpu, not both"
    if [ -n "$cpu" ]; then
        processes=$cpu
        export LNLN_DEVICE=cpu
        export CUDA_VISIBLE_DEVICES= # accelerate's own --cpu would start one process
    else
        processes=${gpus:-$(count_gpus)}
        export LNLN_DEVICE=cuda
    fi
    are_numbers "$processes" || fail "the number of processes is not a number: $processes"
    [ "$processes" -ge 1 ] || fail "no GPU found: give --gpus N, or --cpu N for N CPU processes"
    if [ -z "${OMP_NUM_THREADS:-}" ]; then
        # Those this process may run on: a SLURM task or a container seldom has the whole host.
        local cores
        cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
        local threads=$((cores / processes))
        export OMP_NUM_THREADS=$((threads > 0 ? threads : 1))
    fi
}

# await PID: waits for its end; sets code to its exit code.
await() {
    while :; do
        wait "$1" || true
        # A signal ends the wait, not the process: wait again.
        kill -0 "$1" 2>/dev/null || break
    done
    # It may have ended just as a signal came; then only now does wait tell the process's own code.
    code=0
    wait "$1" || code=$?
}

# end_job PID: waits for its end and ends a SLURM job with its code, queued again if it was told to
# leave.
end_job() {
    local code
    await "$1"
    if [ "$code" -eq 85 ]; then
        echo "slurm: told to leave, job $SLURM_JOB_ID is queued again"
        scontrol requeue "$SLURM_JOB_ID"
        exit 0
    fi
    exit "$code"
}

# is_deepspeed FILE: whether an Accelerate config asks for DeepSpeed.
is_deepspeed() { grep -Eq '^[[:space:]]*distributed_type:[[:space:]]*.?DEEPSPEED' "$1"; }

# check_config FILE: an Accelerate config, if one is given, is there, and so is DeepSpeed if it asks
# for that: Accelerate would end in a traceback.
check_config() {
    [ -n "$1" ] || return 0
    [ -f "$1" ] || fail "$1: no such file"
    is_deepspeed "$1" || return 0
    "$(program python)" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("deepspeed"))' ||
        fail "$1 needs DeepSpeed: bash launch/install.sh deepspeed"
}

# is_single FILE: whether an Accelerate config is for one process without any strategy.
is_single() { grep -Eq '^[[:space:]]*distributed_type:[[:space:]]*.?NO\b' "$1"; }

# check_single FILE PROCESSES: such a config is left out: Accelerate's launcher of one process does
# not pass a signal on to it. So nothing may depend on the config.
check_single() {
    local acts
    [ "$2" = 1 ] || fail "$1 is for one process, this launch has $2: take launch/accelerate/ddp.yaml"
    acts=$(grep -Eo '^(mixed_precision:.*(16|8)|use_cpu: *true|gpu_ids:.*[0-9])' "$1" | head -n 1) || true
    [ -z "$acts" ] || fail "$1: $acts has no effect: use train.precision, --cpu, CUDA_VISIBLE_DEVICES"
}

# supervise COMMAND...: runs it to its end; returns its exit code, or 85 if the run was told to
# leave and has written its checkpoint, or had not begun. SIGTERM, SIGUSR1, SIGHUP and SIGINT reach
# it as SIGTERM: it has a process group of its own, which a scheduler's signal to this one does not
# reach.
supervise() {
    local child='' code told=''
    LNLN_EXIT_FILE=$(mktemp)
    export LNLN_EXIT_FILE
    # Seconds the launcher leaves the workers for their checkpoint before it kills them.
    export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${LNLN_GRACE_S:-100}
    # Before there is a child: a signal in between would end this script and leave the child alone.
    trap 'told=yes; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true' TERM USR1 HUP INT
    set -m
    "$@" </dev/null &
    child=$!
    set +m
    [ -z "$told" ] || kill -TERM "$child" 2>/dev/null || true
    await "$child"
    trap - TERM USR1 HUP INT
    if [ "$code" -ne 0 ] && [ "$(cat "$LNLN_EXIT_FILE")" = 85 ]; then
        code=85
        printf '%s: told to leave: the same line again goes on\n' "${0##*/}" >&2
    elif [ "$code" -eq 143 ] && [ -n "$told" ]; then
        # Once they have begun, neither a launcher nor a run ends by SIGTERM itself.
        rm -f "$LNLN_EXIT_FILE"
        not_begun
    fi
    rm -f "$LNLN_EXIT_FILE"
    return "$code"
}
