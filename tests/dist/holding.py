"""What a rank holds while it starts, evaluates and saves: counted in its allocator, as JSON.

    python holding.py STRATEGY FOLDER

A stack of equal layers stands for a network, so that whole ones are told from parts by size.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from lnln_dist.runtime import Runtime

LAYERS, WIDTH = 16, 256
LAYER = 4 * WIDTH**2  # bytes
# What DeepSpeed would hold besides: buffers, and whole what is small or soon needed again.
TIGHT = {
    "stage": 3,
    "reduce_bucket_size": WIDTH**2,
    "stage3_prefetch_bucket_size": 0,
    "stage3_param_persistence_threshold": 0,
}


class Stack(nn.Module):
    """Layers one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(WIDTH))  # of the outermost unit
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x).tanh()
        return x * self.scale


@contextmanager
def counted(into: dict[str, Any], name: str) -> Iterator[None]:
    """Notes bytes that the block allocated: the most at any time, and those left at its end."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        yield
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    into[name] = {"most": most / LAYER, "left": now / LAYER}


def main(strategy: str, folder: Path) -> None:
    """Starts, evaluates, trains a step, evaluates and gathers; leaves the counts in a file."""
    if strategy == "zero3":
        (folder / "zero.json").write_text(json.dumps({"zero_optimization": TIGHT}))
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
        os.environ["ACCELERATE_DEEPSPEED_CONFIG_FILE"] = str(folder / "zero.json")
    runtime = Runtime(cpu=True, strategy=strategy)
    found: dict[str, Any] = {}
    x = torch.ones(2, WIDTH)
    torch.manual_seed(0)
    with counted(found, "start"):
        model = runtime.build(lambda _: Stack())
        optimizer = torch.optim.AdamW(model.parameters())
        model, optimizer = runtime.prepare(model, optimizer)
    for name in ("evaluation", "evaluation after a step"):
        with (
            counted(found, name),
            runtime.evaluation(model) as module,
            runtime.without_gradients(),
        ):
            found[f"{name}: sum"] = float(module(x).sum())
        with counted(found, "weights"):
            kept = runtime.weights(model)
        assert len(kept) == (LAYERS + 1 if runtime.is_main else 0)
        for _ in range(2):
            with counted(found, "step"):
                loss = model(x).square().sum()
                runtime.backward(loss)
                runtime.check_clip_step(model, optimizer, terms={"loss": loss}, clip_norm=1.0)
    (folder / f"held-{runtime.rank}.json").write_text(json.dumps(found))
    runtime.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
