"""The folder of a sweep: who may use it, and what of earlier sessions still holds."""

import json
from pathlib import Path

import pytest
from sweep_standin import SWEEP, drive, make_study, resolve

from lnln_dist.errors import CheckpointError
from lnln_dist.files import held
from lnln_dist.sweep import folder
from lnln_dist.sweep.folder import Folder


def test_what_a_sweep_killed_at_its_start_leaves_is_no_obstacle(tmp_path: Path) -> None:
    Folder(tmp_path).create(resume=False)
    with held(tmp_path, wait_s=0):
        (tmp_path / ".pending-settings.json-1-ab").write_text("")
    Folder(tmp_path).create(resume=False)
    assert (tmp_path / "trials").is_dir()


def test_a_new_axis_at_its_old_value_is_the_old_setting(tmp_path: Path) -> None:
    first = make_study(tmp_path)
    drive(first)
    axes = {**SWEEP["axes"], "optim.lr": {"grid": [1e-4, 1e-3]}}
    wider = make_study(tmp_path, {**SWEEP, "axes": axes})
    old = [made.name for made in first.space.settings]
    names = [made.name for made in wider.space.settings]
    assert names[:8] == old
    assert len(names) == len(set(names)) == 16
    assert all(wider.records[key].epochs for key in first.records if first.records[key].epochs)


@pytest.mark.parametrize("later", [["/a/data", "/b/data"], ["/b/data", "/a/data"]])
def test_a_new_setting_never_takes_an_old_ones_name(tmp_path: Path, later: list[str]) -> None:
    """Two data sets of one label: the second session adds the other one."""
    raw = {**SWEEP, "axes": {"data.path": {"grid": ["/b/data"]}}, "seeds": [1], "screen": {}}
    first = make_study(tmp_path, raw)
    drive(first)
    wider = {**raw, "axes": {"data.path": {"grid": later}}}
    for _ in range(2):  # and so it stays when it is resumed once more
        study = make_study(tmp_path, wider)
        names = {made.data: made.name for made in study.space.settings}
        assert names["/b/data"] == "path-data"
        assert len(set(names.values())) == 2
    assert not study.over, "the new data set was taken for trained"
    drive(study)
    trained = {path.name for path in study.folder.trials.iterdir()}
    assert trained == {f"{name}_s1" for name in names.values()}


def test_two_settings_of_one_name_are_refused(tmp_path: Path) -> None:
    """An index that is damaged must not make two settings share a trial."""
    make_study(tmp_path)
    path = tmp_path / "settings.json"
    noted = json.loads(path.read_text())
    noted["settings"][1]["name"] = noted["settings"][0]["name"]
    path.write_text(json.dumps(noted))
    with pytest.raises(CheckpointError, match="two settings are called"):
        make_study(tmp_path)


def test_other_data_are_refused_once_something_was_trained(tmp_path: Path) -> None:
    mosi, mosei = {"/d/a": "hash of mosi"}, {"/d/b": "hash of mosei"}
    common = {"train": {"epochs": 9}, "select": {"rates": [0.5]}}
    made = resolve(settings={**common, "data": {"path": "/d/a"}})
    kept = Folder(tmp_path)
    kept.create(resume=False)
    kept.save(made, mosi)
    other = resolve(settings={**common, "data": {"path": "/d/b"}})
    kept.adopt(other, mosei)  # nothing was trained yet
    kept.trial(made.settings[0].trial(1)).mkdir()
    with pytest.raises(CheckpointError, match="other data than /d/b holds now"):
        kept.adopt(other, mosei)
    kept.adopt(other, {"/d/b": "hash of mosi"})  # moved
    kept.save(other)  # without knowing the hash
    with pytest.raises(CheckpointError, match="other data"):
        kept.adopt(other, mosei)


def test_settings_may_be_mended_while_nothing_was_trained(tmp_path: Path) -> None:
    make_study(tmp_path)
    changed = {**SWEEP, "settings": {"train": {"epochs": 5}, "select": {"rates": [0.5]}}}
    study = make_study(tmp_path, changed)
    assert {made.epochs for made in study.space.settings} == {5}


def test_what_is_gone_or_empty_is_named(tmp_path: Path) -> None:
    drive(make_study(tmp_path))
    (tmp_path / "sweep.yaml").write_text("")
    with pytest.raises(CheckpointError, match=r"sweep\.yaml is empty: put it back"):
        folder.load(tmp_path)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(CheckpointError, match=r"settings\.json is gone: put it back"):
        make_study(tmp_path)


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    make_study(tmp_path)
    path = tmp_path / "settings.json"
    noted = json.loads(path.read_text())
    noted["settings"][0]["key"] = []
    path.write_text(json.dumps(noted))
    with pytest.raises(CheckpointError, match=r"settings.json: cannot be read .* no text"):
        make_study(tmp_path)


def test_a_sweep_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    make_study(tmp_path)
    (tmp_path / "events.jsonl").touch()
    for opened in (lambda: Folder(tmp_path).create(resume=True), lambda: folder.load(tmp_path)):
        with pytest.raises(CheckpointError, match=r"of an earlier version .* another --output"):
            opened()
