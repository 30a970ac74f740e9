"""What a sweep's summary says."""

import copy
from pathlib import Path

from sweep_standin import SWEEP, drive, make_study

from lnln_dist.sweep import summary
from lnln_dist.sweep.collect import collect


def test_a_stratum_whose_settings_were_all_dropped_is_not_waited_for(tmp_path: Path) -> None:
    raw = copy.deepcopy(SWEEP)
    # Where batches are logged changes nothing: the second value's settings equal the first's.
    raw["axes"] = {"loss.adversarial": {"grid": [0, 0.4]}, "train.log_steps": {"grid": [1, 2]}}
    raw["strata"] = ["train.log_steps"]
    drive(make_study(tmp_path, raw))
    text = summary.markdown(collect(tmp_path))
    assert "Finished. 2 settings" in text
    assert "| log_steps1 | adversarial0.4_log_steps1 |" in text
    assert "not yet" not in text
    assert "| log_steps2 |" not in text


def test_a_stratum_that_a_sampler_has_not_come_to_is_listed(tmp_path: Path) -> None:
    raw = copy.deepcopy(SWEEP)
    raw["axes"] = {"loss.adversarial": {"uniform": [0.0, 1.0]}}
    raw["search"] = {"kind": "optuna", "samples": 3}
    make_study(tmp_path, raw)
    assert "| all | not yet |" in summary.markdown(collect(tmp_path))


def test_a_trial_without_a_host_leaves_no_gap_in_the_list(tmp_path: Path) -> None:
    drive(make_study(tmp_path))
    results = collect(tmp_path)
    stretches = [
        stretch
        for s in results.settings
        for r in s.records.values()
        for stretch in r.note.stretches
    ]
    stretches[0].host = ""
    assert ", on vm." in summary.markdown(results)
    for stretch in stretches:
        stretch.host = ""
    assert ", on" not in summary.markdown(results).split("## Cost")[1]
