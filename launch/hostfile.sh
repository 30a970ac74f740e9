#!/usr/bin/env bash
# Trains on the hosts of a file by ssh, started from any of them.
#   bash launch/hostfile.sh HOSTFILE [options of launch/multinode.sh] -- --config ... --output ...
# The checkout has to be at the same path on every host, and ssh to them must not ask anything.
# Told to leave (SIGTERM, SIGUSR1, ^C), it has every host write its checkpoint, waits for all, and
# ends with the largest of their exit codes: 85 if nothing else went wrong. Told again, it cuts the
# connections, which tells the hosts as well, but does not wait for them.
# The same with DeepSpeed's own launcher: see launch/README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. launch/common.sh
help_if_asked "$@"

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

# ssh passes no signal on. But each host has a terminal (-tt), and a ^C typed into it is a SIGINT
# there; what is typed comes through a pipe.
started=() typed=() told=''
pipes=$(mktemp -d)
trap 'rm -rf "$pipes"' EXIT
type_interrupt() {
    local pipe
    told=yes
    # In a process of its own, for the connection may have gone: writing would end this one.
    for pipe in ${typed[@]+"${typed[@]}"}; do (printf '\003' >&"$pipe") 2>/dev/null || true; done
}
told_again() { kill ${started[@]+"${started[@]}"} 2>/dev/null || true; }
trap 'if [ -z "$told" ]; then type_interrupt; else told_again; fi' TERM USR1 INT HUP
for i in "${!hosts[@]}"; do
    line=(bash launch/multinode.sh --hosts "${#hosts[@]}" --rank "$i" --main "${hosts[0]}"
        ${devices[@]+"${devices[@]}"} "$@")
    mkfifo "$pipes/$i"
    set -m # a process group of its own: what is sent to this one's is not for ssh
    ssh -tt -o BatchMode=yes "${hosts[i]}" "cd $(printf %q "$PWD") && exec $(printf '%q ' "${line[@]}")" \
        <"$pipes/$i" &
    started+=($!)
    set +m
    exec {pipe}>"$pipes/$i"
    typed+=("$pipe")
done
[ -z "$told" ] || type_interrupt # by a signal that came before all were started
worst=0
for child in "${started[@]}"; do
    await "$child"
    if [ "$code" -gt "$worst" ]; then worst=$code; fi
done
exit "$worst"
