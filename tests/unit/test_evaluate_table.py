"""Evaluations as terminal tables."""

import io
import math
from typing import Any

import pandas as pd
import pytest

from lnln_dist.evaluate.results import COLUMNS
from lnln_dist.evaluate.table import show
from lnln_dist.metrics import METRICS
from lnln_dist.report.seeds import over_rates, over_seeds


def rows(
    run: str,
    value: float,
    *,
    rate: float,
    seed: int,
    pattern: str = "random",
    absent: bool = False,
) -> list[dict]:
    return [
        {
            "run": run,
            "model": "lnln",
            "train_seed": 1,
            "split": "test",
            "protocol": "paper",
            "pattern": pattern,
            "rate": rate,
            "rate_text": rate,
            "rate_audio": 0.0 if pattern != "random" else rate,
            "rate_vision": 1.0 if absent else 0.0 if pattern != "random" else rate,
            "erased_text": rate,
            "erased_audio": 0.25 * seed,
            "erased_vision": 0.0,
            "noise_seed": seed,
            "metric": metric,
            "value": math.nan if metric == "corr" and rate == 0.5 and seed == 1 else value,
            "n": 4,
            "checkpoint": "best",
            "selected_on": "valid",
        }
        for metric in METRICS["mosi"]
    ]


def floors(run: str, value: float) -> list[dict]:
    return [
        {"run": run, "model": "constant", "metric": m, "n": 4}
        | {"value": math.nan if m == "corr" else value}
        for m in METRICS["mosi"]
    ]


def frame(*parts: list[dict]) -> pd.DataFrame:
    return pd.DataFrame([row for part in parts for row in part], columns=list(COLUMNS))


def test_rates_stay_apart_where_a_modality_is_absent() -> None:
    metrics = frame(
        rows("a", 0.8, rate=0.0, seed=1, absent=True),
        rows("a", 0.6, rate=0.5, seed=2, absent=True),
        floors("a", 0.4),
    )
    cells = over_seeds(metrics)
    assert list(cells.index) == [("random", 0.0), ("random", 0.5)]
    assert cells["mae"].tolist() == [0.8, 0.6]


@pytest.fixture
def one() -> pd.DataFrame:
    return frame(
        rows("a", 0.8, rate=0.0, seed=1),
        rows("a", 0.8, rate=0.0, seed=2),
        rows("a", 0.5, rate=0.5, seed=1),
        rows("a", 0.7, rate=0.5, seed=2),
        rows("a", 0.3, rate=1.0, seed=1, pattern="missing:text"),
        floors("a", 0.4567),
    )


def record(run: str, group: str = "g", **more: Any) -> dict[str, Any]:
    data = {"family": "mosi", "dataset": "mosi", "samples": 4, "notes": []}
    return {"run": run, "group": group, "task": "regression", **data, **more}


def summary(*records: dict[str, Any], alarms: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "split": "test",
        "protocol": "paper",
        "protocol_words": "paper v1: random at 0, 0.5",
        "checkpoint": "best",
        "runs": list(records),
        "alarms": list(alarms),
    }


def printed(metrics: pd.DataFrame, about: dict[str, Any], encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    show(metrics, about, file=file)
    file.flush()
    return raw.getvalue().decode(encoding)


def cells(text: str, label: str, erased: str = "") -> list[str]:
    (line,) = [x for x in text.splitlines() if x.startswith(f"{label} ")]
    return line.removeprefix(label).replace(erased, "", 1).split()


def test_scores_are_averaged_over_seeds_then_rates(one: pd.DataFrame) -> None:
    table = over_seeds(one)
    assert table.loc[("random", 0.5), "mae"] == pytest.approx(0.6)
    assert over_rates(one)["mae"] == pytest.approx(0.7)


def test_an_undefined_part_leaves_the_mean_undefined(one: pd.DataFrame) -> None:
    assert math.isnan(over_seeds(one).loc[("random", 0.5), "corr"])
    assert math.isnan(over_rates(one)["corr"])


def test_a_run_shows_rates_mean_missing_and_floor(one: pd.DataFrame) -> None:
    text = printed(one, summary(record("a")))
    assert cells(text, "0.0", "0.00 0.38 0.00") == ["0.8000"] * 9
    assert cells(text, "0.5", "0.50 0.38 0.00") == ["0.6000"] * 8 + ["-"]
    assert cells(text, "mean") == ["0.7000"] * 8 + ["-"]
    assert cells(text, "missing:text", "1.00 0.25 0.00") == ["0.3000"] * 9
    assert cells(text, "constant") == ["0.4567"] * 8 + ["-"]
    assert "selected on: valid" in text
    assert text.startswith("protocol paper v1: random at 0, 0.5\n")
    assert text.index("mean") < text.index("missing:text") < text.index("constant")


def test_a_protocol_without_rates_has_its_mean_over_all_conditions() -> None:
    metrics = frame(
        rows("a", 0.8, rate=0.0, seed=1, pattern="clean"),
        rows("a", 0.4, rate=0.3, seed=1, pattern="block:middle:text"),
        floors("a", 0.4567),
    )
    text = printed(metrics, summary(record("a")))
    assert cells(text, "block:middle:text 0.3", "0.30 0.25 0.00") == ["0.4000"] * 9
    assert cells(text, "clean", "0.00 0.25 0.00") == ["0.8000"] * 9
    assert cells(text, "mean") == ["0.6000"] * 9


def test_arrows_say_what_is_better(one: pd.DataFrame) -> None:
    text = printed(one, summary(record("a")))
    assert text.count("\u2191") == 8
    assert text.count("\u2193") == 1


def test_output_without_unicode_or_terminal_is_plain_and_whole(
    one: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = printed(one, summary(record("a")), encoding="ascii")
    assert "\x1b" not in text
    assert text.count("^") == 8
    assert cells(text, "0.5", "0.50 0.38 0.00") == ["0.6000"] * 8 + ["-"]


def test_names_are_not_taken_for_markup(one: pd.DataFrame) -> None:
    named = one.assign(run="runs/[bold]x")
    text = printed(named, summary(record("runs/[bold]x"), alarms=("runs/[bold]x: [red]odd",)))
    assert "runs/[bold]x: mosi test" in text
    assert "alarm: runs/[bold]x: [red]odd" in text


def test_runs_that_differ_in_seed_get_mean_and_sd() -> None:
    metrics = frame(
        *(rows(r, v, rate=0.0, seed=1) for r, v in (("a", 0.4), ("b", 0.6), ("c", 0.9))),
        *(floors(r, 0.45) for r in "abc"),
    )
    text = printed(metrics, summary(record("a"), record("b"), record("c", group="other")))
    _, comparison = text.split("all runs:")
    assert cells(comparison, "a") == ["0.4000"] * 9
    assert cells(comparison, "mean of 2 seeds") == ["0.5000"] * 9
    assert cells(comparison, "sd over seeds") == ["0.1414"] * 9
    assert "mean of 1" not in comparison
    assert cells(comparison, "constant") == ["0.4500"] * 8 + ["-"]


def test_floors_of_different_data_are_not_compared() -> None:
    metrics = frame(
        rows("a", 0.4, rate=0.0, seed=1),
        rows("b", 0.6, rate=0.0, seed=1),
        floors("a", 0.45),
        floors("b", 0.55),
    )
    text = printed(metrics, summary(record("a", "x"), record("b", "y")))
    _, comparison = text.split("all runs:")
    assert not any(line.startswith("constant ") for line in comparison.splitlines())


def test_notes_are_shown(one: pd.DataFrame) -> None:
    text = printed(one, summary(record("a", notes=["trained on mosi, evaluated on mosei"])))
    assert "note: trained on mosi, evaluated on mosei" in text


def test_a_run_of_classes_shows_their_scores(one: pd.DataFrame) -> None:
    macro = one[one["metric"] == "acc3"].assign(metric="f1_macro3", value=0.25)
    text = printed(pd.concat([one, macro]), summary(record("a", task="three-class")))
    assert "a: mosi test (n = 4), three-class, protocol paper" in text
    head = text.split("---")[0]
    assert "acc3" in head
    assert "macro3" in head
    assert "acc7" not in head
    assert "mae" not in head
    assert "0.2500" in text
