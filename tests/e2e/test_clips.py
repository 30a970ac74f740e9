"""From real speech and a real face to a prediction: extract, verify, train, evaluate, predict."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from clip_files import has_espeak, write_corpus
from command_line import TINY, Command

from lnln_dist.data.schema import SPLITS
from lnln_dist.data.shards import open_dataset

for needed in ("av", "librosa", "cv2", "pysubs2", "skimage"):
    pytest.importorskip(needed)
pytestmark = pytest.mark.e2e
SIZES = {"train": 7, "valid": 7, "test": 7}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, str]]]:
    """Clips and their label file; the rows in it that cannot be used."""
    from lnln_dist.clips.faces import model_folder
    from lnln_dist.errors import UserError

    if not has_espeak():
        pytest.skip("speech is made by espeak-ng: apt-get install espeak-ng")
    try:
        model_folder()
    except UserError as err:
        pytest.skip(str(err))
    folder = tmp_path_factory.mktemp("raw")
    return folder, write_corpus(folder, SIZES)


@pytest.fixture(scope="module")
def data(raw: tuple[Path, list[tuple[str, str]]], command: Command) -> Path:
    folder, _ = raw
    made = ("extract", folder / "labels.csv", folder / "clips", folder / "data")
    own = ("--dataset", "own", "--family", "mosi", "--label-range", "-3", "3")
    done = command(*made, *own, "--tokenizer", "corpus", "--most-rejected", "0.25")
    assert "7 of 28 rows left out" in done.stdout
    return folder / "data"


@pytest.fixture(scope="module")
def trained(data: Path, command: Command) -> Path:
    run = data.with_name("run")
    cpu = ("--config", TINY, "--data.path", data, "--output", run, "--train.batch_size", "7")
    command("train", *cpu, "--train.epochs", "1")
    return run


def test_the_rejected_list_is_exact(data: Path, raw: tuple[Path, list[tuple[str, str]]]) -> None:
    with data.with_name("data.rejected.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    first = 2 + sum(SIZES.values())
    assert [int(row["line"]) for row in listed] == list(range(first, first + 7))
    for row, (name, reason) in zip(listed, raw[1], strict=True):
        assert row["id"] == name
        assert reason in row["reason"]


def test_what_is_missing_is_missing(data: Path, command: Command) -> None:
    assert "all hashes, counts and values are right" in command("verify", data).stdout
    dataset = open_dataset(data)
    for name in SPLITS:
        split = dataset.split(name)
        for k in range(SIZES[name]):
            lacks = (k + k // 7) % 7
            assert split.frames("audio", k).any() == (lacks != 0)
            seen_T = split.frames("vision", k).any(axis=1)
            assert seen_T.any() == (lacks != 1)
            assert (split.raw_text(k) == "") == (lacks == 2)
            if lacks != 1:  # the face is hidden for a fifth of the time, and found in the rest
                assert 0.05 < 1 - seen_T.mean() < 0.45


@pytest.fixture(scope="module")
def scored(trained: Path, command: Command) -> Path:
    out = trained.with_name("scores")
    command("evaluate", trained, "--output", out, "--protocol", "as-is")
    return out


def test_as_it_is_it_can_be_scored(scored: Path) -> None:
    scores = pd.read_csv(scored / "metrics.csv").query("model != 'constant'")
    mae = scores[scores.metric == "mae"]
    assert list(mae.n) == [SIZES["test"]]
    assert np.isfinite(mae.value).all()


def test_what_clips_lack_is_told(
    trained: Path, raw: tuple[Path, list[tuple[str, str]]], command: Command
) -> None:
    clip, out = raw[0] / "clips" / "test" / "0.mp4", trained.with_name("silent.csv")
    told = command("predict", trained, clip, "--output", out).stdout.splitlines()
    assert told[:2] == ["note: 1 of 1 sample has no text", "note: 1 of 1 sample has no audio"]
    assert told[-1] == f"{out}: 1 prediction of 0.mp4"


def test_one_clip_is_predicted_as_its_shard_is(
    trained: Path, scored: Path, raw: tuple[Path, list[tuple[str, str]]], command: Command
) -> None:
    clip, out = raw[0] / "clips" / "test" / "4.mp4", scored.with_name("clip.csv")
    text = open_dataset(scored.with_name("data")).split("test").raw_text(4)
    figure = ("--text", text, "--figure", out.with_suffix(".png"))
    done = command("predict", trained, clip, "--output", out, *figure)
    assert done.stdout.splitlines()[-1] == f"{out}: 1 prediction of 4.mp4"
    rest = pd.read_parquet(scored / "predictions.parquet").set_index("id").prediction
    assert "no audio" not in done.stdout
    assert "NaN" not in done.stdout
    (found,) = pd.read_csv(out).itertuples()
    assert found.id == "test$_$4"
    assert found.prediction == pytest.approx(rest[found.id], abs=1e-5)
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
