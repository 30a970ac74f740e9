"""DeepSpeed configs: filled in, or refused where they contradict the training config."""

from typing import Any

import pytest

from lnln_dist.errors import TrainingError
from lnln_dist.runtime.launch import Launch
from lnln_dist.runtime.zero_config import BUCKET, deepspeed_config


def made(stage: int = 2, given: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    launch = {
        "precision": "fp32",
        "strategy": f"zero{stage}",
        "offload": False,
        "on_cpu": True,
        "world": 2,
        "deepspeed": given or {},
        **changes,
    }
    return deepspeed_config(Launch(**launch))


def test_everything_is_filled_in() -> None:
    config = made()
    buckets = {"reduce_bucket_size": BUCKET, "allgather_bucket_size": BUCKET}
    assert config["zero_optimization"] == {"stage": 2, **buckets}
    assert made(3)["zero_optimization"] == {"stage": 3, "reduce_bucket_size": BUCKET}
    assert config["gradient_accumulation_steps"] == config["train_micro_batch_size_per_gpu"] == 1
    assert config["gradient_clipping"] == 0
    assert config["bf16"] == {"enabled": False}
    assert "data_types" not in config


def test_tuning_of_the_launcher_is_kept_and_not_changed_in_place() -> None:
    given = {"zero_optimization": {"stage": 3, "reduce_bucket_size": 7}, "bf16": {}}
    config = made(3, given, precision="bf16")
    assert config["zero_optimization"]["reduce_bucket_size"] == 7
    assert config["bf16"] == {"enabled": True}
    assert given["bf16"] == {}


@pytest.mark.parametrize(("stage", "offload", "kept"), [(1, False, False), (1, True, True)])
def test_sums_over_micro_batches_keep_float32(stage: int, offload: bool, kept: bool) -> None:
    assert ("data_types" in made(stage, precision="bf16", offload=offload)) is kept
    assert made(2, precision="bf16")["data_types"] == {"grad_accum_dtype": "fp32"}


def test_offload_keeps_the_launchers_own_section() -> None:
    assert made(offload=True)["zero_optimization"]["offload_optimizer"] == {"device": "cpu"}
    own = {"device": "cpu", "pin_memory": True}
    given = {"zero_optimization": {"stage": 2, "offload_optimizer": own}}
    assert made(2, given, offload=True)["zero_optimization"]["offload_optimizer"] == own


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gradient_accumulation_steps": 4}, "train.micro_batch"),
        ({"gradient_clipping": 1.0}, "optim.clip_norm"),
        ({"train_batch_size": 64}, "train.batch_size"),
        ({"optimizer": {"type": "AdamW"}}, "optim of the training config"),
        ({"bf16": {"enabled": True}}, "bf16.enabled: True, the config train.precision fp32"),
        ({"zero_optimization": {"stage": 3}}, "stage 3, the config for train.strategy zero2"),
        ({"zero_optimization": {"offload_param": {"device": "nvme"}}}, "only cpu is supported"),
        ({"zero_optimization": {"reduce_bucket_size": "auto"}}, "reduce_bucket_size: auto"),
        ({"zero_force_ds_cpu_optimizer": True}, "zero_force_ds_cpu_optimizer"),
    ],
)
def test_contradictions_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        made(2, given)


def test_what_says_auto_or_the_same_is_fine() -> None:
    given = {
        "train_batch_size": "auto",
        "gradient_accumulation_steps": 1,
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": False},
    }
    assert made(2, given) == made(2)
