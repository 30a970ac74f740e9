"""Launch files: Accelerate and DeepSpeed read every one; those for the CPU start what they say."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.commands.config import load_config_from_file
from launcher import run_command

from lnln_dist.runtime.launch import Launch
from lnln_dist.runtime.zero import deepspeed_config

pytestmark = [pytest.mark.dist, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]
YAML = sorted((ROOT / "launch" / "accelerate").glob("*.yaml"))
JSON = sorted((ROOT / "launch" / "deepspeed").glob("*.json"))
NAMES = {path.stem for path in YAML}
SHOW = str(ROOT / "tests" / "dist" / "show_launch.py")
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"
)


def zero_file(config: Any) -> str | None:
    return (getattr(config, "deepspeed_config", None) or {}).get("deepspeed_config_file")


def launch(folder: Path, *options: str, code: int = 0, **variables: str) -> str:
    """Runs ``accelerate launch OPTIONS show_launch.py``; its output."""
    call = [sys.executable, "-m", "accelerate.commands.launch", *options]
    done, text = run_command(call, folder=folder, timeout_s=150, **variables)
    assert done != -1, text[-4000:]
    assert (done != 0) == bool(code), text[-4000:]
    return text


def shown(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines() if line.startswith('{"rank"')]
    return sorted(found, key=lambda line: int(line["rank"]))


def test_the_list_is_complete() -> None:
    wanted = {"one_gpu", "cpu1", "ddp", "cpu2", "zero2_offload", "cpu2_zero2_offload", "fsdp2"}
    wanted |= {f"{prefix}zero{stage}" for prefix in ("", "cpu2_") for stage in (1, 2, 3)}
    assert wanted | {"cpu2_fsdp2"} == NAMES
    used = {
        Path(file).stem for path in YAML if (file := zero_file(load_config_from_file(str(path))))
    }
    assert used == {path.stem for path in JSON}


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.stem)
def test_accelerate_reads_it(path: Path) -> None:
    raw = yaml.safe_load(path.read_text())
    config = load_config_from_file(str(path))  # raises on a key it does not know
    assert config.num_processes == raw["num_processes"]
    first, command = path.read_text().splitlines()[:2]
    assert first.startswith("# ")
    assert f"--config_file launch/accelerate/{path.name}" in command
    assert not path.stem.startswith("cpu2") or raw["num_processes"] == 2
    # Precision, batch and clipping are the training config's; ZeRO tuning is the JSON file's.
    assert "mixed_precision" not in raw
    zero = raw.get("deepspeed_config", {})
    assert set(zero) <= {"deepspeed_config_file", "deepspeed_multinode_launcher", "zero3_init_flag"}
    if zero:
        assert (ROOT / zero["deepspeed_config_file"]).is_file()


@needs_deepspeed
@pytest.mark.filterwarnings("ignore")  # of DeepSpeed's import
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("path", JSON, ids=lambda path: path.stem)
def test_deepspeed_reads_it(path: Path, precision: Any) -> None:
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    given = json.loads(path.read_text())
    stage = given["zero_optimization"]["stage"]
    launch = Launch(
        precision=precision,
        strategy=f"zero{stage}",
        offload="offload" in path.stem,
        on_cpu=True,
        world=2,
        deepspeed=given,
    )
    filled = deepspeed_config(launch)
    assert filled["bf16"]["enabled"] is (precision == "bf16")
    assert "auto" not in json.dumps(filled)
    # It forbids keys that it does not know.
    assert DeepSpeedZeroConfig(**filled["zero_optimization"]).stage == stage


STARTED = {
    "cpu1": ("ddp", 1, False),
    "cpu2": ("ddp", 2, False),
    "cpu2_zero1": ("zero1", 2, False),
    "cpu2_zero2": ("zero2", 2, False),
    "cpu2_zero3": ("zero3", 2, False),
    "cpu2_zero2_offload": ("zero2", 2, True),
    "cpu2_fsdp2": ("fsdp2", 2, False),
}


@pytest.mark.parametrize("name", STARTED)
def test_it_starts_what_it_says(tmp_path: Path, name: str) -> None:
    strategy, world, offload = STARTED[name]
    if "zero" in name and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed: pip install -e '.[deepspeed]'")
    file = f"launch/accelerate/{name}.yaml"
    extensions = tmp_path / "extensions"
    options = ("--config_file", file, "--main_process_port", "0", SHOW)
    ranks = shown(launch(tmp_path, *options, TORCH_EXTENSIONS_DIR=str(extensions)))
    # Nothing is compiled at the first start: no stale lock can stop a run.
    assert not extensions.exists() or not list(extensions.iterdir())
    assert [line["rank"] for line in ranks] == list(range(world))
    for line in ranks:
        assert (line["strategy"], line["world"], line["offload"]) == (strategy, world, offload)
        assert line["device"] == "cpu"
        assert line["backend"] == (None if world == 1 else "gloo")
        assert line["norm"] == ranks[0]["norm"]


REFUSED = {
    "one process of two": (("--cpu", "--num_processes", "2"), "asked for 2 processes and started"),
    "another precision": (
        ("--multi_gpu", "--num_processes", "2", "--mixed_precision", "bf16"),
        "mixed_precision bf16, the config train.precision fp32",
    ),
    "accumulation": (
        ("--use_deepspeed", "--num_processes", "1", "--gradient_accumulation_steps", "4"),
        "set train.micro_batch instead",
    ),
}


@needs_deepspeed
@pytest.mark.parametrize("case", REFUSED)
def test_a_launch_that_is_not_what_it_looks_like_is_refused(tmp_path: Path, case: str) -> None:
    options, message = REFUSED[case]
    text = launch(tmp_path, *options, "--main_process_port", "0", SHOW, code=1)
    errors = [line for line in text.splitlines() if line.startswith("lnln-dist: error: ")]
    assert errors
    assert all(message in line for line in errors)


@needs_deepspeed
def test_a_launcher_of_another_strategy_is_refused(tmp_path: Path) -> None:
    options = ("--use_deepspeed", "--zero_stage", "3", "--num_processes", "1")
    text = launch(tmp_path, *options, "--main_process_port", "0", SHOW, "zero2", code=1)
    assert "accelerate launch asks for zero3, the config for train.strategy zero2" in text
