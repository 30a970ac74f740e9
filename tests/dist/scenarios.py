"""What the ranks of the distributed tests run; started by ``launcher.run_scenarios``."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from builders import SHAPES, TOKENIZER, random_batch, single, small_config, take
from networks import SMALL
from torch import distributed, nn

from lnln_dist import settings
from lnln_dist.config import OptimConfig, TrainConfig
from lnln_dist.cost.skeleton import SWITCH
from lnln_dist.data.plan import SamplingPlan
from lnln_dist.errors import TrainingError
from lnln_dist.models import build_network
from lnln_dist.models.lnln import LNLN
from lnln_dist.models.text import build_encoder
from lnln_dist.monitor.health import Meter
from lnln_dist.runtime import FullState, Runtime
from lnln_dist.specs.lnln import LNLNLoss
from lnln_dist.specs.registry import make_config
from lnln_dist.specs.spec import Pass
from lnln_dist.train import checkpoint, optim
from lnln_dist.train.checkpoint import TrainState
from lnln_dist.train.leaving import Notice
from lnln_dist.train.loop import train_step
from lnln_dist.train.task import Task
from lnln_dist.types import Batch, Losses

SIZE = 13  # samples; steps of 5, 5 and 3
PARTS = ("embedding", "completeness", "proxy", "reconstructor", "fusion")
SHALLOW = {f"{part}_depth": 1 for part in PARTS} | {"hyper_depth": 2}
# Some gradients are zero but for rounding (keys of an attention have no use for a bias): AdamW
# would blow that rounding up to a full step, were its epsilon not above it.
EPSILON = 1e-5


def corpus() -> Batch:
    """Samples of many lengths, in float32."""
    generator = torch.Generator().manual_seed(5)

    def lengths(longest: int) -> tuple[int, ...]:
        drawn = torch.randint(1, longest + 1, (SIZE,), generator=generator).tolist()
        return (longest, *drawn[1:])

    batch = random_batch(lengths={"text": lengths(12), "audio": lengths(20), "vision": lengths(16)})
    whole: Batch = single(batch)
    return whole


def make_task(
    freeze: str = "none", *, checkpoint_activations: bool = False, model: str = "lnln"
) -> Task:
    """A small network with random weights, the same on every rank."""
    torch.manual_seed(1)
    config = small_config(freeze=freeze, **SHALLOW)
    given = replace(config.encoder, checkpoint_activations=checkpoint_activations)
    encoder = build_encoder(given, tokenizer=TOKENIZER, max_length=SHAPES.text_length)
    if model == "lnln":
        network: nn.Module = LNLN(config, encoder, SHAPES)
    else:
        raw = {"model": {"name": model, **SMALL.get(model, {})}}
        network = build_network(settings.build(raw), encoder, SHAPES)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    return Task(network)


def set_up(runtime: Runtime, *, start: str | None, **network: Any) -> Any:
    """What ``train_step`` needs of a ``Training``; ``start`` is a run with one checkpoint."""
    config = make_config(
        loss=LNLNLoss(), optim=OptimConfig(lr=1e-3, eps=EPSILON), train=TrainConfig(batch_size=5)
    )
    task = make_task(**network)
    optimizer = optim.make_optimizer(task, config.optim)
    state, full = TrainState(), None
    if start:
        [folder] = checkpoint.checkpoints(Path(start))
        state, full = checkpoint.load(folder) if runtime.is_main else (None, FullState())
        state = runtime.broadcast_object(state)
    wrapped, optimizer = runtime.prepare(task, optimizer, full)
    wrapped.train()
    return SimpleNamespace(
        config=config,
        runtime=runtime,
        task=wrapped,
        passes=[Pass(name="joint", terms=tuple(task.model.weights))],
        optimizers=[optimizer],
        state=state,
        notice=Notice(),
        meter=Meter(),
        operations=None,
    )


@contextmanager
def launched(zero: dict[str, Any] | None) -> Iterator[None]:
    """As if accelerate launch had been given a DeepSpeed config with these ZeRO settings."""
    if zero is None:
        yield
        return
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"zero_optimization": zero}, file)
        file.flush()
        names = {
            "ACCELERATE_USE_DEEPSPEED": "true",
            "ACCELERATE_DEEPSPEED_CONFIG_FILE": file.name,
        }
        os.environ.update(names)
        try:
            yield
        finally:
            for name in names:
                del os.environ[name]


def train(
    *,
    strategy: str,
    precision: str = "fp32",
    offload: bool = False,
    freeze: str = "none",
    checkpoint_activations: bool = False,
    model: str = "lnln",
    micro_batch: int | None = 2,
    steps: int = 20,
    start: str | None = None,
    save: tuple[int, str] | None = None,
    deepspeed: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Trains the small network; returns losses, norms and the whole state at the end.

    Args:
        strategy: of the runtime, as ``precision`` and ``offload``.
        precision: arithmetic.
        offload: optimizer state in host memory.
        freeze: part of the encoder that is not trained.
        checkpoint_activations: of the encoder, as in the config.
        model: name of the model.
        micro_batch: as ``train.micro_batch``.
        steps: optimizer step to stop before.
        start: folder of a run to go on from.
        save: optimizer step after which a checkpoint is left, and the folder of that run.
        deepspeed: ZeRO settings as a launcher gives them.
    """
    with launched(deepspeed):
        runtime = Runtime(precision=precision, cpu=True, strategy=strategy, offload=offload)
    run = set_up(
        runtime,
        start=start,
        freeze=freeze,
        checkpoint_activations=checkpoint_activations,
        model=model,
    )
    plan = SamplingPlan(
        size=SIZE, batch_size=5, world=runtime.world, micro_batch=micro_batch, seed=3
    )
    data, first, losses, norms = corpus(), run.state.step, [], []
    for step in range(run.state.step, steps):
        epoch, within = divmod(step, plan.steps_per_epoch)
        optim.set_rates(run.optimizers[0], 1 / (1 + 0.1 * step))
        planned = plan.step(epoch, within, runtime.rank)
        batches = [
            take(data, items.rows.tolist())._replace(weight_B=torch.from_numpy(items.weights))
            for items in planned.micro_batches
        ]
        run.state.step = step
        result = train_step(run, batches, planned.samples)
        run.state.step = step + 1
        losses.append(result.terms)
        norms.append(result.grad_norm)
        if save and save[0] == step + 1:
            full = runtime.full_state(run.task, run.optimizers[0])
            state, folder = run.state, Path(save[1])
            runtime.on_main(lambda f=full, s=state, d=folder: checkpoint.save(d, s, f, keep=1))
    full = runtime.full_state(run.task, run.optimizers[0])
    shown = evaluation(runtime, run.task, data)
    kind = type(run.task).__name__
    recomputed = sum(getattr(m, SWITCH, False) for m in runtime.unwrap(run.task).modules())
    runtime.close()
    return {
        "first": first,
        "losses": losses,
        "norms": norms,
        "weights": full.weights,
        "slots": full.slots,
        "evaluated": shown,
        "kind": kind,
        "recomputed": recomputed,
    }


def evaluation(runtime: Runtime, wrapped: Any, data: Batch) -> torch.Tensor:
    """Predictions; every rank runs the same number of batches."""
    with runtime.evaluation(wrapped) as task, runtime.without_gradients():
        for _ in range(2):
            with runtime.autocast():
                outputs = task(data, verb="predict")
    wrapped.train()
    result: torch.Tensor = outputs.sentiment.float()
    return result


def spoil(*, strategy: str, where: str) -> dict[str, Any]:
    """One rank's loss or gradient is not finite: what every rank says, and whether it updated."""
    runtime = Runtime(cpu=True, strategy=strategy)
    run = set_up(runtime, start=None)
    before = runtime.full_state(run.task, run.optimizers[0]).weights
    bare = run.task

    def spoiled(batch: Batch) -> Losses:
        losses: Losses = bare(batch)
        sums = losses.terms
        if runtime.rank == runtime.world - 1:
            if where == "loss":
                sums["sentiment"] = sums["sentiment"] * float("nan")
            else:  # the root of zero: its value is finite, its slope is not
                sums["sentiment"] = sums["sentiment"] + (0 * sums["sentiment"]).abs().sqrt()
        return losses

    run.task = spoiled
    run.runtime = SimpleNamespace(
        rank=runtime.rank,
        device=runtime.device,
        seed=runtime.seed,
        to_device=runtime.to_device,
        backward=runtime.backward,
        accumulate=lambda _, last: runtime.accumulate(bare, last=last),
        check_clip_step=lambda _, *rest, **named: runtime.check_clip_step(bare, *rest, **named),
    )
    message = ""
    try:
        train_step(run, [take(corpus(), [runtime.rank, 3])], 2 * runtime.world)
    except TrainingError as err:
        message = str(err)
    said = runtime.gather_objects(message)
    after = runtime.full_state(bare, run.optimizers[0]).weights
    runtime.close()
    return {"said": said, "same": all(torch.equal(before[n], after[n]) for n in before)}


def modules() -> list[str]:
    """Which packages that a plain run has no use for are imported by now."""
    return [name for name in ("deepspeed", "ray") if name in sys.modules]


def main(folder: Path) -> None:
    """Runs every scenario of ``scenarios.json`` in one process group."""
    distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    results = {}
    for name, arguments in json.loads((folder / "scenarios.json").read_text()).items():
        begin = time.perf_counter()
        results[name] = globals()[arguments.pop("function")](**arguments)
        print(f"{name}: {time.perf_counter() - begin:.1f} s", flush=True)
    if os.environ["RANK"] == "0":
        torch.save(results, folder / "results.pt")
    distributed.barrier()
    distributed.destroy_process_group()
    time.sleep(0.1)  # as Runtime.close does


if __name__ == "__main__":
    main(Path(sys.argv[1]))
