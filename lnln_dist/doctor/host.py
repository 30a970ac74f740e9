"""Whether this host is fit for a run: ports, shared memory, disk, names."""

import os
import resource
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from lnln_dist.cost.host import available_bytes
from lnln_dist.doctor.findings import Finding, fail, ok, warn

GIB = 2**30
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 the system's own
DEFAULT_PORT = 29500
FEW_FILES = 1024
LOOPBACK = "lo"


def check_host(
    *, workers: int, folder: Path, disk_bytes: int, environment: Mapping[str, str] = os.environ
) -> list[Finding]:
    """What the operating system offers.

    Args:
        workers: loader processes per rank.
        folder: where runs are written, or the nearest existing folder above it.
        disk_bytes: what a run's checkpoints take.
        environment: variables of this process.
    """
    free = available_bytes()
    memory = ok("memory", f"{free / GIB:.1f} GiB free" if free is not None else "not known")
    return [
        memory,
        check_shared_memory(SHARED_MEMORY, workers=workers),
        check_disk(folder, disk_bytes),
        check_port(environment),
        check_name(environment),
        check_open_files(),
    ]


def check_shared_memory(place: Path, *, workers: int) -> Finding:
    """Loader processes hand over batches in shared memory; containers give them 64 MiB."""
    if not place.is_dir():
        return ok("shared memory", f"no {place} on this system")
    size = shutil.disk_usage(place).total
    found = f"{place} holds {size / GIB:.2f} GiB"
    remedy = (
        "docker run --shm-size 8g, in Kubernetes an emptyDir of medium Memory at /dev/shm, or "
        "data.workers 0"
    )
    if size >= GIB or not workers:
        return ok("shared memory", found)
    if size < 128 * 2**20:
        return fail("shared memory", f"{found}, {workers} loader processes per rank", remedy)
    return warn("shared memory", f"{found}, {workers} loader processes per rank", remedy)


def check_disk(folder: Path, needed: int) -> Finding:
    """Room for a run's checkpoints."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{free / GIB:.1f} GiB free at {place}, a run takes about {needed / GIB:.1f}"
    if not os.access(place, os.W_OK):
        return fail("disk", f"{place} cannot be written", "choose another folder for runs")
    if free < needed:
        remedy = "free some space, choose another folder, or lower train.keep_checkpoints"
        return fail("disk", found, remedy)
    return ok("disk", found)


def check_port(environment: Mapping[str, str]) -> Finding:
    """Whether ranks can meet at the usual port; within a launch they have met already."""
    if "WORLD_SIZE" in environment and "MASTER_PORT" in environment:
        return ok("port", f"{environment['MASTER_PORT']}, in use by this launch")
    port = int(environment.get("MASTER_PORT", DEFAULT_PORT))
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            remedy = "another run may use it: pass --main_process_port or --port with a free one"
            return warn("port", f"{port} is taken on this host", remedy)
    return ok("port", f"{port} is free")


def check_name(environment: Mapping[str, str]) -> Finding:
    """Gloo listens at the address of the host's name, which must not be the loopback one."""
    name = socket.gethostname()
    interface = environment.get("GLOO_SOCKET_IFNAME")
    alone = environment.get("GROUP_WORLD_SIZE", "1") == "1"
    if interface:
        known = interface in [own for _, own in socket.if_nameindex()]
        if known and interface == LOOPBACK and not alone:
            remedy = "give the main host's address as --main, or mend its name in /etc/hosts"
            found = f"{name}, gloo uses {interface}, which other hosts cannot reach"
            return warn("host name", found, remedy)
        if known:
            return ok("host name", f"{name}, gloo uses {interface}")
        remedy = "set GLOO_SOCKET_IFNAME to one of this host's interfaces (ip addr lists them)"
        return fail("host name", f"GLOO_SOCKET_IFNAME={interface} is not on {name}", remedy)
    remedy = (
        "for several hosts set GLOO_SOCKET_IFNAME (launch/multinode.sh does) or mend /etc/hosts"
    )
    try:
        address = socket.gethostbyname(name)
    except OSError:
        address = "no address"
    found = f"{name} is {address}"
    if alone or (address[0].isdigit() and not address.startswith("127.")):
        return ok("host name", found)
    return warn("host name", f"{found}, which other hosts cannot reach", remedy)


def check_open_files() -> Finding:
    """Loader processes pass batches by file descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FEW_FILES and soft != resource.RLIM_INFINITY:
        return warn("open files", f"at most {soft}", "ulimit -n 65536")
    return ok("open files", "no limit" if soft == resource.RLIM_INFINITY else f"at most {soft}")
