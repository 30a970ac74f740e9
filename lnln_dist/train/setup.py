"""Puts a run together: network, optimizer, plan, loader, log, from the newest checkpoint."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lnln_dist import metrics, settings
from lnln_dist.classes import Targets, targets
from lnln_dist.config import MODALITIES, Config
from lnln_dist.cost.cards import peak
from lnln_dist.cost.flops import MOST_COUNTED, of_batches
from lnln_dist.cost.skeleton import Skeleton
from lnln_dist.data.loader import Collator, LoadedStep, Loader
from lnln_dist.data.measure import normalisation
from lnln_dist.data.noise import TrainingNoise
from lnln_dist.data.plan import SamplingPlan, Step
from lnln_dist.data.schema import Index
from lnln_dist.data.shards import ShardedDataset
from lnln_dist.errors import CheckpointError, TrainingError
from lnln_dist.files import explain_os_errors
from lnln_dist.models import InputShapes, build_network
from lnln_dist.models.contract import try_network
from lnln_dist.models.text import TextEncoder, build_encoder, save_encoder
from lnln_dist.monitor.health import Meter
from lnln_dist.monitor.profile import StepProfiler
from lnln_dist.monitor.progress import TrainProgress
from lnln_dist.monitor.writer import Writer, layout, mean_tag
from lnln_dist.runs import RunInfo, git_commit, installed_versions, write_run
from lnln_dist.runtime import FullState, Runtime
from lnln_dist.specs.registry import code_sha256, is_own, make_config, passes_of
from lnln_dist.train import checkpoint, optim
from lnln_dist.train.checkpoint import Saver, TrainState
from lnln_dist.train.leaving import Notice
from lnln_dist.train.loop import EpochReport, Training
from lnln_dist.train.micro_batch import choose_micro_batch
from lnln_dist.train.pictures import Pictures
from lnln_dist.train.task import Task
from lnln_dist.train.teacher import load_teacher, teacher_sha256
from lnln_dist.train.validate import validate
from lnln_dist.types import Batch


@dataclass(frozen=True)
class _Steps:
    """Re-iterable steps of one rank, from one of them to the end of the run."""

    plan: SamplingPlan
    rank: int
    start: int
    stop: int

    def __iter__(self) -> Iterator[Step]:
        return self.plan.steps(self.rank, start=self.start, stop=self.stop)


@dataclass(frozen=True, kw_only=True)
class Ties:
    """What binds a run to whoever started it."""

    notice: Notice
    """Where a signal to leave is noted."""
    on_epoch: Callable[[EpochReport], bool | None] | None = None
    """As ``program.run``."""
    shown_first: Collection[str] | None = None
    """As ``program.run``."""


def assemble(
    config: Config, folder: Path, dataset: ShardedDataset, runtime: Runtime, ties: Ties
) -> Training:
    """A run ready to train, at the step of its newest checkpoint (collective).

    Args:
        config: the resolved settings.
        folder: the run folder, claimed.
        dataset: the prepared data.
        runtime: of this rank.
        ties: to the caller.

    Raises:
        UserError: encoder, data, checkpoint or memory do not allow the run.
    """
    _check_order(config, runtime)
    index = dataset.index
    rows = index.splits["train"].rows
    shapes = InputShapes.of(widths=index.widths, lengths=index.padded_lengths, rows=rows)
    encoder, task = _build(config, dataset, shapes, runtime)
    notes, micro_batch = [encoder.note], config.train.micro_batch
    if config.train.auto_micro_batch:
        found = choose_micro_batch(task, runtime, config, index, folder=folder)
        notes, micro_batch = [*notes, found.note], found.micro_batch
    state, start = _newest(folder, runtime)
    if start is None:
        runtime.on_main(lambda: _fill(folder, config, dataset, encoder, task, shapes, runtime))
    wrapped, optimizers = _wrapped(task, config, runtime, start)
    per_epoch, steps = _steps(config, dataset, runtime, micro_batch, state.step)
    total, top = per_epoch * config.train.epochs, _peak(runtime)
    progress = TrainProgress(total=total, start=state.step, shown=runtime.is_main)
    for note in filter(None, notes):
        progress.line(note)
    writer = _start_log(folder, config, index.family, state, ties) if runtime.is_main else None
    return Training(
        config=config,
        folder=folder,
        runtime=runtime,
        task=wrapped,
        passes=passes_of(config),
        optimizers=optimizers,
        steps_per_epoch=per_epoch,
        steps=steps,
        state=state,
        validate=lambda task, leaving: validate(task, dataset, config, runtime, leaving=leaving),
        writer=writer,
        pictures=_pictures(folder, config, dataset, writer) if writer else None,
        progress=progress,
        saver=Saver(runtime, folder, keep=config.train.keep_checkpoints),
        profiler=StepProfiler(folder, config.train.profile_steps, rank=runtime.rank),
        meter=Meter(device=runtime.device, peak_flops=top),
        notice=ties.notice,
        operations=_operations(config, index, shapes) if top else None,
        on_epoch=ties.on_epoch,
    )


def _build(
    config: Config, dataset: ShardedDataset, shapes: InputShapes, runtime: Runtime
) -> tuple[TextEncoder, Task]:
    # Every rank draws the same initial weights.
    runtime.seed(config.train.seed)

    def make(contents: bool) -> tuple[TextEncoder, Task]:
        encoder = build_encoder(
            config.model.encoder,
            tokenizer=dataset.index.tokenizer,
            max_length=shapes.text_length,
            pretrained=contents,
        )
        return encoder, Task(build_network(config, encoder, shapes))

    encoder, task = runtime.build(make)
    if is_own(config.model.name):
        runtime.on_main(lambda: try_network(task.model, config, shapes))
    if teacher := load_teacher(config, dataset, runtime):
        task.model.teacher = teacher  # type: ignore[assignment]
    return encoder, task


def _check_order(config: Config, runtime: Runtime) -> None:
    """Refuses several optimizers where the launcher asked for a strategy that has one."""
    strategy = runtime.launch.strategy
    if config.train.order == "alternating" and strategy != "ddp":
        raise TrainingError(
            f"train.order alternating works with strategy ddp, not {strategy}, which binds the "
            "model to one optimizer"
        )


def _wrapped(
    task: Task, config: Config, runtime: Runtime, start: FullState | None
) -> tuple[nn.Module, list[torch.optim.Optimizer]]:
    """The task as this launch runs it, and an optimizer for each pass."""
    first, *others = (
        optim.make_optimizer(task.model, config.optim, one.takes) for one in passes_of(config)
    )
    wrapped, optimizer = runtime.prepare(task, first, start)
    added = [
        runtime.add_optimizer(wrapped, other, start, number=number)
        for number, other in enumerate(others, start=1)
    ]
    return wrapped, [optimizer, *added]


def _peak(runtime: Runtime) -> float | None:
    """Operations per second this rank's card can do at most, if it is a known one."""
    if runtime.device.type != "cuda":
        return None
    return peak(torch.cuda.get_device_name(runtime.device), runtime.precision)


def _operations(
    config: Config, index: Index, shapes: InputShapes
) -> Callable[[Batch], float] | None:
    """Counts a batch's operations; None where a user's network cannot be counted."""
    # Longer position tables cost no operation, and counting needs some places.
    lengths = {m: max(shapes.length(m), MOST_COUNTED) for m in MODALITIES}
    roomy = InputShapes.of(widths=index.widths, lengths=lengths)
    try:
        return of_batches(Skeleton(config, tokenizer=index.tokenizer, shapes=roomy))
    except Exception:
        if not is_own(config.model.name):
            raise
        return None  # it looks at contents, of which fake tensors have none; it trains all the same


def _steps(
    config: Config, dataset: ShardedDataset, runtime: Runtime, micro_batch: int | None, step: int
) -> tuple[int, Iterator[LoadedStep]]:
    """Steps of an epoch, and this rank's batches from ``step`` to the end of the run.

    Each pass of an epoch has an order and noise of its own, as epochs have.
    """
    index, split = dataset.index, dataset.split("train")
    lengths = split.lengths
    grouped = sum((lengths[m] for m in MODALITIES), start=0 * lengths["text"])
    plan = SamplingPlan(
        size=len(split),
        batch_size=config.train.batch_size,
        world=runtime.world,
        micro_batch=micro_batch,
        seed=config.train.seed,
        lengths=grouped if config.data.length_grouped else None,
    )
    per_epoch = plan.steps_per_epoch * len(passes_of(config))
    noise_seed = config.train.seed if config.noise.seed is None else config.noise.seed
    collator = Collator(
        split,
        TrainingNoise(config.noise, seed=noise_seed, ids=split.ids),
        padding=config.data.padding,
        padded_lengths=index.padded_lengths,
        unk_id=index.tokenizer.unk_id,
        pad_id=index.tokenizer.pad_id,
        targets=_targets(config, index, split.labels),
        normalised=normalisation(index, wanted=config.data.normalise),
    )
    loader = Loader(
        collator.step,
        _Steps(plan, runtime.rank, step, per_epoch * config.train.epochs),
        workers=config.data.workers,
        prefetch=config.data.prefetch,
        pin_memory=config.data.pin_memory,
    )
    return per_epoch, iter(loader)


def _targets(config: Config, index: Index, label_N: NDArray[np.float32]) -> Targets | None:
    """The classes to train, where there are some."""
    if not config.task.classes:
        return None
    balanced = config.task.class_weights == "balanced"
    return targets(label_N, index.family, config.task.classes, balanced=balanced)


def _fill(
    folder: Path,
    config: Config,
    dataset: ShardedDataset,
    encoder: TextEncoder,
    task: Task,
    shapes: InputShapes,
    runtime: Runtime,
) -> None:
    """Writes what a run folder holds before the first step."""
    with explain_os_errors(folder):
        save_encoder(encoder, folder / "encoder", tokenizer=_tokenizer_folder(config, dataset))
    index = dataset.index
    info = RunInfo(
        dataset=index.dataset,
        family=index.family,
        label_range=index.label_range,
        rescaled_from=index.rescaled_from,
        extraction=index.extraction,
        normalised=normalisation(index, wanted=config.data.normalise),
        config_hash=settings.config_hash(config),
        data_hash=index.data_hash(),
        vocab_sha256=index.tokenizer.vocab_sha256,
        teacher_sha256=teacher_sha256(config),
        model_sha256=code_sha256(config.model.name),
        shapes=shapes,
        parameters=sum(p.numel() for p in task.parameters()),
        world_size=runtime.world,
        git_commit=git_commit(),
        versions=installed_versions(),
    )
    write_run(folder, config, info)


def _newest(folder: Path, runtime: Runtime) -> tuple[TrainState, FullState | None]:
    """The newest checkpoint, read by rank 0 alone; None where there is none."""
    read: list[FullState] = []

    def newest() -> TrainState | None:
        found = checkpoint.checkpoints(folder)
        if not found:
            return None
        state, full = checkpoint.load(found[-1])
        if state.best and not (folder / "best" / "best.safetensors").is_file():
            raise CheckpointError(
                f"{folder}/best: its best weights are gone, and no later epoch need be better: put "
                "them back, or train anew with --overwrite"
            )
        read.append(full)
        return state

    state = runtime.on_main(newest)
    if state is None:
        return TrainState(), None
    return state, read[0] if read else FullState()


def _tokenizer_folder(config: Config, dataset: ShardedDataset) -> Path | None:
    if dataset.tokenizer_folder is not None:
        return dataset.tokenizer_folder
    local = Path(config.model.encoder.name).expanduser()
    return local if local.is_dir() else None


def _start_log(
    folder: Path, config: Config, family: metrics.Family, state: TrainState, ties: Ties
) -> Writer:
    writer = Writer(folder, start_step=state.step)
    if state.step == 0:
        split, shown = config.select.split, metrics.headlines(family, config.task.classes)
        names = tuple(dict.fromkeys([config.select.metric, *shown]))
        writer.describe(
            settings.dump(config),
            settings.flatten(settings.to_dict(config)),
            [mean_tag(split, n) for n in names],
            layout(split, names, config.select.rates),
            first=[*settings.differences(make_config(config.model.name), config), "train.seed"]
            if ties.shown_first is None
            else ties.shown_first,
        )
    return writer


def _pictures(folder: Path, config: Config, dataset: ShardedDataset, writer: Writer) -> Pictures:
    split = dataset.split(config.select.split)
    tokenizer = [dataset.tokenizer_folder, folder / "encoder"]
    return Pictures(writer, config, split, dataset.index, tokenizer)
