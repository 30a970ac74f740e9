"""What accelerate launch leaves in the environment: read, or refused where it would be ignored."""

import json
from pathlib import Path

import pytest

from lnln_dist.errors import TrainingError
from lnln_dist.runtime.launcher import read_launcher

DEEPSPEED = {"ACCELERATE_USE_DEEPSPEED": "true"}
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}


def test_no_launcher_asks_for_nothing() -> None:
    assert read_launcher({}) == (None, {})
    assert read_launcher({"ACCELERATE_USE_DEEPSPEED": "false"}) == (None, {})


def test_zero_from_options() -> None:
    assert read_launcher(DEEPSPEED) == ("zero2", {"zero_optimization": {"stage": 2}})
    asked = {
        **DEEPSPEED,
        "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3",
        "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "cpu",
        "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "none",
    }
    zero = {"stage": 3, "offload_param": {"device": "cpu"}}
    assert read_launcher(asked) == ("zero3", {"zero_optimization": zero})


def test_zero_from_a_file(tmp_path: Path) -> None:
    given = {"zero_optimization": {"stage": 1, "reduce_bucket_size": 5}}
    (tmp_path / "z.json").write_text(json.dumps(given))
    asked = {**DEEPSPEED, "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(tmp_path / "z.json")}
    assert read_launcher(asked) == ("zero1", given)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such DeepSpeed config"),
        ("{", "not a readable DeepSpeed config"),
        ("{}", "needs a zero_optimization section"),
        ('{"zero_optimization": {"stage": 0}}', "ZeRO stage 0: choose stage 1, 2 or 3"),
        ('{"zero_optimization": {}}', "ZeRO stage None"),
        ('{"zero_optimization": {"stage": "auto"}}', "ZeRO stage auto"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "z.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TrainingError, match=message):
        read_launcher({**DEEPSPEED, "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(path)})


@pytest.mark.parametrize(
    ("environment", "remedy"),
    [
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "set train.micro_batch instead"),
        ({"ACCELERATE_GRADIENT_CLIPPING": "1.0"}, "set optim.clip_norm instead"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "leave dynamo_backend out"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "use DDP, DeepSpeed or FSDP2"),
        ({**DEEPSPEED, "ACCELERATE_DEEPSPEED_ZERO3_INIT": "true"}, "zero3_init_flag: false"),
        ({**FSDP, "FSDP_VERSION": "1"}, "fsdp_version: 2"),
        ({**FSDP, "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, "ram_efficient_loading: false"),
        ({**FSDP, "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}, "checkpoints are whole"),
        ({**FSDP, "FSDP_AUTO_WRAP_POLICY": "NO_WRAP"}, "every repeated layer is wrapped"),
    ],
)
def test_what_would_be_ignored_is_refused(environment: dict[str, str], remedy: str) -> None:
    with pytest.raises(TrainingError, match=f"which has no effect: .*{remedy}"):
        read_launcher(environment)


def test_what_says_the_same_is_fine() -> None:
    same = {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1", "ACCELERATE_DYNAMO_BACKEND": "NO"}
    assert read_launcher({**same, **FSDP, "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"})[0] == "fsdp2"
