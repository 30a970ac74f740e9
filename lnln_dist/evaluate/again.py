"""The command that makes an evaluation again, from what evaluation.json says of it."""

import json
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lnln_dist import __version__
from lnln_dist.evaluate.protocol import Protocol
from lnln_dist.evaluate.registry import PROTOCOLS
from lnln_dist.runs import git_commit, installed_versions
from lnln_dist.runtime import Runtime

# What `evaluate` can be asked for, by the names that evaluation.json notes it under (``asked``).
OPTIONS = {
    "split": "--split",
    "protocol": "--protocol",
    "checkpoint": "--checkpoint",
    "rates": "--rates",
    "seeds": "--seeds",
    "absent": "--absent",
    "missing": "--missing",
    "batch_size": "--batch-size",
}


def arguments(summary: Mapping[str, Any]) -> list[str]:
    """The arguments of `evaluate`, without ``--output``.

    Args:
        summary: content of evaluation.json.

    Raises:
        KeyError: an evaluation of before these were noted.
    """
    found = [str(record["folder"]) for record in summary["runs"]]
    places = {str(record["data"]) for record in summary["runs"]}
    if len(places) == 1:  # else each run has its own, which it names itself
        found += ["--data", *places]
    for name, option in OPTIONS.items():
        value = summary["asked"][name]
        if name == "missing":
            found += [word for group in value for word in (option, ",".join(group))]
        elif isinstance(value, list):
            found += [option, ",".join(map(str, value))] if value else []
        elif value is not None:
            found += [option, str(value)]
    return [*found, "--cpu"] if summary["made_on"]["device"] == "cpu" else found


def command(summary: Mapping[str, Any]) -> str:
    """The shell command, for as many processes as there were."""
    world = summary["world_size"]
    start = ["lnln-dist", "evaluate"]
    if world > 1:
        start = ["accelerate", "launch", "--multi_gpu", "--num_processes", str(world), "-m"]
        start.append("lnln_dist.commands.evaluate")
    return shlex.join([*start, *arguments(summary)])


def asked(*, protocol: Protocol | str, **choices: Any) -> dict[str, Any]:
    """The choices of an evaluation as JSON knows them; None is the default."""
    if not isinstance(protocol, str):
        protocol = protocol.name
    elif protocol not in PROTOCOLS:
        protocol = str(Path(protocol).resolve())
    plain: dict[str, Any] = json.loads(json.dumps({"protocol": protocol, **choices}))
    return plain


def circumstances(runtime: Runtime) -> dict[str, Any]:
    """What the last digits may depend on, beside data, weights and batch size."""
    gpu = runtime.device.type == "cuda"
    return {
        "world_size": runtime.world,
        "precision": runtime.precision,
        "made_on": {
            "device": torch.cuda.get_device_name(runtime.device) if gpu else "cpu",
            "instructions": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
            "threads": torch.get_num_threads(),
        },
        "lnln_dist": __version__,
        "git_commit": git_commit(),
        "versions": installed_versions(),
    }
