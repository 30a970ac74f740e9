"""The folder of a sweep: what belongs to it, and that one driver at a time writes it.

``sweep.yaml`` the sweep without references to other files; ``settings.json`` its settings in the
order in which they were tried; ``events.jsonl`` the ledger; ``trials/NAME`` a run folder per trial;
``sweep.csv``, ``summary.*``, ``figures/`` and ``winner/`` made from these.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lnln_dist import settings
from lnln_dist.errors import CheckpointError, ConfigError, UserError
from lnln_dist.files import atomic_write, explain_os_errors
from lnln_dist.sweep import space as spaces
from lnln_dist.sweep import study
from lnln_dist.sweep.records import Ledger, Record, read_records
from lnln_dist.sweep.space import Space


class Folder:
    """A sweep's folder, new or old."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials = path / "trials"
        self.ledger = Ledger(path)

    @property
    def _settings(self) -> Path:
        return self.path / "settings.json"

    def trial(self, name: str) -> Path:
        """Run folder of a trial."""
        return self.trials / name

    def create(self, *, resume: bool) -> None:
        """Makes the folder, or refuses one that holds something.

        Raises:
            UserError: it holds a sweep and ``resume`` is off, or other things than a sweep.
        """
        with explain_os_errors(self.path):
            held = self.path.is_dir() and any(self.path.iterdir())
            if held and not self._settings.exists():
                raise UserError(f"{self.path} holds other things than a sweep: choose another")
            if held and not resume:
                raise UserError(
                    f"{self.path} exists: pass --resume to go on with it or add to it, or choose "
                    "another --output"
                )
            self.trials.mkdir(parents=True, exist_ok=True)

    def adopt(self, space: Space) -> None:
        """Puts the settings of earlier sessions first and in their old order.

        Raises:
            CheckpointError: a setting of that name meant something else then.
        """
        if not self._settings.exists():
            return
        rows = _read_settings(self._settings)
        by_name = {made.name: made for made in space.settings}
        old = []
        for row in rows:
            made = by_name.pop(row["name"], None)
            if made is None and space.sweep.search.kind == "optuna":
                made = _add_again(space, row)
            if made is None:
                continue  # no longer asked for; its trials stay where they are
            if made.key != row["key"]:
                raise CheckpointError(
                    f"{self.path}: setting {made.name} was tried with other common settings: "
                    "choose another --output, or put them back (compare with sweep.yaml there)"
                )
            old.append(made)
        space.settings[:] = [*old, *by_name.values()]

    def save(self, space: Space) -> None:
        """Writes the sweep and its settings; names of earlier settings are kept."""
        rows = _read_settings(self._settings) if self._settings.exists() else []
        known = {made.name for made in space.settings}
        rows = [row for row in rows if row["name"] not in known]
        rows = [
            {"name": s.name, "stratum": s.stratum, "key": s.key, "values": dict(s.values)}
            for s in space.settings
        ] + rows
        atomic_write(self._settings, json.dumps({"format": 1, "settings": rows}, indent=1) + "\n")
        atomic_write(self.path / "sweep.yaml", study.dump(space.sweep))

    def records(self, space: Space) -> dict[tuple[str, int], Record]:
        """What every trial has reached, by (setting, seed)."""
        names = {
            (s.name, seed): s.trial(seed) for s in space.settings for seed in space.sweep.seeds
        }
        found = read_records(self.trials, names.values(), self.ledger.read())
        return {key: found[name] for key, name in names.items()}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second driver out.

        Raises:
            UserError: another driver runs in this folder.
        """
        with explain_os_errors(self.path), (self.path / ".driver").open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as err:
                handle.seek(0)
                who = handle.read().strip() or "unknown"
                raise UserError(
                    f"{self.path}: another sweep is running here ({who}): wait for it or stop it"
                ) from err
            handle.truncate(0)
            handle.write(f"process {os.getpid()} on {os.uname().nodename}\n")
            handle.flush()
            yield


def load(path: Path) -> tuple[Folder, Space]:
    """A sweep's folder as it stands, for reports.

    Raises:
        CheckpointError: no sweep there.
    """
    folder = Folder(path)
    if not (path / "settings.json").exists():
        raise CheckpointError(f"{path}: no sweep here; give the --output of a sweep")
    sweep = study.build(settings.read_yaml(path / "sweep.yaml"), at=f"{path}/sweep.yaml: ")
    space = spaces.resolve(sweep)
    folder.adopt(space)
    return folder, space


def _read_settings(path: Path) -> list[dict[str, Any]]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        rows = raw["settings"]
        return [{k: row[k] for k in ("name", "stratum", "key", "values")} for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise CheckpointError(f"{path}: cannot be read ({err}); put it back from a copy") from err


def _add_again(space: Space, row: dict[str, Any]) -> Any:
    try:
        made = space.add(row["values"])
    except (ConfigError, KeyError):
        return None  # proposed for other axes than those of now
    if made is not None and made.name != row["name"]:
        made = replace(made, name=row["name"])
    return made
