"""What a launch set up, one JSON line per rank; a user's error as the program shows it."""

import json
import sys

import torch
from torch import distributed, nn

from lnln_dist import console
from lnln_dist.runtime import Runtime


def show(argv: list[str]) -> int:
    """One step of a small model under the launcher's strategy, or under the one named."""
    runtime = Runtime(timeout_s=60, strategy=argv[0] if argv else "auto")
    model = nn.Sequential(nn.ModuleList([nn.Linear(4, 4)])[0], nn.Linear(4, 1))
    model, optimizer = runtime.prepare(model, torch.optim.AdamW(model.parameters(), lr=0.1))
    with runtime.accumulate(model, last=True):
        loss = model(torch.ones(2, 4)).mean()
        runtime.backward(loss / runtime.world)
    result = runtime.check_clip_step(model, optimizer, terms={"loss": loss}, clip_norm=1.0)
    shown = {
        "rank": runtime.rank,
        "world": runtime.world,
        "strategy": runtime.launch.strategy,
        "offload": runtime.launch.offload,
        "device": runtime.device.type,
        "backend": distributed.get_backend() if distributed.is_initialized() else None,
        "kind": type(model).__name__,
        "norm": result.grad_norm,
    }
    print("\n" + json.dumps(shown), flush=True)
    runtime.close()
    return 0


if __name__ == "__main__":
    sys.exit(console.finish(show, sys.argv[1:]))
