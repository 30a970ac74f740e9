"""What a sweep's summary says."""

from functools import partial
from pathlib import Path

import pytest
import sweep_standin
from sweep_standin import SWEEP, breaking, make_study, swept

from lnln_dist import settings
from lnln_dist.config import Config
from lnln_dist.errors import TrainingError
from lnln_dist.sweep import summary
from lnln_dist.sweep.results import Results

BEST = "adversarial0.4_reconstruction0.1"


def test_a_finished_sweep(tmp_path: Path) -> None:
    results = swept(tmp_path / "study", {**SWEEP, "confirm": {"best": 2}})
    text = summary.markdown(results)
    assert text.startswith("# Sweep study\n\nFinished. 8 settings, 3 seeds. Objective: mae")
    assert f"| all | {BEST} | " in text
    assert f"{results.epochs} epochs in " in text
    assert "the full grid has 216 in 24" in text
    assert "stopped after 1" in text
    assert "not separated" not in text
    assert "Failures" not in text
    # A trial without a host leaves no gap in the list.
    stretches = [s for r in results.records.values() for s in r.note.stretches]
    stretches[0].host = ""
    assert ", on vm." in summary.markdown(results)
    for stretch in stretches:
        stretch.host = ""
    assert ", on" not in summary.markdown(results).split("## Cost")[1]


def test_a_lead_inside_the_noise_is_said(tmp_path: Path) -> None:
    def score(config: Config, epoch: int) -> float:
        sign = 1 if config.loss.adversarial > 0.3 else -1
        return 1.0 + sign * 0.01 * (config.train.seed - 2.1)

    axes = {"loss.adversarial": {"grid": [0, 0.8]}}
    raw = {**SWEEP, "axes": axes, "confirm": {"best": 2}}
    results = swept(tmp_path, raw, run=partial(sweep_standin.program, score=score))
    lead = results.lead("all")
    assert lead is not None
    assert lead.low < 0
    assert "(not separated)" in summary.markdown(results)
    assert "## Screening" not in summary.markdown(results)  # nothing to screen: all are confirmed


def test_a_stratum_whose_settings_were_all_dropped_is_not_waited_for(tmp_path: Path) -> None:
    # Where batches are logged changes nothing: the second value's settings equal the first's.
    axes = {"loss.adversarial": {"grid": [0, 0.4]}, "train.log_steps": {"grid": [1, 2]}}
    text = summary.markdown(swept(tmp_path, {**SWEEP, "axes": axes, "strata": ["train.log_steps"]}))
    assert "Finished. 2 settings" in text
    assert "| log_steps1 | adversarial0.4_log_steps1 |" in text
    assert "not yet" not in text
    assert "| log_steps2 |" not in text


def test_a_stratum_that_a_sampler_has_not_come_to_is_listed(tmp_path: Path) -> None:
    axes = {"loss.adversarial": {"uniform": [0.0, 1.0]}}
    make_study(tmp_path, {**SWEEP, "axes": axes, "search": {"kind": "optuna", "samples": 3}})
    assert "| all | not yet |" in summary.markdown(Results(tmp_path))


@pytest.mark.parametrize(
    ("reason", "suspect"),
    [("loss not finite", "optim.lr 0.0001"), ("rank 0 is out of memory", "train.micro_batch 64")],
)
def test_what_failed_is_told_first_with_its_epoch_and_what_to_look_at(
    tmp_path: Path, reason: str, suspect: str
) -> None:
    run = breaking(TrainingError(reason), lambda c, n: c.loss.adversarial == 0.4 and n == 2)
    results = swept(tmp_path, run=run)
    (head, *_) = summary.markdown(results).split("\n## Winners")
    assert f"{reason} | 2 | {suspect} |" in head
    assert f"| {BEST}_s1 | " in head
    winner = results.winner("all")
    assert winner is not None
    assert winner.values["loss.adversarial"] != 0.4
    (row,) = (row for row in summary.summary_rows(results) if row["setting"] == BEST)
    assert row["screen_rank"] is None
    # It has passed no milestone.
    assert (row["screen_epoch"], row["screen_mean"]) == (0, None)


def test_a_setting_that_fails_while_it_is_confirmed_does_not_win(tmp_path: Path) -> None:
    error = TrainingError("loss | not finite")
    results = swept(tmp_path, run=breaking(error, lambda config, _: config.train.seed == 3))
    assert results.over
    assert results.winner("all") is None
    text = summary.markdown(results)
    assert "none: no setting came through" in text
    assert f"| {BEST}_s3 | loss \\| not finite |" in text
    assert "1 trial failed" in text


@pytest.mark.parametrize(
    ("place", "said"), [("data", "starts at"), ("/elsewhere", "add --data.path")]
)
def test_a_single_seed_has_no_interval_and_the_winners_file_finds_its_data(
    tmp_path: Path, place: str, said: str
) -> None:
    own = {**SWEEP["settings"], "data": {"path": str(tmp_path / "old" / place)}}
    sweep = tmp_path / "old" / "sweep"
    summary.write(swept(sweep, {**SWEEP, "settings": own, "seeds": [1], "screen": {}}))
    text = (sweep / "summary.md").read_text()
    assert "- to -" not in text
    confirmed = text.split("## Confirmed settings")[1].split("##")[0]
    row = next(line for line in confirmed.splitlines() if line.startswith("| all"))
    assert "|  |  |" in row
    (tmp_path / "old").rename(tmp_path / "new")
    winner = tmp_path / "new" / "sweep" / "winner" / "all.yaml"
    assert said in winner.read_text()
    assert settings.read_config(winner)["data"]["path"] == str(tmp_path / "new" / place)
