"""Results of a sweep: statistics, winners, tables, figures."""

import copy
import csv
import math
from pathlib import Path
from typing import Any

import pytest
import sweep_standin
from sweep_standin import SWEEP, drive, make_study

import lnln_dist.sweep
from lnln_dist import settings
from lnln_dist.config import Config
from lnln_dist.errors import TrainingError
from lnln_dist.metrics import BOUNDS
from lnln_dist.sweep import summary
from lnln_dist.sweep.results import Results, estimate

BEST = "adversarial0.4_reconstruction0.1"


def test_interval_of_a_mean() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.sd) == (3, 2.0, 1.0)
    # Student's t with 2 degrees of freedom: 4.303.
    assert found.high - found.mean == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert math.isnan(estimate([1.0]).low)
    assert estimate([]).n == 0


def test_the_interval_of_a_share_is_one_of_shares() -> None:
    found = estimate([0.9, 1.0], BOUNDS["acc7"])
    assert found.high == 1.0
    assert 0.0 <= found.low < 0.9
    assert estimate([0.1, 0.9], BOUNDS["mae"]).low == 0.0
    assert estimate([0.9, 0.99], BOUNDS["corr"]).high == 1.0


def test_an_undefined_value_makes_the_mean_undefined() -> None:
    found = estimate([1.0, math.nan, 2.0])
    assert found.n == 3
    assert all(map(math.isnan, (found.mean, found.sd, found.low, found.high)))


def test_a_score_that_is_undefined_does_not_stop_the_summary(tmp_path: Path) -> None:
    def program(config: Config, folder: Path, **more: Any) -> Any:
        done = sweep_standin.program(config, folder, **more)
        log = folder / "log.jsonl"
        log.write_text(log.read_text().replace('"valid/corr/mean": 0.5', '"valid/corr/mean": null'))
        return done

    drive(make_study(tmp_path), run=program)
    results = Results(tmp_path)
    winner = results.winner("all")
    assert winner is not None
    assert math.isnan(results.confirmed(winner)["corr"].mean)
    assert math.isfinite(results.confirmed(winner)["mae"].low)
    assert BEST in summary.markdown(results)


def test_a_failed_setting_has_passed_no_milestone(tmp_path: Path) -> None:
    def breaks(config: Config, folder: Path, **more: Any) -> Any:
        raise TrainingError("boom")

    drive(make_study(tmp_path), run=breaks)
    rows = list(summary.summary_rows(Results(tmp_path)))
    assert {row["screen_epoch"] for row in rows} == {0}
    assert {row["screen_mean"] for row in rows} == {None}


@pytest.mark.parametrize(
    ("scores", "kept"),
    [([math.nan, 2.0, 1.0, 1.0, 3.0, 2.0, 2.0, 2.0, 2.0], 3), ([math.nan] * 9, 1)],
)
def test_the_kept_epoch_is_the_first_with_the_best_score(
    tmp_path: Path, scores: list[float], kept: int
) -> None:
    raw = {**SWEEP, "axes": {}, "seeds": [1], "screen": {}}
    drive(make_study(tmp_path, raw), run=_with(lambda config, epoch: scores[epoch - 1]))
    assert Results(tmp_path).kept.epoch.to_dict() == {"base_s1": kept}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("sweep") / "study"
    raw = {**copy.deepcopy(SWEEP), "confirm": {"best": 2}}
    drive(make_study(folder, raw))
    results = Results(folder)
    summary.write(results)
    return results


def test_the_winner_and_its_lead_come_from_confirmed_seeds_alone(finished: Results) -> None:
    winner = finished.winner("all")
    assert winner is not None
    assert winner.name == BEST
    configs = [finished.space.config(winner.values, seed) for seed in (1, 2, 3)]
    expected = [min(sweep_standin.score(c, epoch) for epoch in range(1, 10)) for c in configs]
    assert finished.confirmed(winner)["mae"] == estimate(expected)
    assert finished.fresh(winner) == estimate(expected[2:])
    lead = finished.lead("all")
    assert lead is not None
    assert lead.low > 0
    assert len(finished.ranked("all")) == 2
    stopped = [s for s in finished.settings if not finished.verdict(s).chosen]
    assert not any(map(finished.confirmed, stopped))


def test_files(finished: Results) -> None:
    folder = finished.folder.path
    with (folder / "sweep.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == finished.epochs
    assert len({(row["trial"], row["epoch"]) for row in rows}) == len(rows)
    table = lnln_dist.sweep.table(folder)
    assert len(table) == len(rows)
    assert table.groupby("trial")["mae"].cummin().equals(table["best"])
    by_trial: dict[str, float] = {}
    for row in rows:
        by_trial[row["trial"]] = min(by_trial.get(row["trial"], math.inf), float(row["mae"]))
        assert float(row["best"]) == by_trial[row["trial"]]
    with (folder / "summary.csv").open() as handle:
        table = {row["setting"]: row for row in csv.DictReader(handle)}
    assert len(table) == 8
    assert [n for n, row in table.items() if row["winner"] == "True"] == [BEST]
    assert table[BEST]["mae_n"] == "3"
    assert float(table[BEST]["axis:loss.adversarial"]) == 0.4
    config = settings.build(settings.read_config(folder / "winner" / "all.yaml"))
    assert config == finished.space.config(finished.winner("all").values, 1)


def test_summary_text(finished: Results) -> None:
    text = (finished.folder.path / "summary.md").read_text()
    assert text.startswith("# Sweep study\n\nFinished. 8 settings, 3 seeds. Objective: mae")
    assert f"| all | {BEST} | " in text
    assert f"{finished.epochs} epochs in " in text
    assert "the full grid has 216 in 24" in text
    assert "stopped after 1" in text
    assert "not separated" not in text
    assert "Failures" not in text


def test_a_lead_inside_the_noise_is_said(tmp_path: Path) -> None:
    def score(config: Config, epoch: int) -> float:
        sign = 1 if config.loss.adversarial > 0.3 else -1
        return 1.0 + sign * 0.01 * (config.train.seed - 2.1)

    raw = {**copy.deepcopy(SWEEP), "axes": {"loss.adversarial": {"grid": [0, 0.8]}}}
    raw["confirm"] = {"best": 2}
    drive(make_study(tmp_path, raw), run=_with(score))
    results = Results(tmp_path)
    assert results.lead("all").low < 0
    assert "(not separated)" in summary.markdown(results)
    assert "## Screening" not in summary.markdown(results)  # nothing to screen: all are confirmed


def _with(score: Any) -> Any:
    def program(config: Any, folder: Path, **more: Any) -> Any:
        return sweep_standin.program(config, folder, score=score, **more)

    return program


def test_while_it_runs_there_is_no_winner(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    drive(study, stop_after=18)
    results = Results(tmp_path)
    assert not results.over
    assert results.winner("all") is None
    text = summary.markdown(results)
    assert "Not finished: " in text
    assert "| all | not yet |" in text
    assert "screening, 1 reached" in text


def test_failures_are_listed_and_their_setting_does_not_win(tmp_path: Path) -> None:
    def breaks(config: Any, folder: Path, **more: Any) -> Any:
        if config.train.seed == 3:
            raise TrainingError("loss | not finite")
        return sweep_standin.program(config, folder, **more)

    drive(make_study(tmp_path), run=breaks)
    results = Results(tmp_path)
    assert results.over
    assert results.winner("all") is None
    text = summary.markdown(results)
    assert "none: no setting came through" in text
    assert f"| {BEST}_s3 | loss \\| not finite |" in text
    assert "1 trials failed" in text


def test_strata_have_their_own_winners_and_rates(tmp_path: Path) -> None:
    raw = copy.deepcopy(SWEEP)
    raw["axes"]["select.rates"] = {"grid": [[0.1], [0.9]]}
    drive(make_study(tmp_path, raw))
    results = Results(tmp_path)
    assert {s: results.winner(s).name for s in results.space.strata} == {
        "rates0.1": f"{BEST}_rates0.1",
        "rates0.9": f"{BEST}_rates0.9",
    }
    assert "those of its stratum" in summary.markdown(results)
    summary.write(results)
    assert (tmp_path / "winner" / "rates0.9.yaml").exists()
