"""What runs on the workers: a stretch of training in one process, or in a group of them."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lnln_dist.sweep.records import Epoch
from lnln_dist.sweep.study import ResourcesConfig
from lnln_dist.sweep.trial import Job, Outcome, Program, free_memory, prepare, run_job, scrub

HEAD = "node:__internal_head__"  # a resource that Ray gives to the head node alone


class TrialEndedError(Exception):
    """How one of a trial's processes ended, as JSON: starting the trial again would not help."""


def trainable(need: ResourcesConfig, program: Program | None, scratch: Path) -> Any:
    """Tune's trainable for trials of ``need.workers`` processes.

    Args:
        program: training program; None is `train.program.run`.
        scratch: folder for what Ray wants to write.
    """
    return _group(need, program, scratch) if need.workers > 1 else _single(need, program)


def _single(need: ResourcesConfig, program: Program | None) -> Any:
    from ray import tune

    def train(config: dict[str, Any]) -> None:
        scrub(os.environ)
        job = _job(config)

        def tell(epoch: Epoch) -> None:
            tune.report(_told(epoch))

        for epoch in prepare(job):
            tell(epoch)
        outcome = run_job(job, tell, program=program)
        free_memory()
        tune.report(_ended(job, outcome))

    return tune.with_resources(train, _resources(need))


def _group(need: ResourcesConfig, program: Program | None, scratch: Path) -> Any:
    """A light driver per trial that starts a group of workers by Ray Train."""
    from ray import tune

    def train(config: dict[str, Any]) -> None:
        import ray.train
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.tune.integration.ray_train import TuneReportCallback

        job = _job(config)
        for epoch in prepare(job):
            tune.report(_told(epoch))
        trainer = TorchTrainer(
            _member(program),
            train_loop_config=config,
            torch_config=TorchConfig(backend="nccl" if need.gpus else "gloo"),
            scaling_config=ray.train.ScalingConfig(
                num_workers=need.workers,
                use_gpu=need.gpus > 0,
                resources_per_worker={k.upper(): v for k, v in _resources(need).items()},
            ),
            run_config=ray.train.RunConfig(
                name=tune.get_context().get_trial_id(),
                storage_path=str(scratch.absolute() / "train"),
                callbacks=[TuneReportCallback()],
            ),
        )
        try:
            trainer.fit()
        except Exception as err:
            outcome = _own_fault(err)
            if outcome is None:
                raise
            tune.report(_ended(job, outcome))

    # The driver only waits: it takes no core, and stays on the head node, which outlives others.
    return tune.with_resources(train, tune.PlacementGroupFactory([{HEAD: 0.001}]))


def _member(program: Program | None) -> Any:
    def loop(config: dict[str, Any]) -> None:
        import ray.train

        scrub(os.environ, ranks=False)
        job = _job(config)
        outcome = run_job(job, lambda epoch: ray.train.report(_told(epoch)), program=program)
        if outcome.status in ("failed", "no room"):
            # Raised, not reported: the others may wait for this one in a collective.
            raise TrialEndedError(json.dumps(asdict(outcome)))
        ray.train.report(_ended(job, outcome))

    return loop


def _own_fault(err: BaseException) -> Outcome | None:
    """How the trial ended by itself, or None if a process or node died under it.

    One process that ends makes the others lose it. One that dies does so, too: then none of them
    says that the trial ended.
    """
    failures = getattr(err, "worker_failures", None) or {}
    causes = [getattr(f, "cause", None) or f for f in (err, *failures.values())]
    ended = [cause for cause in causes if isinstance(cause, TrialEndedError)]
    if not ended:
        return None
    return Outcome(**json.loads(str(ended[0])))


def _job(config: dict[str, Any]) -> Job:
    return Job(**json.loads(config["job"]))


def _told(epoch: Epoch) -> dict[str, Any]:
    return {"epoch": epoch.epoch, "told": json.dumps(epoch), "outcome": ""}


def _ended(job: Job, outcome: Outcome) -> dict[str, Any]:
    return {"epoch": job.until, "told": "", "outcome": json.dumps(asdict(outcome))}


def _resources(need: ResourcesConfig) -> dict[str, float]:
    return {"cpu": need.cpus, **({"gpu": need.gpus} if need.gpus else {})}
