"""A sweep from start to end without Ray: stages, resuming, failures, additions, pruning."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sweep_standin import SWEEP, begin, breaking, drive, make_study, train

from lnln_dist.errors import CheckpointError, TrainingError, UserError
from lnln_dist.sweep.folder import Folder, load
from lnln_dist.sweep.records import ORIGIN, Epoch, Origin
from lnln_dist.sweep.space import Setting, Space
from lnln_dist.sweep.state import Study

BEST = "adversarial0.4_reconstruction0.1"


def lengths(study: Study) -> dict[tuple[str, int], int]:
    return {key: len(record.epochs) for key, record in study.records.items()}


def scores(study: Study) -> dict[tuple[str, int], tuple[float, ...]]:
    return {key: record.progress("mae", -1).costs for key, record in study.records.items()}


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SWEEP), **changes}


def test_screen_then_confirm(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    drive(study)
    found = lengths(study)
    assert {name for (name, seed), n in found.items() if seed == 3 and n} == {BEST}
    assert all(found[BEST, seed] == 9 for seed in (1, 2, 3))
    assert sum(found.values()) < 0.5 * 8 * 3 * 9
    assert study.plan.verdicts[BEST].rank == 1
    # Its first seeds were screened in stretches, the last was confirmed in one.
    assert len(study.records[BEST, 1].note.stretches) > 1
    assert [(s.start, s.epoch) for s in study.records[BEST, 3].note.stretches] == [(0, 9)]


@pytest.mark.parametrize("stop_after", [1, 7, 16, 20])
def test_killed_and_resumed_it_ends_as_if_undisturbed(tmp_path: Path, stop_after: int) -> None:
    whole = make_study(tmp_path / "whole")
    total = drive(whole)
    drive(make_study(tmp_path / "cut"), stop_after=stop_after)
    resumed = make_study(tmp_path / "cut")
    assert drive(resumed) == total - stop_after
    assert scores(resumed) == scores(whole)
    assert resumed.plan.verdicts == whole.plan.verdicts


def test_news_that_died_with_the_driver_is_told_again(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    # The worker finishes its stretch, the driver is killed before it hears of it.
    key = begin(study)
    train(make_study(tmp_path), key, 1)
    resumed = make_study(tmp_path)
    assert lengths(resumed)[key] == 1
    drive(resumed)
    assert resumed.plan.verdicts[BEST].rank == 1


def test_a_failed_trial_is_counted_and_the_sweep_goes_on(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    best = {"adversarial": 0.4, "reconstruction": 0.1}
    error = TrainingError("loss not finite")
    drive(study, run=breaking(error, lambda c, _: vars(c.loss).items() >= best.items()))
    failed = {k: r.failure for k, r in study.records.items() if r.failure}
    assert set(failed) == {(BEST, 1), (BEST, 2)} or set(failed) == {(BEST, 1)}
    assert set(failed.values()) == {"loss not finite"}
    assert "TrainingError" in (study.folder.trial(f"{BEST}_s1") / "failure.txt").read_text()
    winner = next(n for n, v in study.plan.verdicts.items() if v.rank == 1)
    assert winner == "adversarial0.2_reconstruction0.1"

    resumed = make_study(tmp_path)
    assert resumed.over  # failed ones are not tried again unless asked for
    resumed.retry_failed()
    drive(resumed)
    assert resumed.plan.verdicts[BEST].rank == 1
    assert not any(r.failure for r in make_study(tmp_path).records.values())


def test_lost_trials_are_handed_out_again_and_given_up_ones_are_not(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    key = begin(study)
    study.lost(key)
    assert begin(study) == key
    study.failed(key, "ActorDiedError: gone")
    drive(study)
    again = make_study(tmp_path)
    (record,) = (r for r in again.records.values() if r.failure)
    assert (record.failure, record.note.losses) == ("ActorDiedError: gone", 1)


def test_what_a_lost_trial_told_of_but_did_not_commit_is_trained_again(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    key = begin(study)
    # It told of the whole stretch, and died before the checkpoint was there.
    study.heard(key, Epoch(1, 1, 0.0, {"mae": 0.0}))
    study.lost(key)
    assert not study.over
    assert begin(study) == key
    study.lost(key)
    drive(study)
    assert study.plan.verdicts[BEST].rank == 1


def test_a_setting_chosen_late_is_trained_again_for_its_weights(tmp_path: Path) -> None:
    fifo = {"screen": {"seeds": 2, "scheduler": "fifo"}}
    first = make_study(tmp_path, changed(**fifo))
    drive(first)
    before = scores(first)
    more = make_study(tmp_path, changed(**fifo, confirm={"best": 3}))
    drive(more)
    chosen = [name for name, verdict in more.plan.verdicts.items() if verdict.chosen]
    assert len(chosen) == 3
    for name in chosen:
        for seed in (1, 2, 3):
            assert (more.folder.trial(f"{name}_s{seed}") / "best").exists()
    assert {k: v for k, v in scores(more).items() if before[k]} == {
        k: v for k, v in before.items() if v
    }


def test_what_a_killed_driver_did_not_prune_is_pruned_on_resume(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    study._prune = lambda: None  # type: ignore[method-assign]
    drive(study)
    assert len(list(tmp_path.glob("trials/*/checkpoints"))) > 8
    assert make_study(tmp_path).over
    assert not list(tmp_path.glob("trials/*/checkpoints"))
    assert not list(tmp_path.glob("trials/*/.pending-*"))


def test_more_seeds_and_more_settings_join_a_finished_sweep(tmp_path: Path) -> None:
    first = make_study(tmp_path)
    drive(first)
    before = scores(first)
    more_seeds = make_study(tmp_path, changed(seeds=[1, 2, 3, 4]))
    drive(more_seeds)
    assert {k: v for k, v in scores(more_seeds).items() if k in before} == before
    assert {key: n for key, n in lengths(more_seeds).items() if n and key[1] == 4} == {(BEST, 4): 9}

    axes = copy.deepcopy(SWEEP["axes"])
    axes["loss.adversarial"]["grid"] = [0, 0.2, 0.4, 0.6, 0.8]
    wider = make_study(tmp_path, changed(axes=axes))
    old = [made.name for made in first.space.settings]
    assert [made.name for made in wider.space.settings][:8] == old
    drive(wider)
    assert lengths(wider)["adversarial0.6_reconstruction0.1", 1] >= 1
    assert all(scores(wider)[key] == before[key] for key in before if key[0] == BEST)


def test_other_common_settings_are_refused(tmp_path: Path) -> None:
    drive(make_study(tmp_path), stop_after=1)
    other = changed(settings={"train": {"epochs": 9}, "select": {"rates": [0.4]}})
    with pytest.raises(CheckpointError, match="other common settings"):
        make_study(tmp_path, other)


def test_a_steady_schedule_can_be_lengthened(tmp_path: Path) -> None:
    def steady(epochs: int) -> dict[str, Any]:
        optim = {"schedule": "constant", "warmup_share": 0.0}
        return changed(settings={**SWEEP["settings"], "train": {"epochs": epochs}, "optim": optim})

    drive(make_study(tmp_path / "grown", steady(9)))
    grown = make_study(tmp_path / "grown", steady(12))
    drive(grown, stop_after=1)
    grown = make_study(tmp_path / "grown", steady(12))
    drive(grown)
    whole = make_study(tmp_path / "whole", steady(12))
    drive(whole)
    assert grown.plan.verdicts == whole.plan.verdicts
    assert lengths(grown)[BEST, 3] == 12
    with pytest.raises(CheckpointError, match="lengthened, not cut to 9"):
        make_study(tmp_path / "grown", steady(9))
    drive(make_study(tmp_path / "other"), stop_after=1)
    with pytest.raises(CheckpointError, match="only a constant schedule without warm-up"):
        make_study(tmp_path / "other", changed(settings={"train": {"epochs": 12}}))


def test_checkpoints_go_when_nothing_needs_them(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    drive(study)
    for made in study.space.settings:
        for seed in (1, 2):
            run = study.folder.trial(made.trial(seed))
            assert not (run / "checkpoints").exists()
            assert (run / "best").exists() == (made.name == BEST)
            assert (run / "log.jsonl").exists()
    # Asked for after all, a pruned trial is trained from the start and says the same again.
    before = scores(study)
    more = make_study(tmp_path, changed(confirm={"best": 2}))
    drive(more)
    assert all(scores(more)[key][: len(costs)] == costs for key, costs in before.items())
    assert sum(n == 9 for n in lengths(more).values()) == 6


def test_keep_all(tmp_path: Path) -> None:
    study = make_study(tmp_path, changed(keep="all"))
    drive(study)
    for made in study.space.settings:
        run = study.folder.trial(made.trial(1))
        assert (run / "best").exists()
        assert (run / "checkpoints").exists() == (made.name != BEST)


def test_a_population_keeps_its_weights_which_no_training_could_make_again(tmp_path: Path) -> None:
    raw = changed(screen={"scheduler": {"ray": "PopulationBasedTraining"}}, seeds=[1])
    study = make_study(tmp_path, raw)
    drive(study)
    assert all((study.folder.trial(s.trial(1)) / "best").exists() for s in study.space.settings)
    more = make_study(tmp_path, {**raw, "confirm": {"best": 3}})
    assert more.over
    assert sum(verdict.chosen for verdict in more.plan.verdicts.values()) == 3


def test_a_sampler_is_asked_while_nothing_else_is_to_do(tmp_path: Path) -> None:
    raw = changed(
        axes={"loss.adversarial": {"uniform": [0.0, 1.0]}},
        search={"kind": "optuna", "samples": 4},
    )
    asked: list[Mapping[str, tuple[int, float]]] = []

    def propose(
        space: Space, stratum: str, known: Mapping[str, tuple[int, float]]
    ) -> Setting | None:
        asked.append(dict(known))
        return space.add({"loss.adversarial": 0.1 * len(asked)})

    study = make_study(tmp_path, raw, propose=propose)
    drive(study, stop_after=3)
    resumed = make_study(tmp_path, raw, propose=propose)
    assert len(resumed.space.settings) == len(asked) == 2
    drive(resumed)
    assert len(asked) == 4
    assert [len(known) for known in asked] == [0, 1, 2, 3]
    assert asked[3]["adversarial0.1"][0] >= 1
    _, space = load(tmp_path)
    assert len(space.settings) == 4


def test_what_a_scheduler_of_rays_holds_is_not_handed_out_and_may_be_stopped(
    tmp_path: Path,
) -> None:
    raw = changed(screen={"scheduler": {"ray": "HyperBandScheduler"}})
    study = make_study(tmp_path, raw)
    key = begin(study)
    train(study, key, 3)
    study.held.add(key)
    study.ended(key)
    assert key not in {(s.name, s.seed) for s in study.waiting()}
    assert study.stretch(key).until == 9
    study.stop(key)
    assert (study.records[key].note.stopped, study.stretch(key).until) == (True, 0)
    assert make_study(tmp_path, raw).records[key].note.stopped


def test_settings_that_were_changed_in_training_are_gone_on_with(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    made = study.space.settings[0]
    assert study.values(made, 2) == {**made.values, "train.seed": 2}
    origin = Origin(pointer={"run": "other", "epoch": 3}, values={"loss.adversarial": 0.3})
    path = study.folder.trial(made.trial(2)) / ORIGIN
    path.parent.mkdir(parents=True)
    path.write_text(origin.model_dump_json())
    assert study.values(made, 2) == {"loss.adversarial": 0.3}
    assert study.values(made, 1) == {**made.values, "train.seed": 1}
    path.write_text("{")
    with pytest.raises(UserError, match=r"origin.json: damaged .*put it back"):
        study.values(made, 2)


def test_no_strange_folders(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    make_study(tmp_path)
    with pytest.raises(UserError, match="pass --resume"):
        folder.create(resume=False)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="holds other things"):
        Folder(tmp_path / "x").create(resume=True)
    with pytest.raises(CheckpointError, match="no sweep here"):
        load(tmp_path / "x")
