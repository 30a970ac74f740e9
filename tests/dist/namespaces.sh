#!/usr/bin/env bash
# Two hosts on this machine: network namespaces with addresses and host names of their own, joined
# by one link. They share disks, memory and processes with the machine. Needs root and iproute2.
#   namespaces.sh up NAME NET      hosts NAME1 and NAME2 at 10.NET.0.1 and 10.NET.0.2
#   namespaces.sh run NAME I COMMAND...   runs a command on host NAMEI (I is 1 or 2)
#   namespaces.sh cut NAME         takes the link down
#   namespaces.sh mend NAME        brings it up again
#   namespaces.sh down NAME        removes both hosts, however far `up` came
# NAME has at most 8 letters, since it becomes part of an interface's name.
set -euo pipefail
verb=${1:?up, run, cut, mend or down}
name=${2:?NAME is missing}

case $verb in
    up)
        net=${3:?NET is missing}
        for i in 1 2; do
            ip netns add "$name$i"
            ip -n "$name$i" link set lo up
            mkdir -p "/etc/netns/$name$i"
            printf '127.0.0.1 localhost\n10.%s.0.1 %s1\n10.%s.0.2 %s2\n' \
                "$net" "$name" "$net" "$name" >"/etc/netns/$name$i/hosts"
        done
        ip link add "v${name}1" netns "${name}1" type veth peer name "v${name}2" netns "${name}2"
        for i in 1 2; do
            ip -n "$name$i" addr add "10.$net.0.$i/24" dev "v$name$i"
            ip -n "$name$i" link set "v$name$i" up
        done
        ;;
    run)
        host=$name${3:?1 or 2}
        shift 3
        # shellcheck disable=SC2016 # expanded inside
        exec ip netns exec "$host" unshare --uts sh -c 'hostname "$0" && exec "$@"' "$host" "$@"
        ;;
    cut) ip -n "${name}2" link set "v${name}2" down ;;
    mend) ip -n "${name}2" link set "v${name}2" up ;;
    down)
        for i in 1 2; do
            ip netns del "$name$i" 2>/dev/null || true
            rm -rf "/etc/netns/${name:?}$i"
        done
        ;;
    *)
        echo "namespaces.sh: unknown verb $verb" >&2
        exit 2
        ;;
esac
