"""One table of small trainings for all distributed tests: each group of ranks is started once."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from launcher import run_scenarios

ZERO = ("zero1", "zero2", "zero3")
STRATEGIES = ("ddp", *ZERO, "fsdp2")
SPREAD = ("ddp", "zero2", "zero3", "fsdp2")
OTHERS = (
    "text",
    "late_fusion",
    "almt",
    "tfn",
    "mult",
    "tfr_net",
    "self_mm",
    "own_model:SPEC",
)  # models beside LNLN
# Optimizer steps: of a training, of its checkpoint, of a short one.
STEPS, MIDDLE, SHORT = 20, 14, 6
# What Self-MM learns of a sample in one epoch of three steps, it trains on in the next but one.
LONG, WITHIN = 11, 8
TIMEOUT_S = 240  # of a group of ranks; it takes a fifth of that on two idle cores
CROSSINGS = (("ddp", "zero3"), ("zero3", "fsdp2"), ("fsdp2", "zero1"), ("zero2", "ddp"))
HAVE_DEEPSPEED = importlib.util.find_spec("deepspeed") is not None
# Every weight is cut, none is small enough to be kept whole; buckets end within a layer.
CUT = {"stage": 3, "stage3_param_persistence_threshold": 0, "reduce_bucket_size": 700}
NARROW = {"stage": 2, "reduce_bucket_size": 700, "allgather_bucket_size": 700}
BOTH_OFF = {
    "stage": 3,
    "offload_optimizer": {"device": "cpu"},
    "offload_param": {"device": "cpu"},
}
Table = Callable[..., Any]


def training(strategy: str, **arguments: Any) -> dict[str, Any]:
    return {"function": "train", "strategy": strategy, **arguments}


def steps_of(model: str) -> int:
    return LONG if model == "self_mm" else SHORT


def scenarios(folder: Path) -> list[tuple[int, dict[str, dict[str, Any]]]]:
    """Groups in the order they run: number of ranks, then trainings by name.

    ``save`` names the run that a training leaves a checkpoint in, ``start`` one to go on from.
    """

    def saving(name: str) -> dict[str, Any]:
        return {"save": [MIDDLE, str(folder / name)]}

    def going_on(run: str, strategy: str, **arguments: Any) -> dict[str, Any]:
        return training(strategy, start=str(folder / run), **arguments)

    one = {
        "whole": training("ddp", micro_batch=None),
        "ddp": training("ddp", **saving("1-ddp")),
        "zero2": training("zero2", **saving("1-zero2")),
        "fsdp2": training("fsdp2"),
        "frozen": training("ddp", freeze="all", steps=SHORT),
    }
    for model in OTHERS:
        one[model] = training("ddp", model=model, steps=steps_of(model))
    two = {name: training(name, **saving(f"2-{name}")) for name in STRATEGIES}
    two["zero3"]["deepspeed"] = CUT
    two |= {
        "zero2 undivided": training("zero2", micro_batch=None),
        "zero2 narrow": training("zero2", deepspeed=NARROW),
        "zero2 offload": training("zero2", offload=True, steps=SHORT),
        "zero3 offload": training("zero3", deepspeed=BOTH_OFF, steps=SHORT),
        "zero3 frozen": training("zero3", freeze="all", steps=SHORT, deepspeed=CUT),
        "fsdp2 frozen": training("fsdp2", freeze="all", steps=SHORT),
    }
    for model in OTHERS:
        steps = steps_of(model)
        two |= {f"{name} {model}": training(name, model=model, steps=steps) for name in SPREAD}
    then: dict[str, dict[str, Any]] = {}
    for name in SPREAD:
        two[f"{name} self_mm"]["save"] = [WITHIN, str(folder / f"2-{name} self_mm")]
        then[f"{name} self_mm again"] = going_on(
            f"2-{name} self_mm", name, model="self_mm", steps=LONG
        )
        two[f"{name} checkpointed"] = training(name, checkpoint_activations=True, steps=SHORT)
    two["zero3 checkpointed"]["deepspeed"] = CUT
    for name in STRATEGIES:
        half = {"precision": "bf16", "steps": SHORT}
        save = [SHORT - 2, str(folder / f"2-{name} bf16")]
        two[f"{name} bf16"] = training(name, **half, save=save)
        then[f"{name} bf16 again"] = going_on(f"2-{name} bf16", name, **half)
        then[f"{name} again"] = going_on(f"2-{name}", name)
    then["zero3 again"]["deepspeed"] = CUT
    then |= {f"{old} to {new}": going_on(f"2-{old}", new) for old, new in CROSSINGS}
    then |= {
        "1 ddp": going_on("1-ddp", "ddp"),
        "1 ddp to fsdp2": going_on("1-ddp", "fsdp2"),
        "1 zero2": going_on("1-zero2", "zero2"),
    }
    three = {name: training(name) for name in STRATEGIES}
    three |= {f"2 {name}": going_on(f"2-{name}", name) for name in STRATEGIES}
    three["2 zero3"]["deepspeed"] = CUT
    again = {f"2 {name}": going_on(f"2-{name}", name) for name in STRATEGIES}
    groups = [(1, one), (2, two), (2, then), (3, three), (1, again)]
    return [(world, part) for world, group in groups for part in apart(group)]


def apart(group: dict[str, dict[str, Any]]) -> list[dict[str, dict[str, Any]]]:
    """FSDP2 in processes of its own: no run mixes it with DeepSpeed, which patches torch."""
    sharded = {name: one for name, one in group.items() if one["strategy"] == "fsdp2"}
    return [{name: one for name, one in group.items() if name not in sharded}, sharded]


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """``table(ranks, name)`` gives a training's result; groups run when first asked for."""
    folder = tmp_path_factory.mktemp("table")
    waiting = scenarios(folder)
    results: dict[tuple[int, str], Any] = {}

    def run_next() -> None:
        world, group = waiting.pop(0)
        wanted = {n: scenario for n, scenario in group.items() if HAVE_DEEPSPEED or "zero" not in n}
        place = folder / f"group-{len(waiting)}"
        for name, result in run_scenarios(world, wanted, folder=place, timeout_s=TIMEOUT_S).items():
            results[world, name] = result

    def look_up(world: int, name: str) -> Any:
        if "zero" in name and not HAVE_DEEPSPEED:
            pytest.skip("deepspeed is not installed: pip install -e '.[deepspeed]'")
        while (world, name) not in results and waiting:
            run_next()
        return results[world, name]

    return look_up
