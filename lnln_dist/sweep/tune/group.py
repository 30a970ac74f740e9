"""A trial of several processes: a group of workers by Ray Train, from one decision to the next.

A group cannot be stopped in the middle of a collective, so it trains until an epoch that it is
given, ends, and is started anew if the trial is to go on.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnln_dist import settings
from lnln_dist.errors import StorageError
from lnln_dist.sweep import records, trial

if TYPE_CHECKING:
    from lnln_dist.sweep.tune.trainable import Seat, Stay

HEAD = "node:__internal_head__"  # a resource that Ray gives to the head node alone
FOR_GOOD = (trial.TrialFailedError, StorageError)


def train_as_group(seat: "Seat", stay: "Stay") -> None:
    """Trains a trial in groups of processes until it is through or Tune wants no more of it."""
    while True:
        done = len(records.committed(stay.run))
        if (records.newest_state(stay.run) or {}).get("finished"):
            return
        until = min(
            (e for e in seat.listen or () if e > done),
            default=stay.config.train.epochs if seat.listen else done + 1,
        )
        try:
            _trainer(seat, stay, until).fit()
        except Exception as err:
            raise _own_fault(err) or err from None
        # The group has told of the epochs before its last.
        rows = records.committed(stay.run)
        stay.told = max([stay.told, *(row.epoch for row in rows if row.epoch < until)])
        if len(rows) == done:
            stay.check(False)
        for row in rows:
            stay.tell(row.epoch)


def _trainer(seat: "Seat", stay: "Stay", until: int) -> Any:
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    need = seat.need
    return TorchTrainer(
        _member(seat),
        train_loop_config={
            "config": settings.to_dict(stay.config),
            "run": str(stay.run),
            "until": until,
        },
        torch_config=TorchConfig(backend="nccl" if need.gpus else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=need.workers,
            use_gpu=need.gpus > 0,
            resources_per_worker=need.bundle,
        ),
        run_config=ray.train.RunConfig(
            name=f"{stay.id}-{until}-{os.getpid()}",
            storage_path=str(stay.storage / "train"),
            callbacks=[TuneReportCallback()],
        ),
    )


def _member(seat: "Seat") -> Any:
    def loop(job: Mapping[str, Any]) -> None:
        import ray.train

        trial.scrub(os.environ, ranks=False)
        run = Path(job["run"])

        def on_epoch(report: Any) -> bool:
            if report.epoch < job["until"]:
                row = trial.report_of(run, report.epoch)
                ray.train.report({**row, "training_iteration": report.epoch})
            return bool(report.epoch >= job["until"])

        # Raised, not reported: the others may wait for this one in a collective.
        with trial.failing_for_good(run):
            seat.train(settings.build(dict(job["config"])), run, on_epoch, lends=False)

    return loop


def _own_fault(err: BaseException) -> Exception | None:
    """Why the trial ended by itself, or None if a process or node died under it.

    One process that ends makes the others lose it. One that dies does so, too: then none of them
    says that the trial ended.
    """
    failures = getattr(err, "worker_failures", None) or {}
    causes = [getattr(f, "cause", None) or f for f in (err, *failures.values())]
    return next((cause for cause in causes if isinstance(cause, FOR_GOOD)), None)
