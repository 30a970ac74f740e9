"""One training run from config to finished run folder; sweeps and the command line call this."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lnln_dist import metrics, settings
from lnln_dist.config import Config
from lnln_dist.data.loader import Collator, make_loader
from lnln_dist.data.noise import TrainingNoise
from lnln_dist.data.plan import MicroBatch, Plan
from lnln_dist.data.schema import Index
from lnln_dist.data.shards import ShardedDataset, open_dataset
from lnln_dist.errors import CheckpointError, ConfigError, UserError
from lnln_dist.files import explain_os_errors
from lnln_dist.models import LNLN, InputShapes
from lnln_dist.models.text import build_encoder, save_encoder
from lnln_dist.monitor.progress import TrainProgress
from lnln_dist.monitor.writer import Writer, mean_tag, rate_tag
from lnln_dist.runs import Run, RunInfo, git_commit, installed_versions, write_run
from lnln_dist.runtime import FullState, Runtime
from lnln_dist.train import checkpoint, optim
from lnln_dist.train.checkpoint import TrainState
from lnln_dist.train.loop import EpochReport, Training, remaining, train
from lnln_dist.train.preemption import Notice
from lnln_dist.train.task import ENCODER, Task
from lnln_dist.train.validate import validate


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    folder: Path
    state: TrainState
    wall_s: float
    peak_gib: float


@dataclass(frozen=True)
class _Steps:
    """Re-iterable micro-batches of one rank, from a step to the end of the run."""

    plan: Plan
    rank: int
    start: int
    stop: int

    def __iter__(self) -> Iterator[MicroBatch]:
        return remaining(self.plan, rank=self.rank, start=self.start, stop=self.stop)


def run(
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    cpu: bool | None = None,
    on_epoch: Callable[[EpochReport], bool | None] | None = None,
) -> Result:
    """Trains ``config`` into ``folder``.

    Args:
        config: the resolved settings; ``data.path`` is a folder written by ``prepare``.
        folder: the run folder.
        resume: go on from the newest checkpoint in ``folder``, or start if there is none.
        overwrite: remove what ``folder`` holds first.
        cpu: train on the CPU even where there is a GPU.
        on_epoch: told of every epoch; a true answer on the main process ends the run there, with a
            checkpoint from which it can be resumed.

    Raises:
        UserError: settings, data, folder or launch do not allow the run.
    """
    begin = time.perf_counter()
    dataset = open_dataset(config.data.path) if config.data.path else None
    if dataset is None:
        raise ConfigError("data.path is empty: set it to a folder written by `lnln-dist prepare`")
    _check_against_data(config, dataset.index)
    runtime = Runtime(
        precision=config.train.precision,
        cpu=cpu,
        strategy=config.train.strategy,
        offload=config.train.offload,
    )
    notice = Notice()
    try:
        # Told to leave while it still sets up, a run leaves after its first step.
        with notice.listening():
            runtime.on_main(lambda: _claim(folder, config, dataset.index, resume, overwrite))
            training = _assemble(config, folder, dataset, runtime, on_epoch)
            training.notice = notice
            if training.state.finished:
                training.progress.line(f"{folder} has finished already")
            else:
                with training.progress:
                    train(training)
        if training.writer:
            training.writer.close()
        peak = max(runtime.gather_objects(runtime.peak_memory())) / 2**30
        return Result(folder, training.state, time.perf_counter() - begin, peak)
    finally:
        runtime.close()


def _check_against_data(config: Config, index: Index) -> None:
    known = metrics.METRICS[index.family]
    if config.select.metric not in known:
        raise ConfigError(
            f"select.metric: {config.select.metric!r} is not a score of {index.dataset}; "
            f"choose one of {', '.join(known)}"
        )
    if config.select.noise == "official" and config.data.padding != "corpus":
        raise ConfigError("select.noise official needs data.padding: corpus")


def _claim(folder: Path, config: Config, index: Index, resume: bool, overwrite: bool) -> None:
    """Makes ``folder`` this run's, or refuses it."""
    with explain_os_errors(folder):
        if folder.exists() and overwrite and not resume:
            if any(folder.iterdir()) and not (folder / "run.json").exists():
                raise UserError(f"{folder} holds other things than a run: choose another folder")
            shutil.rmtree(folder)
        held = folder.is_dir() and any(folder.iterdir())
        if held and not resume:
            raise UserError(
                f"{folder} exists: pass --resume to go on with it, --overwrite to replace it, or "
                "choose another --output"
            )
        folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "run.json").exists():
        return
    old = Run(folder)
    changed = settings.differences(old.config, config)
    if changed:
        listed = "; ".join(f"{k}: {a!r} there, {b!r} here" for k, (a, b) in changed.items())
        raise CheckpointError(f"{folder} was trained with other settings ({listed})")
    if old.info.data_hash != index.data_hash():
        raise CheckpointError(
            f"{folder} was trained on other data than {config.data.path} (data hash "
            f"{(old.info.data_hash or 'unknown')[:12]} there, {index.data_hash()[:12]} here)"
        )


def _assemble(
    config: Config,
    folder: Path,
    dataset: ShardedDataset,
    runtime: Runtime,
    on_epoch: Callable[[EpochReport], bool | None] | None,
) -> Training:
    index, split = dataset.index, dataset.split("train")
    # Every rank draws the same initial weights.
    runtime.seed(config.train.seed)
    shapes = InputShapes.of(widths=index.widths, lengths=index.padded_lengths)
    encoder = build_encoder(
        config.model.encoder, tokenizer=index.tokenizer, max_length=shapes.text_length
    )
    task = Task(LNLN(config.model, encoder, shapes), completeness=config.noise.completeness)
    optimizer = optim.make_optimizer(task, config.optim, encoder_prefix=ENCODER)
    parameters = sum(p.numel() for p in task.parameters())
    state, start = _newest(folder, runtime)
    wrapped, optimizer = runtime.prepare(task, optimizer, start)
    info = _info(config, index, shapes, parameters, runtime.world)

    def fill_folder() -> None:
        with explain_os_errors(folder):
            save_encoder(encoder, folder / "encoder", tokenizer=_tokenizer_folder(config, dataset))
        write_run(folder, config, info)

    if start is None:
        runtime.on_main(fill_folder)
    writer = _start_log(folder, config, index.family, state) if runtime.is_main else None
    plan = Plan(
        size=len(split),
        batch_size=config.train.batch_size,
        world=runtime.world,
        micro_batch=config.train.micro_batch,
        seed=config.train.seed,
        lengths=sum(split.lengths.values()) if config.data.length_grouped else None,
    )
    total = plan.steps_per_epoch * config.train.epochs
    noise_seed = config.train.seed if config.noise.seed is None else config.noise.seed
    collator = Collator(
        split,
        TrainingNoise(config.noise, seed=noise_seed, ids=split.ids),
        padding=config.data.padding,
        padded_lengths=index.padded_lengths,
        unk_id=index.tokenizer.unk_id,
        pad_id=index.tokenizer.pad_id,
    )
    loader = make_loader(
        collator,
        _Steps(plan, runtime.rank, state.step, total),
        workers=config.data.workers,
        prefetch=config.data.prefetch,
        pin_memory=config.data.pin_memory,
    )
    return Training(
        config=config,
        folder=folder,
        runtime=runtime,
        task=wrapped,
        optimizer=optimizer,
        plan=plan,
        loader=iter(loader),
        state=state,
        validate=lambda task: validate(task.get_submodule("model"), dataset, config, runtime),
        writer=writer,
        progress=TrainProgress(total=total, start=state.step, shown=runtime.is_main),
        on_epoch=on_epoch,
    )


def _newest(folder: Path, runtime: Runtime) -> tuple[TrainState, FullState | None]:
    """The newest checkpoint, read by rank 0 alone; None where there is none."""
    read: list[FullState] = []

    def newest() -> TrainState | None:
        found = checkpoint.checkpoints(folder)
        if not found:
            return None
        state, full = checkpoint.load(found[-1])
        read.append(full)
        return state

    state = runtime.on_main(newest)
    if state is None:
        return TrainState(), None
    return state, read[0] if read else FullState()


def _tokenizer_folder(config: Config, dataset: ShardedDataset) -> Path | None:
    if dataset.index.tokenizer.folder:
        return dataset.folder / dataset.index.tokenizer.folder
    local = Path(config.model.encoder.name).expanduser()
    return local if local.is_dir() else None


def _info(
    config: Config, index: Index, shapes: InputShapes, parameters: int, world: int
) -> RunInfo:
    return RunInfo(
        dataset=index.dataset,
        family=index.family,
        label_range=index.label_range,
        config_hash=settings.config_hash(config),
        data_hash=index.data_hash(),
        vocab_sha256=index.tokenizer.vocab_sha256,
        shapes=shapes,
        parameters=parameters,
        world_size=world,
        git_commit=git_commit(),
        versions=installed_versions(),
    )


def _start_log(folder: Path, config: Config, family: metrics.Family, state: TrainState) -> Writer:
    writer = Writer(folder, start_step=state.step)
    if state.step == 0:
        split, names = config.select.split, metrics.METRICS[family]
        charts = {
            name: ["Multiline", [rate_tag(split, name, rate) for rate in config.select.rates]]
            for name in names
        }
        writer.describe(
            settings.dump(config),
            settings.flatten(settings.to_dict(config)),
            [mean_tag(split, name) for name in names],
            {f"{split} by missing rate": charts},
        )
    return writer
