"""The page "from one GPU to 64": its tables are the program's, its commands are taken."""

import re
import shlex
from pathlib import Path

import pytest
from launch_files import LAUNCH, ROOT, StandIns

from lnln_dist.cost.__main__ import command
from lnln_dist.doctor.__main__ import make_parser as doctor_parser
from lnln_dist.train.__main__ import make_parser as train_parser

PAGE = (LAUNCH / "README.md").read_text()
BLOCKS = re.findall(r"<!-- cost (.*?) -->\n(.*?)<!-- end -->", PAGE, re.S)
ENCODERS = {
    "/tmp/bert-large": '{"model_type": "bert", "hidden_size": 1024, "num_hidden_layers": 24, '
    '"num_attention_heads": 16, "intermediate_size": 4096}',
    "/tmp/bert": '{"model_type": "bert"}',
}
COMMANDS = re.findall(r"`((?:bash|sbatch|lnln-dist) [^`]+)`", PAGE.split("## How a run ends")[0])


@pytest.mark.parametrize(("options", "printed"), BLOCKS, ids=[b[0][-40:] for b in BLOCKS])
def test_tables_are_what_the_program_prints(
    options: str, printed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = options.split()
    at = words.index("--model.encoder.name") + 1
    assert ENCODERS[words[at]] in PAGE
    (tmp_path / "config.json").write_text(ENCODERS[words[at]])
    words[at] = str(tmp_path)
    assert command(words) == 0
    assert capsys.readouterr().out.strip() == printed.strip()


def test_the_page_has_its_tables() -> None:
    assert len(BLOCKS) == 3
    assert all("512 GPUs" in printed or "checkpoint" in options for options, printed in BLOCKS)


def test_files_it_names_exist() -> None:
    named = set(re.findall(r"\b((?:launch|configs|lnln_dist|tests)/[\w./]*\w)", PAGE))
    assert {"launch/multinode.sh", "launch/kubernetes/train.yaml"} <= named
    assert not [name for name in named if not list(ROOT.glob(f"{name}*"))]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_taken(line: str, tmp_path: Path) -> None:
    programs = StandIns(tmp_path)
    programs.add("nvidia-smi", "for i in 0 1 2 3 4 5 6 7; do echo GPU; done")
    for name in ("accelerate", "torchrun", "ssh", "srun"):
        programs.add(name)
    programs.add("scontrol", "echo node0")
    words = shlex.split(line.replace("--rank I", "--rank 1").replace("node0", "127.0.0.1"))
    if words[0] == "lnln-dist":
        parser = {"doctor": doctor_parser, "train": train_parser}.get(words[1])
        if parser is not None:
            parser().parse_args(words[2:], defaults=False)
        return
    job = {}
    if words[0] == "sbatch":
        words = words[words.index("launch/slurm.sbatch") :]
        names = ("SLURM_NNODES", "SLURM_GPUS_ON_NODE", "SLURM_JOB_ID")
        job = dict.fromkeys(names, "8") | {"SLURM_JOB_NODELIST": "n", "SLURM_SUBMIT_DIR": str(ROOT)}
    else:
        words = words[1:]
    code, said = programs.run(*words, **job)
    assert code == 0, said
    assert [
        p for p in ("accelerate", "torchrun", "ssh", "srun") if list(tmp_path.glob(f"{p}.arg*"))
    ]


def test_there_are_commands_to_test() -> None:
    scripts = {word for line in COMMANDS for word in line.split() if word.startswith("launch/")}
    assert {
        "launch/local.sh", "launch/multinode.sh", "launch/hostfile.sh", "launch/elastic.sh",
        "launch/slurm.sbatch",
    } <= scripts  # fmt: skip
