"""Every rank starts from the same config, launch, data and code, or the run says which does not."""

import hashlib
import json
import platform
import socket
from collections.abc import Mapping

from lnln_dist import __version__, settings
from lnln_dist.config import Config
from lnln_dist.data.schema import Index
from lnln_dist.errors import TrainingError
from lnln_dist.runs import installed_versions, source_hash
from lnln_dist.runtime.launch import Launch
from lnln_dist.runtime.meeting import Peers
from lnln_dist.specs.registry import code_sha256

SHOWN = 5  # differing keys that a message names
# What may differ between hosts: where things are, and how they are read.
OF_A_HOST = ("data.path", "data.workers", "data.prefetch", "data.pin_memory")


def facts_of(
    config: Config, index: Index | None, launch: Launch | None = None
) -> dict[str, object]:
    """What has to be equal: every setting but ``OF_A_HOST``, launch, data, packages, code.

    Args:
        config: of the run.
        index: of the prepared data; None if they cannot be opened.
        launch: what is set up after ``auto`` and the launcher's wishes; None where it is refused.
    """
    flat = settings.flatten(settings.to_dict(config))
    facts: dict[str, object] = {k: v for k, v in flat.items() if k not in OF_A_HOST}
    facts |= {f"version of {name}": version for name, version in installed_versions().items()}
    facts |= {
        "data hash": index.data_hash() if index is not None else None,
        "version of python": ".".join(platform.python_version_tuple()[:2]),
        "version of lnln_dist": __version__,
        "source hash of lnln_dist": source_hash()[:12],
    }
    if (own := code_sha256(config.model.name)) is not None:
        facts["hash of the model's file"] = own[:12]
    if launch is not None:
        facts |= {
            "launch.strategy": launch.strategy,
            "launch.offload": launch.offload,
            "launch.device": "cpu" if launch.on_cpu else "cuda",
        }
        given = settings.flatten(launch.deepspeed)
        facts |= {f"launch.deepspeed.{key}": value for key, value in given.items()}
    return facts


def check_equal_on_ranks(peers: Peers, facts: Mapping[str, object]) -> None:
    """Stops on every rank if some rank's facts are not rank 0's (collective).

    Args:
        peers: as this rank sees them.
        facts: by name, such as dotted settings or "data hash"; values are compared as text.

    Raises:
        TrainingError: one line naming the keys, the ranks, their hosts and both values.
    """
    mine = {key: repr(value) for key, value in facts.items()}
    digest = hashlib.sha256(json.dumps(mine, sort_keys=True).encode()).hexdigest()
    if len(set(peers.gather_objects(digest))) == 1:
        return
    everyone: list[tuple[str, dict[str, str]]] = peers.gather_objects((socket.gethostname(), mine))
    first_host, first = everyone[0]
    problems = []
    for key in sorted({key for _, held in everyone for key in held}):
        wanted = first.get(key, "missing")
        other = [
            (rank, host, held.get(key, "missing"))
            for rank, (host, held) in enumerate(everyone)
            if held.get(key, "missing") != wanted
        ]
        if other:
            rank, host, value = other[0]
            more = f" and {len(other) - 1} more" if len(other) > 1 else ""
            problems.append(
                f"{key}: {value} on rank {rank} ({host}){more}, {wanted} on rank 0 ({first_host})"
            )
    cut = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    raise TrainingError(
        f"ranks differ: {'; '.join(problems[:SHOWN])}{cut}: start all of them with the same "
        "config, launcher settings, prepared data, packages and lnln_dist (lnln-dist doctor "
        "compares hosts)"
    )
