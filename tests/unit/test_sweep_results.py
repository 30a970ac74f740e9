"""Results of a sweep: statistics, winners, tables."""

import csv
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sweep_standin
from sweep_standin import SWEEP, make_study, swept

import lnln_dist.sweep
from lnln_dist import settings
from lnln_dist.config import Config
from lnln_dist.metrics import BOUNDS
from lnln_dist.sweep import summary
from lnln_dist.sweep.results import Results, estimate

BEST = "adversarial0.4_reconstruction0.1"


def test_a_mean_over_seeds_and_its_interval_within_the_scores_bounds() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.sd) == (3, 2.0, 1.0)
    # Student's t with 2 degrees of freedom: 4.303.
    half = 4.3027 / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), rel=1e-4)
    assert math.isnan(estimate([1.0]).low)
    assert estimate([]).n == 0
    found = estimate([0.9, 1.0], BOUNDS["acc7"])
    assert found.high == 1.0
    assert 0.0 <= found.low < 0.9
    assert estimate([0.1, 0.9], BOUNDS["mae"]).low == 0.0
    assert estimate([0.9, 0.99], BOUNDS["corr"]).high == 1.0


def test_a_score_that_is_undefined_does_not_stop_the_summary(tmp_path: Path) -> None:
    def program(config: Config, folder: Path, **more: Any) -> Any:
        done = sweep_standin.program(config, folder, **more)
        log = folder / "log.jsonl"
        log.write_text(log.read_text().replace('"valid/corr/mean": 0.5', '"valid/corr/mean": null'))
        return done

    results = swept(tmp_path, run=program)
    winner = results.winner("all")
    assert winner is not None
    found = results.confirmed(winner)
    assert found["corr"].n == 3
    assert all(map(math.isnan, found["corr"][1:]))
    assert math.isfinite(found["mae"].low)
    assert BEST in summary.markdown(results)


@pytest.mark.parametrize(
    ("scores", "kept"),
    [([math.nan, 2.0, 1.0, 1.0, 3.0, 2.0, 2.0, 2.0, 2.0], 3), ([math.nan] * 9, 1)],
)
def test_the_kept_epoch_is_the_first_with_the_best_score(
    tmp_path: Path, scores: list[float], kept: int
) -> None:
    raw = {**SWEEP, "axes": {}, "seeds": [1], "screen": {}}
    run = partial(sweep_standin.program, score=lambda config, epoch: scores[epoch - 1])
    assert swept(tmp_path, raw, run=run).kept.epoch.to_dict() == {"base_s1": kept}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Results:
    results = swept(tmp_path_factory.mktemp("sweep") / "study", {**SWEEP, "confirm": {"best": 2}})
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
    assert table.groupby("trial")["mae"].cummin().equals(table["best"])
    assert table["best"].tolist() == [float(row["best"]) for row in rows]
    with (folder / "summary.csv").open() as handle:
        by_name = {row["setting"]: row for row in csv.DictReader(handle)}
    assert len(by_name) == 8
    assert [n for n, row in by_name.items() if row["winner"] == "True"] == [BEST]
    assert by_name[BEST]["mae_n"] == "3"
    assert float(by_name[BEST]["axis:loss.adversarial"]) == 0.4
    config = settings.build(settings.read_config(folder / "winner" / "all.yaml"))
    winner = finished.winner("all")
    assert winner is not None
    assert config == finished.space.config(winner.values, 1)


def test_a_stratum_whose_settings_all_failed_is_barren_once_the_sweep_is_over(
    tmp_path: Path,
) -> None:
    study = make_study(tmp_path, {**SWEEP, "screen": {"seeds": 1}})
    for made in study.space.settings:
        assert not Results(tmp_path).barren
        study.failed((made.name, 1), "loss not finite")
    assert Results(tmp_path).barren == ["all"]


def test_strata_have_their_own_winners_and_rates(tmp_path: Path) -> None:
    raw = {**SWEEP, "axes": {**SWEEP["axes"], "select.rates": {"grid": [[0.1], [0.9]]}}}
    results = swept(tmp_path, raw)
    found = {stratum: results.winner(stratum) for stratum in results.space.strata}
    assert {stratum: made and made.name for stratum, made in found.items()} == {
        "rates0.1": f"{BEST}_rates0.1",
        "rates0.9": f"{BEST}_rates0.9",
    }
    assert "those of its stratum" in summary.markdown(results)
    summary.write(results)
    assert (tmp_path / "winner" / "rates0.9.yaml").exists()


def test_while_it_runs_there_is_no_winner(tmp_path: Path) -> None:
    results = swept(tmp_path, stop_after=18)
    assert not results.over
    assert results.winner("all") is None
    text = summary.markdown(results)
    assert "Not finished: " in text
    assert "| all | not yet |" in text
    assert "screening, 1 reached" in text
