"""Whether what a run needs is installed and sees the hardware."""

import importlib.util
import os
import platform
import shutil
import time
from importlib import metadata
from pathlib import Path

import torch
from torch import distributed

from lnln_dist.doctor.findings import Finding, fail, ok, warn
from lnln_dist.errors import install
from lnln_dist.runs import installed_versions

# Extra, whose importable name is the same -> what it is for.
EXTRAS = {
    "deepspeed": "train.strategy zero1, zero2, zero3",
    "ray": "lnln-dist sweep",
}
STALE_S = 600  # seconds after which a lock of a compile is taken for a left-over


def check_software(*, needed: frozenset[str] = frozenset()) -> list[Finding]:
    """Versions, devices, communication libraries, extras.

    Args:
        needed: extras that the config cannot do without.
    """
    versions = ", ".join(f"{name} {version}" for name, version in installed_versions().items())
    return [
        ok("python", platform.python_version()),
        ok("packages", versions),
        *_devices(),
        *_libraries(),
        *(_extra(name, needed=name in needed) for name in EXTRAS),
        *_compilers(),
    ]


def _devices() -> list[Finding]:
    build = f"torch {torch.__version__}"
    if torch.cuda.is_available():
        cards = [
            (properties.name, properties.total_memory)
            for properties in map(
                torch.cuda.get_device_properties, range(torch.cuda.device_count())
            )
        ]
        kinds = sorted({f"{name} {memory / 2**30:.0f} GiB" for name, memory in cards})
        found = f"{len(cards)} x {' / '.join(kinds)}, CUDA {torch.version.cuda}"
        if len(kinds) > 1:
            remedy = "hide the odd ones with CUDA_VISIBLE_DEVICES: the slowest sets the pace"
            return [warn("devices", found, remedy)]
        return [ok("devices", found)]
    if shutil.which("nvidia-smi") is not None and torch.version.cuda is None:
        return [
            fail(
                "devices",
                f"the machine has NVIDIA's driver, but {build} was built without CUDA",
                "install torch from the index for your CUDA version (bash launch/install.sh does)",
            )
        ]
    if torch.version.cuda is not None:
        return [
            warn(
                "devices",
                f"{build} with CUDA {torch.version.cuda} sees no GPU",
                "look at nvidia-smi and CUDA_VISIBLE_DEVICES; in a container pass the GPUs through",
            )
        ]
    return [ok("devices", f"CPU only ({build}, {os.cpu_count()} cores)")]


def _libraries() -> list[Finding]:
    found = []
    if torch.cuda.is_available():
        if distributed.is_nccl_available():
            version = ".".join(map(str, torch.cuda.nccl.version()))  # type: ignore[no-untyped-call]
            found.append(ok("nccl", version))
        else:
            remedy = "install a build of torch with NCCL; without it GPUs cannot work together"
            found.append(fail("nccl", "not in this torch", remedy))
    if distributed.is_gloo_available():
        found.append(ok("gloo", "available"))
    else:
        remedy = "install an official build of torch; CPU ranks and doctor need gloo"
        found.append(fail("gloo", "not in this torch", remedy))
    return found


def _extra(name: str, *, needed: bool) -> Finding:
    use = EXTRAS[name]
    if importlib.util.find_spec(name) is None:
        if needed:
            return fail(name, f"not installed, but the config needs it ({use})", install(name))
        return ok(name, f"not installed (only for {use})")
    return ok(name, metadata.version(name))


def _compilers() -> list[Finding]:
    """DeepSpeed compiles operations when first used; this project's settings avoid all of them."""
    if importlib.util.find_spec("deepspeed") is None:
        return []
    missing = [tool for tool in ("ninja", "g++") if shutil.which(tool) is None]
    found = "can be compiled" if not missing else f"cannot be compiled (no {', '.join(missing)})"
    return [ok("deepspeed ops", f"{found}; none is needed here"), *stale_locks()]


def stale_locks(now: float | None = None) -> list[Finding]:
    """Locks that a killed compile left behind: the next one would wait for them for ever."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR")
    cache = Path(root) if root else Path.home() / ".cache" / "torch_extensions"
    found = []
    for lock in sorted(cache.glob("**/lock")) if cache.is_dir() else []:
        try:
            age = (time.time() if now is None else now) - lock.stat().st_mtime
        except OSError:
            continue  # gone meanwhile, so it was not stale
        if age > STALE_S:
            text = f"{lock} is {age / 60:.0f} minutes old"
            remedy = f"if nothing compiles there now: rm {lock}"
            found.append(warn("deepspeed ops", text, remedy))
    return found
