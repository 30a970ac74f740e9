"""Sweeps: settings x seeds, screened by successive halving, confirmed on all seeds.

``make_trainable`` is the training program as a trainable of Ray Tune; ``run`` a whole sweep, and
``table`` what came of one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["make_trainable", "run", "table"]


def __getattr__(name: str) -> Any:
    # Not above: reading a sweep must not wait for Ray.
    if name == "make_trainable":
        from lnln_dist.sweep.tune.trainable import make_trainable

        return make_trainable
    raise AttributeError(name)


def run(config: str | Path | Mapping[str, Any], output: str | Path, **options: Any) -> Any:
    """Runs or resumes a sweep as ``lnln-dist sweep`` does.

    Args:
        config: the sweep's YAML, or its content.
        output: its folder.
        options: of ``session.run``: resume, retry_failed, address, cpus, wait_s.

    Returns:
        Ray Tune's ``ResultGrid`` of the trials that ran; None if there was nothing left to train.

    Raises:
        UserError: settings, data, folder or cluster do not allow it.
    """
    from lnln_dist.sweep import session, space, study

    sweep = study.build(config) if isinstance(config, Mapping) else study.read(Path(config))
    return session.run(space.freeze(sweep), Path(output), **options).grid


def table(output: str | Path) -> Any:
    """A sweep's trials and epochs as a pandas table, also while it runs.

    Returns:
        A row per trial and epoch: ``trial``, ``stratum``, ``setting``, ``seed``, ``axis:NAME``,
        ``confirmed``, ``epoch``, ``step``, ``time``, ``best`` (objective so far), each score.

    Raises:
        CheckpointError: no sweep there, or a damaged one.
    """
    from lnln_dist.sweep.results import Results

    return Results(Path(output)).table
