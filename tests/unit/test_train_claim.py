"""Whose a run folder is."""

import errno
import fcntl
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import tiny_runs

from lnln_dist import settings
from lnln_dist.data.schema import Index
from lnln_dist.data.shards import open_dataset
from lnln_dist.errors import CheckpointError, TransientError, UserError
from lnln_dist.files import LOCK
from lnln_dist.runs import Run
from lnln_dist.specs.registry import make_config
from lnln_dist.train import claim


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("data") / "shards"
    tiny_runs.write_data(folder)
    return open_dataset(str(folder)).index


def take(folder: Path, index: Index, hold: ExitStack, **how: bool) -> None:
    more = {"resume": False, "overwrite": False, **how}
    config = settings.build(settings.to_dict(make_config(model=tiny_runs.MODEL)))
    claim.claim(folder, config, index, hold=hold, **more)


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}])
def test_what_a_failed_start_left_is_no_obstacle(
    index: Index, tmp_path: Path, how: dict[str, bool]
) -> None:
    run = tmp_path / "run"
    (run / "encoder").mkdir(parents=True)
    for name in (LOCK, "micro_batch.json", "config.yaml", ".pending-x"):
        (run / name).write_text("")
    with ExitStack() as hold:
        take(run, index, hold, **how)
        assert run.is_dir()


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}])
@pytest.mark.parametrize("name", ["thesis.tex", "config.yaml"])
def test_a_foreign_folder_is_left_alone(
    index: Index, tmp_path: Path, how: dict[str, bool], name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with ExitStack() as hold, pytest.raises(UserError, match="choose another"):
        take(tmp_path, index, hold, **how)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_what_a_user_put_into_a_run_is_not_overwritten(index: Index, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "results").mkdir(parents=True)
    for name in ("run.json", "log.jsonl", "notes.txt", "failure.txt", ".pending-1"):
        (run / name).write_text("{}")
    with ExitStack() as hold, pytest.raises(UserError, match=r"than a run \(notes.txt, results\)"):
        take(run, index, hold, overwrite=True)
    assert len(list(run.iterdir())) == 7  # nothing is gone, a lock has come


def test_a_replacement_killed_half_way_can_be_made_again(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    for name in ("best", "checkpoints", "encoder", "events"):
        (run / name).mkdir(parents=True)
    (run / "run.json").write_text("{}")
    removed = []

    def kill(path: Path) -> None:
        removed.append(path.name)
        if len(removed) == 4:
            raise KeyboardInterrupt
        path.rmdir()

    monkeypatch.setattr(claim.shutil, "rmtree", kill)
    with ExitStack() as hold, pytest.raises(KeyboardInterrupt):
        take(run, index, hold, overwrite=True)
    monkeypatch.undo()
    with ExitStack() as hold:
        take(run, index, hold, overwrite=True)
        assert [p.name for p in run.iterdir()] == [LOCK]


def test_a_run_being_trained_is_not_replaced_and_a_replaced_one_stays_held(
    index: Index, tmp_path: Path
) -> None:
    with ExitStack() as first, ExitStack() as second:
        take(tmp_path / "run", index, first, overwrite=True)
        (tmp_path / "run" / "run.json").write_text("{}")
        with pytest.raises(TransientError, match="is being trained"):
            take(tmp_path / "run", index, second, overwrite=True)
        assert (tmp_path / "run" / "run.json").exists()
    with ExitStack() as hold:
        take(tmp_path / "run", index, hold, overwrite=True)
        assert [p.name for p in (tmp_path / "run").iterdir()] == [LOCK]
        with pytest.raises(TransientError):
            take(tmp_path / "run", index, ExitStack(), overwrite=True)


def test_a_held_folder_is_waited_for_then_refused(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "WAIT_S", 0.1)
    with ExitStack() as hold, ExitStack() as other:
        take(tmp_path / "run", index, hold)
        with pytest.raises(TransientError, match="is being trained by another process"):
            take(tmp_path / "run", index, other, resume=True)
    with ExitStack() as hold:
        take(tmp_path / "run", index, hold, resume=True)


def test_a_run_goes_on_with_the_file_it_was_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tiny_runs.write_data(tmp_path / "data")
    run = tiny_runs.write_tiny_run(tmp_path / "run", tmp_path / "data", model_sha256="a" * 64)
    config = Run(run).config

    def resume() -> None:
        with ExitStack() as hold:
            claim.claim(run, config, index, resume=True, overwrite=False, hold=hold)

    monkeypatch.setattr(claim, "code_sha256", lambda _: "a" * 64)
    resume()
    monkeypatch.setattr(claim, "code_sha256", lambda _: "b" * 64)
    with pytest.raises(CheckpointError, match="another file of model") as no:
        resume()
    assert "aaaaaaaaaaaa there, bbbbbbbbbbbb here" in str(no.value)
    noted = (run / "run.json").read_text()
    (run / "run.json").write_text(noted.replace('"' + "a" * 64 + '"', "null"))
    resume()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_will_do(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(2):  # nothing is left behind that would bar the second
        with ExitStack() as hold:
            take(tmp_path / "run", index, hold)
            assert (tmp_path / "run").is_dir()
