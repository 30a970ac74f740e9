"""The training loop: steps, and what happens between epochs."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

import torch
from torch import Tensor, nn

from lnln_dist.config import Config
from lnln_dist.data.loader import LoadedStep
from lnln_dist.errors import PreemptedError
from lnln_dist.metrics import DIRECTION
from lnln_dist.monitor.health import Meter, over_ranks
from lnln_dist.monitor.profile import StepProfiler
from lnln_dist.monitor.progress import TrainProgress
from lnln_dist.monitor.writer import Writer, mean_tag, rate_tag
from lnln_dist.report.calibration import alarm
from lnln_dist.runs import save_best
from lnln_dist.runtime import Runtime, StepResult
from lnln_dist.specs.registry import find_spec, loss_weights
from lnln_dist.specs.spec import Pass
from lnln_dist.train import optim
from lnln_dist.train.checkpoint import Saver, TrainState
from lnln_dist.train.leaving import Notice
from lnln_dist.train.pictures import Pictures
from lnln_dist.train.validate import GridScores
from lnln_dist.types import Batch, Learner, Losses

TERM = "loss/"  # tags of the raw loss terms begin so
ROW = "row"  # under which the samples of a step are gathered with what is noted of them
LEAVE = "leave"  # tag under which a rank's notice to leave is summed with the loss terms


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What ``on_epoch`` is told after every epoch, the same on every rank."""

    epoch: int
    step: int
    valid: Mapping[str, float]
    """Scores averaged over the noise grid."""
    improved: bool
    best: float


@dataclass(kw_only=True)
class Training:
    """Everything a run holds while it trains."""

    config: Config
    folder: Path
    runtime: Runtime
    task: nn.Module
    """Wrapped for this launch."""
    passes: Sequence[Pass]
    """What an epoch consists of, one pass over the training split each."""
    optimizers: Sequence[torch.optim.Optimizer]
    """One for each pass."""
    steps_per_epoch: int
    """Over all passes."""
    steps: Iterator[LoadedStep]
    """This rank's batches from ``state.step`` to the end of the run."""
    state: TrainState
    validate: Callable[[nn.Module, Callable[[], bool]], GridScores | None]
    """Scores a model; None if the function, asked again and again on all ranks, says to stop."""
    writer: Writer | None
    pictures: Pictures | None
    progress: TrainProgress
    saver: Saver
    profiler: StepProfiler
    meter: Meter
    notice: Notice
    operations: Callable[[Batch], float] | None = None
    """Floating-point operations of a micro-batch, where a utilisation can be reported."""
    on_epoch: Callable[[EpochReport], bool | None] | None = None
    """Called after every epoch, its checkpoint committed; a true answer ends the run here, to be
    resumed later."""


def train_step(run: Training, batches: Sequence[Batch], samples: int, turn: int = 0) -> StepResult:
    """One optimizer step of pass ``turn`` over this rank's micro-batches.

    Every term is a sum over samples divided by ``samples``, the step's count over all ranks:
    uneven micro-batches and uneven ranks weigh each sample the same.
    """
    sums, noted = _Sums(), _Noted()
    for number, batch in enumerate(batches):
        run.runtime.seed(run.config.train.seed, run.state.step, number, run.runtime.rank)
        with run.runtime.accumulate(run.task, last=number == len(batches) - 1):
            with run.meter.phase("forward"):
                losses: Losses = run.task(run.runtime.to_device(batch))
                loss = losses.only(run.passes[turn].terms).total(samples)
            with run.meter.phase("backward"):
                run.runtime.backward(loss)
        if run.operations:
            run.meter.work(run.operations(batch))
        sums.add(losses, samples)
        noted.add(batch, losses)
    # Travels with the terms, so that all ranks learn of it at the same step for free.
    leave = torch.tensor(float(run.notice.given), device=run.runtime.device)
    with run.meter.phase("update"):
        result = run.runtime.check_clip_step(
            run.task,
            run.optimizers[turn],
            terms=sums.terms,
            shown={**sums.shown, LEAVE: leave},
            clip_norm=run.config.optim.clip_norm,
        )
        noted.learn(run, samples)
    return result


class _Sums:
    """A step's loss terms and shown values by their tags, over its micro-batches."""

    def __init__(self) -> None:
        self.terms: dict[str, Tensor] = {}
        self.shown: dict[str, Tensor] = {}

    def add(self, losses: Losses, samples: int) -> None:
        """One micro-batch of a step of ``samples`` samples."""
        terms = {TERM + name: value for name, value in losses.terms.items()}
        for sums, values in ((self.terms, terms), (self.shown, losses.shown)):
            for tag, value in values.items():
                mean = value.detach() / samples
                sums[tag] = sums[tag] + mean if tag in sums else mean


class _Noted:
    """What a step's samples leave to be remembered, over its micro-batches."""

    def __init__(self) -> None:
        self._parts: list[dict[str, Tensor]] = []

    def add(self, batch: Batch, losses: Losses) -> None:
        """One micro-batch, not yet on the device; its fillers are left out."""
        if losses.noted:
            device = next(iter(losses.noted.values())).device
            index_B = batch.weight_B.nonzero()[:, 0]
            part = {ROW: batch.row_B[index_B].to(device)}
            index_B = index_B.to(device)
            self._parts.append(part | {n: v.detach()[index_B] for n, v in losses.noted.items()})

    def learn(self, run: Training, samples: int) -> None:
        """Tells the network of the samples of all ranks (collective where it notes something)."""
        if self._parts:
            mine = {
                name: torch.cat([part[name] for part in self._parts]) for name in self._parts[0]
            }
            most = -(-samples // run.runtime.world)
            whole = run.runtime.gather_samples(mine, most=most)
            network = cast(Learner, run.runtime.unwrap(run.task).model)
            with torch.no_grad():
                network.learn(whole.pop(ROW), whole)


def train(run: Training) -> TrainState:
    """Trains from ``run.state`` to the last step, to the early stop or until told to pause."""
    try:
        _train(run)
        run.saver.wait()
        run.profiler.close(run.state.step)
    except BaseException:
        # What ended the run is to be told, not what its last files ran into.
        with contextlib.suppress(Exception):
            run.profiler.close(run.state.step)
        with contextlib.suppress(Exception):
            if run.writer:
                run.writer.close()
        raise
    return run.state


def _train(run: Training) -> None:
    config, state, per_epoch = run.config, run.state, run.steps_per_epoch
    total = per_epoch * config.train.epochs
    steps = run.meter.waiting(run.steps)
    run.task.train()
    if state.validation_due and _end_epoch(run, state.step // per_epoch - 1):
        return
    while state.step < total and not state.finished:
        epoch, within = divmod(state.step, per_epoch)
        begin = time.perf_counter()
        share = optim.factor(
            config.optim, step=state.step, steps_per_epoch=per_epoch, epochs=config.train.epochs
        )
        turn = within * len(run.passes) // per_epoch
        rates = optim.set_rates(run.optimizers[turn], share)
        with run.profiler.step(state.step):
            step = next(steps)
            result = train_step(run, step.batches, step.samples, turn)
        state.step += 1
        run.meter.step(step.samples)
        state.seconds += time.perf_counter() - begin
        last = within == per_epoch - 1
        if state.step % config.train.log_steps == 0 or last:
            _log_step(run, result, rates, epoch, run.passes[turn])
        if last:
            if _end_epoch(run, epoch):
                return
            continue
        leaving = result.terms[LEAVE] > 0
        every = config.train.checkpoint_steps
        if leaving or (every and state.step % every == 0):
            _checkpoint(run)
        if leaving:
            _leave(run)


def _told_to_leave(run: Training) -> bool:
    """Whether some rank was told to leave (collective)."""
    return any(run.runtime.gather_objects(run.notice.given))


def _leave(run: Training) -> NoReturn:
    run.saver.wait()
    raise PreemptedError(
        f"told to leave: checkpoint of step {run.state.step} written, go on with --resume"
    )


def _log_step(
    run: Training, result: StepResult, rates: Mapping[str, float], epoch: int, now: Pass
) -> None:
    values = {tag: value for tag, value in result.terms.items() if tag != LEAVE}
    weights = {n: w for n, w in loss_weights(run.config.loss).items() if n in now.terms}
    weighted = {n: w * values[TERM + n] for n, w in weights.items() if TERM + n in values}
    readings = run.runtime.gather_objects((run.meter.read(), run.runtime.peak_memory()))
    health = over_ranks([speed for speed, _ in readings], [peak for _, peak in readings])
    total = sum(weighted.values())
    values |= {f"loss_weighted/{n}": v for n, v in weighted.items()} | {"loss/total": total}
    values |= {f"optim/lr/{n}": v for n, v in rates.items()}
    values |= {"optim/grad_norm": result.grad_norm, "optim/skipped": float(result.skipped)}
    values |= health.values
    if run.writer:
        run.writer.log("train", run.state.step, values, epoch=epoch + 1, ranks=health.ranks)
    note = (
        f"epoch {epoch + 1}/{run.config.train.epochs}  loss {total:.3f}  "
        f"lr {max(rates.values()):.1e}  {values['speed/samples_per_s']:.0f} samples/s"
    )
    run.progress.step(run.state.step, note)


def _end_epoch(run: Training, epoch: int) -> bool:
    """Scores, keeps the best, reports and checkpoints; tells whether to pause here.

    Raises:
        PreemptedError: told to leave; what of this is still to do is done by the run that goes on.
    """
    begin = time.perf_counter()
    with run.runtime.evaluation(run.task) as task, _watching(run, task):
        # A grid can take longer than a scheduler waits before it kills.
        scores = run.validate(task, lambda: _told_to_leave(run))
    improved = scores is not None and _keep_best(run, epoch, scores)
    run.state.validation_due = scores is None
    if scores is None:
        _checkpoint(run)
        _leave(run)
    run.task.train()
    select = run.config.select
    best = run.state.best["best"]
    if run.writer:
        values = {mean_tag(select.split, m): v for m, v in scores.mean.items()}
        for rate, by_metric in scores.by_rate.items():
            values |= {rate_tag(select.split, m, rate): v for m, v in by_metric.items()}
        for number, threshold in enumerate(scores.thresholds or ()):
            values[f"{select.split}/threshold/{number}"] = threshold
        if scores.completeness and not math.isnan(scores.completeness.slope):  # for one rate
            values["completeness/slope"] = scores.completeness.slope
        run.writer.log("score", run.state.step, values, epoch=epoch + 1, improved=improved)
        run.writer.histogram(f"{select.split}/predictions", scores.predictions, run.state.step)
    run.progress.line(
        f"epoch {epoch + 1}/{run.config.train.epochs}  {select.split} {select.metric} "
        f"{scores.mean[select.metric]:.4f}{' (best)' if improved else f'  best {best:.4f}'}"
    )
    _finish_if_over(run, best)
    if run.pictures:
        run.pictures.draw(run.state.step, scores, last=run.state.finished)
    slope = scores.completeness.slope if scores.completeness else math.nan
    if run.state.finished and (idle := alarm("alarm", slope)):
        run.progress.line(idle)
    _checkpoint(run)
    paused = False
    if run.on_epoch:
        # Whoever listens may end the run from within: what it is told of must not be lost by that.
        run.saver.wait()
        report = EpochReport(
            epoch=epoch + 1,
            step=run.state.step,
            valid=scores.mean,
            improved=improved,
            best=best,
        )
        # Only the main process may decide: a rank that stops alone leaves the others waiting.
        paused = run.runtime.broadcast_object(bool(run.on_epoch(report)))
    run.meter.pause(time.perf_counter() - begin)
    if not paused and not run.state.finished and _told_to_leave(run):
        _leave(run)
    return paused


def _watching(run: Training, task: nn.Module) -> contextlib.AbstractContextManager[None]:
    return run.pictures.watching(task) if run.pictures else contextlib.nullcontext()


def _finish_if_over(run: Training, best: float) -> None:
    """Notes that no epoch follows, and says why if it is not the last one planned."""
    train, select = run.config.train, run.config.select
    if train.patience and run.state.epochs_without_gain >= train.patience:
        run.progress.line(f"stopped early: no better score for {train.patience} epochs")
        run.state.finished = True
    if run.state.step == run.steps_per_epoch * train.epochs:
        run.state.finished = True
    if run.state.finished and math.isnan(best):
        run.progress.line(
            f"{select.metric} was not defined on {select.split} in any epoch: best/ holds the "
            "first one's weights, chosen by no score; give another select.metric, or labels that "
            "vary"
        )


def _keep_best(run: Training, epoch: int, scores: GridScores) -> bool:
    """Saves the weights under every name whose score improved; tells if the chosen one did."""
    select, state = run.config.select, run.state
    names = {"best": select.metric}
    if select.per_metric:
        names |= {metric: metric for metric in scores.mean}
    improved = []
    for name, metric in names.items():
        score = scores.mean[metric]
        old = state.best.get(name)
        # A score that is not defined (the correlation of a constant) never counts as better,
        # but the first epoch always leaves a checkpoint, which any that is defined replaces.
        gained = old is not None and math.isnan(old) and not math.isnan(score)
        if old is None or gained or (score - old) * DIRECTION[metric] > 0:
            state.best[name], state.best_epoch[name] = score, epoch + 1
            improved.append((name, metric, score))
    state.epochs_without_gain = (
        0 if any(name == "best" for name, _, _ in improved) else state.epochs_without_gain + 1
    )
    note: dict[str, object] = {
        "epoch": epoch + 1,
        "step": state.step,
        "selected_on": select.split,
        "rates": list(select.rates),
        "noise_seeds": list(select.seeds),
        "noise": select.noise,
    }
    if scores.thresholds:
        note["thresholds"] = list(scores.thresholds)
    # Of the task, whose only part is the network.
    whole = run.runtime.weights(run.task) if improved else {}
    memory = find_spec(run.config.model.name).memory

    def write() -> None:
        weights = {name.removeprefix("model."): value for name, value in whole.items()}
        if memory:  # of no use to a prediction, and the training samples are not to be passed on
            weights = {n: v for n, v in weights.items() if not n.startswith(f"{memory}.")}
        for name, metric, score in improved:
            save_best(run.folder, weights, {**note, "metric": metric, "score": score}, name=name)

    run.runtime.on_main(write)
    return any(name == "best" for name, _, _ in improved)


def _checkpoint(run: Training) -> None:
    run.saver.save(run.state, lambda: run.runtime.full_state(run.task, *run.optimizers))
