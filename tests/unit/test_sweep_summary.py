"""What a sweep's summary says."""

import copy
from pathlib import Path
from typing import Any

import pytest
import sweep_standin
from sweep_standin import SWEEP, drive, make_study

from lnln_dist import settings
from lnln_dist.errors import TrainingError
from lnln_dist.sweep import summary
from lnln_dist.sweep.results import Results


def test_a_stratum_whose_settings_were_all_dropped_is_not_waited_for(tmp_path: Path) -> None:
    raw = copy.deepcopy(SWEEP)
    # Where batches are logged changes nothing: the second value's settings equal the first's.
    raw["axes"] = {"loss.adversarial": {"grid": [0, 0.4]}, "train.log_steps": {"grid": [1, 2]}}
    raw["strata"] = ["train.log_steps"]
    drive(make_study(tmp_path, raw))
    text = summary.markdown(Results(tmp_path))
    assert "Finished. 2 settings" in text
    assert "| log_steps1 | adversarial0.4_log_steps1 |" in text
    assert "not yet" not in text
    assert "| log_steps2 |" not in text


def test_a_stratum_that_a_sampler_has_not_come_to_is_listed(tmp_path: Path) -> None:
    raw = copy.deepcopy(SWEEP)
    raw["axes"] = {"loss.adversarial": {"uniform": [0.0, 1.0]}}
    raw["search"] = {"kind": "optuna", "samples": 3}
    make_study(tmp_path, raw)
    assert "| all | not yet |" in summary.markdown(Results(tmp_path))


def test_a_trial_without_a_host_leaves_no_gap_in_the_list(tmp_path: Path) -> None:
    drive(make_study(tmp_path))
    results = Results(tmp_path)
    stretches = [s for r in results.records.values() for s in r.note.stretches]
    stretches[0].host = ""
    assert ", on vm." in summary.markdown(results)
    for stretch in stretches:
        stretch.host = ""
    assert ", on" not in summary.markdown(results).split("## Cost")[1]


@pytest.mark.parametrize(
    ("reason", "suspect"),
    [("loss not finite", "optim.lr 0.0001"), ("rank 0 is out of memory", "train.micro_batch 64")],
)
def test_what_failed_is_told_first_with_its_epoch_and_what_to_look_at(
    tmp_path: Path, reason: str, suspect: str
) -> None:
    best = "adversarial0.4_reconstruction0.1"

    def breaks(config: Any, folder: Path, **more: Any) -> Any:
        def score(config: Any, epoch: int) -> float:
            if config.loss.adversarial == 0.4 and epoch == 2:
                raise TrainingError(reason)
            return sweep_standin.score(config, epoch)

        return sweep_standin.program(config, folder, score=score, **more)

    drive(make_study(tmp_path), run=breaks)
    results = Results(tmp_path)
    text = summary.markdown(results)
    (head, *_) = text.split("\n## Winners")
    assert f"{reason} | 2 | {suspect} |" in head
    assert f"| {best}_s1 | " in head
    winner = results.winner("all")
    assert winner is not None
    assert winner.values["loss.adversarial"] != 0.4
    assert all(
        row["screen_rank"] is None
        for row in summary.summary_rows(results)
        if row["setting"] == best
    )


@pytest.mark.parametrize(
    ("place", "said"), [("data", "starts at"), ("/elsewhere", "add --data.path")]
)
def test_a_single_seed_has_no_interval_and_the_winners_file_finds_its_data(
    tmp_path: Path, place: str, said: str
) -> None:
    own = {**SWEEP["settings"], "data": {"path": str(tmp_path / "old" / place)}}
    drive(
        make_study(
            tmp_path / "old" / "sweep", {**SWEEP, "settings": own, "seeds": [1], "screen": {}}
        )
    )
    summary.write(Results(tmp_path / "old" / "sweep"))
    text = (tmp_path / "old" / "sweep" / "summary.md").read_text()
    assert "- to -" not in text
    confirmed = text.split("## Confirmed settings")[1].split("##")[0]
    row = next(line for line in confirmed.splitlines() if line.startswith("| all"))
    assert "|  |  |" in row
    (tmp_path / "old").rename(tmp_path / "new")
    winner = tmp_path / "new" / "sweep" / "winner" / "all.yaml"
    assert said in winner.read_text()
    assert settings.read_config(winner)["data"]["path"] == str(tmp_path / "new" / place)
