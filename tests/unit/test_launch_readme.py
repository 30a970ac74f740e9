"""The page "from one GPU to 64": its table is the program's, its advice fits, its commands run."""

import dataclasses
import functools
import json
import re
import shlex
from pathlib import Path

import pytest
from launch_files import LAUNCH, ROOT, StandIns

from lnln_dist import settings
from lnln_dist.cost.__main__ import SHAPES, command
from lnln_dist.cost.memory import (
    HEADROOM,
    Activations,
    Parameters,
    activations,
    footprint,
    sizes_of,
)
from lnln_dist.cost.skeleton import Lengths, Skeleton
from lnln_dist.data.presets import PRESETS
from lnln_dist.doctor.__main__ import make_parser as doctor_parser
from lnln_dist.models.shapes import InputShapes
from lnln_dist.train.__main__ import make_parser as train_parser

PAGE = (LAUNCH / "README.md").read_text()
OPTIONS, PRINTED = re.findall(r"<!-- cost (.*?) -->\n(.*?)<!-- end -->", PAGE, re.S)[0]
BERT = {"model_type": "bert"}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
ENCODERS = {"BERT-base": BERT, "BERT-large": BERT | LARGE | {"intermediate_size": 4096}}
COMMANDS = re.findall(r"`((?:bash|sbatch|lnln-dist) [^`]+)`", PAGE.split("## How a run ends")[0])


def skeleton_of(folder: Path, encoder: str, **changes: object) -> tuple[Skeleton, Lengths]:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(ENCODERS[encoder]))
    lengths, widths = SHAPES["mosi"]
    shapes = InputShapes.of(widths=widths, lengths=lengths)
    config = settings.build({"model": {"encoder": {"name": str(folder), **changes}}})
    made = Skeleton(config, tokenizer=PRESETS["mosi"].tokenizer, shapes=shapes)
    return made, Lengths.longest(shapes)


def test_the_table_is_what_the_program_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = OPTIONS.split()
    assert f"'{json.dumps(BERT)}' > {words[-1]}/config.json" in PAGE
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    assert command([*words[:-1], str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == PRINTED.strip()


def test_what_it_advises_fits_the_card(tmp_path: Path) -> None:
    rows = re.findall(r"^\| (BERT-\w+)[^|]*, (\d+) \|(.*)\|$", PAGE, re.M)
    assert [row[:2] for row in rows] == [
        ("BERT-base", "64"), ("BERT-base", "256"), ("BERT-large", "64")
    ]  # fmt: skip

    @functools.cache
    def parts(encoder: str, precision: str, saving: bool) -> tuple[Parameters, Activations, int]:
        made, lengths = skeleton_of(tmp_path / encoder, encoder, checkpoint_activations=saving)
        one, two = (activations(made, size=n, lengths=lengths, precision=precision) for n in (1, 2))
        return sizes_of(made.model), one, two.samples - one.samples

    for encoder, samples, cells in rows:
        for advice, card in zip(cells.split("|"), (8, 12, 16, 24, 40), strict=True):
            strategy = re.match(r" (DDP|ZeRO \d)", advice)[1].replace(" ", "").lower()
            precision = "bf16" if "bf16" in advice else "fp32"
            counted, kept, each = parts(encoder, precision, "checkpointed" in advice)
            size = 1 if "accumulate" in advice else int(samples)
            kept = dataclasses.replace(kept, samples=kept.samples + (size - 1) * each)
            used = footprint(counted, strategy, world=8, precision=precision, kept=kept)
            assert used.device + HEADROOM <= card * 2**30, (encoder, samples, card, advice)


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
