"""The folder of a sweep: what belongs to it.

``sweep.yaml`` the sweep without references to other files; ``settings.json`` its settings in the
order in which they were tried; ``trials/NAME`` a run folder per trial; ``sweep.csv``,
``summary.*``, ``figures/`` and ``winner/`` made from these.
"""

import json
import shutil
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lnln_dist import settings
from lnln_dist.errors import CheckpointError, ConfigError, UserError
from lnln_dist.files import LOCK, PENDING, atomic_write, explain_os_errors
from lnln_dist.sweep import axes, study
from lnln_dist.sweep import space as spaces
from lnln_dist.sweep.records import Record, read_records
from lnln_dist.sweep.space import Setting, Space

_NO_HASHES: Mapping[str, str] = {}


class Folder:
    """A sweep's folder, new or old."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials = path / "trials"

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
            held = self.path.is_dir() and any(map(_counts, self.path.iterdir()))
            if held and not self._settings.exists():
                if (self.path / "sweep.yaml").exists():
                    raise CheckpointError(f"{self._settings} is gone: put it back from a copy")
                raise UserError(f"{self.path} holds other things than a sweep: choose another")
            _refuse_old(self.path)
            if held and not resume:
                raise UserError(
                    f"{self.path} exists: pass --resume to go on with it or add to it, or choose "
                    "another --output"
                )
            self.trials.mkdir(parents=True, exist_ok=True)

    def adopt(self, space: Space, data: Mapping[str, str] = _NO_HASHES) -> None:
        """Puts the settings of earlier sessions first, in their old order and under their names.

        A setting is known by what it computes: an axis that is new, at the value that was in force
        before, does not make another one of it.

        Args:
            data: hash of the prepared data by its folder, as far as known.

        Raises:
            CheckpointError: a setting of that name meant something else then, or other data.
        """
        if not self._settings.exists():
            return
        begun = {path.name.rpartition("_s")[0] for path in self.trials.glob("*")}
        by_key = {made.key: made for made in space.settings}
        names = {made.name: made for made in space.settings}
        old = []
        rows = _read_settings(self._settings)["settings"]
        for row in rows:
            made = by_key.pop(row["key"], None)
            if made is None and space.sweep.search.proposes:
                made = _add_again(space, row)
            other = names.get(row["name"]) if made is None else made
            if other is not None and other.key != row["key"] and row["name"] in begun:
                raise CheckpointError(
                    f"{self.path}: setting {row['name']} was tried with other common settings"
                    f"{self._changed(space)}: choose another --output, or put them back "
                    "(--resume without --config takes the sweep as it was)"
                )
            if made is None:
                continue  # no longer asked for; its trials stay where they are
            now = data.get(made.data)
            if now and row["data"] and row["data"] != now and row["name"] in begun:
                raise CheckpointError(
                    f"{self.path}: setting {row['name']} was trained on other data than "
                    f"{made.data} holds now: choose another --output or put the data back"
                )
            made = replace(made, name=row["name"])
            if row["name"] in begun:
                self._lengthen(made, row["epochs"] or made.epochs, space.sweep.seeds)
            old.append(made)
        taken = {made.key for made in old}
        # Trials are known by their setting's name: a new setting must not get an old one's.
        reserved = {row["name"] for row in rows}
        new = [
            replace(made, name=spaces.longer(made)) if made.name in reserved else made
            for made in space.settings
            if made.key not in taken
        ]
        space.settings[:] = [*old, *new]
        for name, count in Counter(made.name for made in space.settings).items():
            if count > 1:
                raise CheckpointError(
                    f"{self._settings}: two settings are called {name}, so their trials cannot be "
                    "told apart: choose another --output"
                )

    def _lengthen(self, made: Setting, before: int, seeds: Collection[int]) -> None:
        """Lets trials of a setting go on that were through with a shorter training."""
        if made.epochs < before:
            raise CheckpointError(
                f"{self.path}: setting {made.name} was trained with train.epochs {before}: a sweep "
                f"can be lengthened, not cut to {made.epochs}: choose another --output"
            )
        if made.epochs > before:
            for name, record in read_records(self.trials, map(made.trial, seeds)).items():
                if record.finished and len(record.epochs) == before:
                    record.note.finished, record.note.pruned = False, True
                    record.save(self.trial(name))
                    shutil.rmtree(self.trial(name) / "checkpoints", ignore_errors=True)

    def _changed(self, space: Space) -> str:
        """Common settings that differ from those of the sweep as it is noted."""
        try:
            noted = study.build(settings.read_yaml(self.path / "sweep.yaml"))
        except UserError:
            return ""
        old, new = (settings.flatten(sweep.settings) for sweep in (noted, space.sweep))
        keys = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
        listed = "; ".join(f"{k}: {old.get(k)!r} there, {new.get(k)!r} here" for k in keys)
        if spaces.EPOCHS in keys:
            listed += "; only a constant schedule without warm-up can be lengthened"
        return f" ({listed})" if listed else ""

    def save(
        self,
        space: Space,
        data: Mapping[str, str] = _NO_HASHES,
        *,
        exhausted: Collection[str] = (),
    ) -> None:
        """Writes the sweep and its settings; names of earlier settings are kept.

        Args:
            data: as ``adopt``; what is not known stays as it was noted.
            exhausted: strata for which a sampler found nothing more.
        """
        old = _read_settings(self._settings) if self._settings.exists() else {}
        before = old.get("settings", [])
        noted = {row["name"]: row["data"] for row in before}
        rows = [
            {
                "name": made.name,
                "stratum": made.stratum,
                "key": made.key,
                "epochs": made.epochs,
                "data": data.get(made.data) or noted.get(made.name, ""),
                "values": dict(made.values),
            }
            for made in space.settings
        ]
        known = {made.name for made in space.settings}
        rows += [row for row in before if row["name"] not in known]
        closed = old.get("exhausted", {}) | dict.fromkeys(sorted(exhausted), space.drawn_from)
        content = {"format": 1, "settings": rows, "exhausted": closed}
        atomic_write(self._settings, json.dumps(content, indent=1) + "\n")
        atomic_write(self.path / "sweep.yaml", study.dump(space.sweep))

    def records(self, space: Space) -> dict[tuple[str, int], Record]:
        """What every trial has reached, by (setting, seed)."""
        names = {
            (s.name, seed): s.trial(seed) for s in space.settings for seed in space.sweep.seeds
        }
        found = read_records(self.trials, names.values())
        return {key: found[name] for key, name in names.items()}

    def exhausted(self, space: Space) -> set[str]:
        """Strata for which a sampler found nothing more in the present axes."""
        if not space.unfilled or not self._settings.exists():
            return set()
        noted = _read_settings(self._settings)["exhausted"]
        return {stratum for stratum, drawn_from in noted.items() if drawn_from == space.drawn_from}


def _counts(path: Path) -> bool:
    """Whether an entry of a folder is more than a sweep leaves that was killed at its start."""
    if path.name == LOCK or path.name.startswith(PENDING):
        return False
    return path.name != "trials" or any(path.iterdir())


def _refuse_old(path: Path) -> None:
    if (path / "events.jsonl").exists():
        raise CheckpointError(
            f"{path} is a sweep of an earlier version (it has an events.jsonl): go on with that "
            "version, or choose another --output"
        )


def load(path: Path) -> tuple[Folder, Space]:
    """A sweep's folder as it stands, for reports.

    Raises:
        CheckpointError: no sweep there.
    """
    folder = Folder(path)
    if not (path / "settings.json").exists():
        raise CheckpointError(f"{path}: no sweep here; give the --output of a sweep")
    _refuse_old(path)
    raw = settings.read_yaml(path / "sweep.yaml")
    if not raw:
        raise CheckpointError(f"{path}/sweep.yaml is empty: put it back from a copy")
    sweep = study.build(raw, at=f"{path}/sweep.yaml: ")
    space = spaces.resolve(sweep)
    folder.adopt(space)
    return folder, space


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        rows = raw["settings"]
        names = ("name", "stratum", "key", "values")
        for row in rows:
            if not all(isinstance(row[k], str) for k in names[:3]):
                raise ValueError(f"name, stratum and key of {json.dumps(row)[:120]} are no text")
        more = {"data": "", "epochs": 0}  # not in those of earlier versions
        rows = [
            {k: row[k] for k in names} | {k: row.get(k, v) for k, v in more.items()} for row in rows
        ]
        return {"settings": rows, "exhausted": dict(raw.get("exhausted", {}))}
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise CheckpointError(f"{path}: cannot be read ({err}); put it back from a copy") from err


def _add_again(space: Space, row: dict[str, Any]) -> Setting | None:
    try:
        if not axes.possible(space.sweep, row["values"]):
            return None
        return space.add(row["values"])
    except (ConfigError, KeyError):
        return None  # proposed for other axes or strata than those of now
