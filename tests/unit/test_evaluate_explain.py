"""What is erased in turn, and that an effect is the difference it makes."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_runs
from hypothesis import given
from hypothesis import strategies as st

from lnln_dist.config import MODALITIES
from lnln_dist.data.noise import EvaluationNoise
from lnln_dist.errors import DataError, UserError
from lnln_dist.evaluate.explain import MARGIN, Plan, Without, whole
from lnln_dist.evaluate.robust import evaluate_runs
from lnln_dist.evaluate.single import predict_file
from lnln_dist.runtime import Runtime

lengths_N = st.lists(
    st.tuples(st.integers(2, 9), st.integers(1, 35), st.integers(1, 35)), min_size=1, max_size=5
)


class Samples:
    """Lengths alone."""

    def __init__(self, rows: list[tuple[int, int, int]]) -> None:
        self.lengths = dict(zip(MODALITIES, np.array(rows).T, strict=True))

    def seen(self, modality: str, row: int) -> None:
        """Nothing is missing."""


def erased(noise: Without, samples: Samples) -> dict[str, np.ndarray]:
    rows = np.arange(len(samples.lengths["text"]))
    width = {m: int(n.max()) + 1 for m, n in samples.lengths.items()}
    drawn = noise.draw(rows, 0, samples.lengths, width)
    places = {m: np.arange(width[m]) < samples.lengths[m][:, None] for m in MODALITIES}
    return {m: places[m] & ~drawn[m].keep_BT for m in MODALITIES}


@given(lengths_N)
def test_tokens_and_windows_erase_every_place_once(rows: list[tuple[int, int, int]]) -> None:
    samples = Samples(rows)
    nothing, *rest = Plan(samples).noises  # type: ignore[arg-type]
    assert not any(gone.any() for gone in erased(nothing, samples).values())
    modalities = [erased(noise, samples) for noise in rest[:3]]
    pieces = [erased(noise, samples) for noise in rest[3:]]
    for i, m in enumerate(MODALITIES):
        count = sum(piece[m].astype(int) for piece in pieces)
        np.testing.assert_array_equal(count, modalities[i][m].astype(int))
        wanted = samples.lengths[m] - 2 * MARGIN[m]
        np.testing.assert_array_equal(count.sum(axis=1), wanted)
        assert not any(modalities[i][other].any() for other in MODALITIES if other != m)


@given(lengths_N)
def test_a_whole_modality_is_what_the_noise_of_rate_1_erases(
    rows: list[tuple[int, int, int]],
) -> None:
    samples = Samples(rows)
    lengths = samples.lengths
    noise = EvaluationNoise(
        rates=dict.fromkeys(MODALITIES, 1.0), seed=1, ids=[str(i) for i in range(len(rows))]
    )
    width = {m: int(n.max()) for m, n in lengths.items()}
    every = np.arange(len(rows))
    one = Without(tuple(whole(m, lengths[m]) for m in MODALITIES)).draw(every, 0, lengths, width)
    other = noise.draw(every, 0, lengths, width)
    for m in MODALITIES:
        np.testing.assert_array_equal(one[m].keep_BT, other[m].keep_BT)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    tiny_runs.write_data(folder / "data")
    return tiny_runs.write_tiny_run(folder / "run", folder / "data")


def test_effects_of_modalities_are_the_evaluations(run: Path, tmp_path: Path) -> None:
    runtime = Runtime(cpu=True)
    found = predict_file(
        run, run.parent / "data", output=tmp_path / "p.csv", runtime=runtime, explain=True
    )
    table = pd.read_csv(tmp_path / "p.csv")
    evaluate_runs(
        [run],
        output=tmp_path / "e",
        runtime=runtime,
        rates=[0.0],
        seeds=[1],
        missing=[(m,) for m in MODALITIES],
    )
    other = pd.read_parquet(tmp_path / "e" / "predictions.parquet")
    for m in MODALITIES:
        without = other[other.pattern == f"missing:{m}"].prediction.to_numpy()
        np.testing.assert_allclose(table[f"effect_{m}"], table.prediction - without, atol=1e-6)
    assert found.explained == tmp_path / "p.explain.jsonl"
    lines = [json.loads(line) for line in found.explained.read_text().splitlines()]
    assert [line["id"] for line in lines] == table.id.tolist()
    for line, row in zip(lines, table.itertuples(), strict=True):
        assert line["effect"]["audio"] == pytest.approx(row.effect_audio, abs=1e-6)
        # A single token is the whole text, a single window the whole modality.
        if len(line["tokens"]) == 1:
            assert line["tokens"][0]["effect"] == pytest.approx(row.effect_text, abs=1e-6)


def test_windows_have_times_where_the_file_gives_them(run: Path, tmp_path: Path) -> None:
    split = pickle.loads((run.parent / "data.pkl").read_bytes())["test"]
    runtime, output = Runtime(cpu=True), tmp_path / "own.csv"

    def explain(**changes: object) -> list[dict[str, object]]:
        (tmp_path / "own.pkl").write_bytes(pickle.dumps({"test": split | changes}))
        choices = {"output": output, "runtime": runtime, "explain": True, "overwrite": True}
        found = predict_file(run, tmp_path / "own.pkl", **choices)
        assert found.explained is not None
        return [json.loads(line) for line in found.explained.read_text().splitlines()]

    lines = explain(seconds=[3.0, *[float("nan")] * 10])
    for m in ("audio", "vision"):
        assert lines[0][m][0]["seconds"][0] == 0  # type: ignore[index]
        assert lines[0][m][-1]["seconds"][1] == pytest.approx(3)  # type: ignore[index]
        assert all("seconds" not in window for window in lines[1][m])  # type: ignore[attr-defined]
    for wrong in ([1.0], [0.0] * 11, ["long"] * 11):
        with pytest.raises(DataError, match="seconds"):
            explain(seconds=wrong)


def test_neither_file_is_replaced_unasked(run: Path, tmp_path: Path) -> None:
    runtime, output = Runtime(cpu=True), tmp_path / "p.csv"
    (tmp_path / "p.explain.jsonl").write_text("mine")
    with pytest.raises(UserError, match=r"p.explain.jsonl exists"):
        predict_file(run, run.parent / "data", output=output, runtime=runtime, explain=True)
    assert not output.exists()
