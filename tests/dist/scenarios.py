"""What the ranks of the distributed tests run; started by ``launcher.run_scenarios``."""

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from builders import SHAPES, TOKENIZER, random_batch, small_config, take
from torch import distributed

from lnln_dist.config import Config, LossConfig, OptimConfig, TrainConfig
from lnln_dist.data.plan import Plan
from lnln_dist.models import LNLN
from lnln_dist.models.text import build_encoder
from lnln_dist.runtime import FullState, Runtime
from lnln_dist.train import checkpoint, optim
from lnln_dist.train.checkpoint import TrainState
from lnln_dist.train.loop import train_step
from lnln_dist.train.preemption import Notice
from lnln_dist.train.task import ENCODER, Task
from lnln_dist.types import Batch

SIZE = 13  # samples; steps of 5, 5 and 3


def corpus() -> Batch:
    """Samples of many lengths, in float32."""
    generator = torch.Generator().manual_seed(5)

    def lengths(longest: int) -> tuple[int, ...]:
        drawn = torch.randint(1, longest + 1, (SIZE,), generator=generator).tolist()
        return (longest, *drawn[1:])

    batch = random_batch(lengths={"text": lengths(12), "audio": lengths(20), "vision": lengths(16)})
    return single(batch)


def single(value: Any) -> Any:
    """Doubles to floats, through named tuples."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.dtype == torch.float64 else value
    return type(value)(*(single(part) for part in value))


def make_task(freeze: str = "none") -> Task:
    """A small network with random weights, the same on every rank."""
    torch.manual_seed(1)
    config = small_config(freeze=freeze)
    encoder = build_encoder(config.encoder, tokenizer=TOKENIZER, max_length=SHAPES.text_length)
    model = LNLN(config, encoder, SHAPES)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    return Task(model, completeness="nominal")


def train(
    *,
    strategy: str = "ddp",
    precision: str = "fp32",
    offload: bool = False,
    freeze: str = "none",
    micro_batch: int | None = None,
    steps: int = 20,
    clip_norm: float = 1.0,
    start: str | None = None,
    stop: str | None = None,
) -> dict[str, Any]:
    """Trains the small network; returns losses, norms and the whole state at the end.

    Args:
        strategy: of the runtime, as ``precision`` and ``offload``.
        precision: arithmetic.
        offload: optimizer state in host memory.
        freeze: part of the encoder that is not trained.
        micro_batch: as ``train.micro_batch``.
        steps: optimizer step to stop before.
        clip_norm: as ``optim.clip_norm``.
        start: folder of a run whose checkpoint to go on from.
        stop: folder to leave a checkpoint in.
    """
    runtime = Runtime(precision=precision, cpu=True, strategy=strategy, offload=offload)
    config = Config(
        loss=LossConfig(),
        optim=OptimConfig(lr=1e-3, clip_norm=clip_norm),
        train=TrainConfig(batch_size=5, micro_batch=micro_batch),
    )
    plan = Plan(size=SIZE, batch_size=5, world=runtime.world, micro_batch=micro_batch, seed=3)
    task = make_task(freeze)
    optimizer = optim.make_optimizer(task, config.optim, encoder_prefix=ENCODER)
    state, full = TrainState(), None
    if start:
        [folder] = checkpoint.checkpoints(Path(start))
        state, full = checkpoint.load(folder) if runtime.is_main else (None, FullState())
        state = runtime.broadcast_object(state)
    wrapped, optimizer = runtime.prepare(task, optimizer, full)
    wrapped.train()
    run: Any = SimpleNamespace(
        config=config,
        runtime=runtime,
        task=wrapped,
        optimizer=optimizer,
        state=state,
        notice=Notice(),
    )
    data, losses, norms = corpus(), [], []
    for step in range(state.step, steps):
        epoch, within = divmod(step, plan.steps_per_epoch)
        optim.set_rates(optimizer, 1 / (1 + 0.1 * step))
        batches = [
            take(data, items.rows.tolist())._replace(weight_B=torch.from_numpy(items.weights))
            for items in plan.micro_batches(epoch, within, runtime.rank)
        ]
        state.step = step
        result = train_step(run, batches, plan.samples(epoch, within))
        losses.append(result.terms)
        norms.append(result.grad_norm)
    state.step = steps
    whole = runtime.full_state(wrapped, optimizer)
    if stop:
        runtime.on_main(lambda: checkpoint.save(Path(stop), state, whole, keep=1))
    shown = uneven_evaluation(runtime, wrapped, data)
    kind = type(wrapped).__name__
    runtime.close()
    return {
        "losses": losses,
        "norms": norms,
        "weights": whole.weights,
        "slots": whole.slots,
        "evaluated": shown,
        "kind": kind,
    }


def uneven_evaluation(runtime: Runtime, wrapped: Any, data: Batch) -> torch.Tensor:
    """Predictions, rank 0 running one batch more than the others."""
    with runtime.evaluation(wrapped) as task, torch.inference_mode():
        model = task.get_submodule("model").eval()
        for _ in range(2 if runtime.is_main else 1):
            with runtime.autocast():
                outputs = model(data, complete=False)
    wrapped.train()
    return outputs.sentiment_B.float()


def modules() -> list[str]:
    """Names of big packages that are imported by now."""
    return [name for name in ("deepspeed", "ray", "tensorboard") if name in sys.modules]


def main(folder: Path) -> None:
    """Runs every scenario of ``scenarios.json`` in one process group."""
    limit = timedelta(seconds=60)
    distributed.init_process_group("gloo", timeout=limit)
    results = {}
    for name, arguments in json.loads((folder / "scenarios.json").read_text()).items():
        print("scenario", name, flush=True)
        results[name] = globals()[arguments.pop("function")](**arguments)
    if os.environ["RANK"] == "0":
        torch.save(results, folder / "results.pt")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
