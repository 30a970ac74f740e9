"""Whether a run may start: do settings fit the data, is the folder free or this run's own."""

import shutil
from pathlib import Path

from lnln_dist import metrics, settings
from lnln_dist.config import Config
from lnln_dist.data.schema import Index
from lnln_dist.errors import CheckpointError, ConfigError, UserError
from lnln_dist.files import explain_os_errors
from lnln_dist.runs import Run


def check_against_data(config: Config, index: Index) -> None:
    """Refuses settings that this data cannot satisfy.

    Raises:
        ConfigError: the key and what it may be.
    """
    known = metrics.METRICS[index.family]
    if config.select.metric not in known:
        raise ConfigError(
            f"select.metric: {config.select.metric!r} is not a score of {index.dataset}; "
            f"choose one of {', '.join(known)}"
        )
    if config.select.noise == "official" and config.data.padding != "corpus":
        raise ConfigError("select.noise official needs data.padding: corpus")


def claim(folder: Path, config: Config, index: Index, resume: bool, overwrite: bool) -> None:
    """Makes ``folder`` this run's, or refuses it.

    Raises:
        UserError: it holds something else, or a run that is neither to be resumed nor replaced.
        CheckpointError: the run there has other settings or data; the differing keys are named.
    """
    with explain_os_errors(folder):
        if folder.exists() and overwrite and not resume:
            if any(folder.iterdir()) and not (folder / "run.json").exists():
                raise UserError(f"{folder} holds other things than a run: choose another folder")
            shutil.rmtree(folder)
        held = folder.is_dir() and any(folder.iterdir())
        if held and not resume:
            raise UserError(
                f"{folder} exists: pass --resume to go on with it, --overwrite to replace it, or "
                "choose another --output"
            )
        folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "run.json").exists():
        return
    old = Run(folder)
    changed = settings.differences(old.config, config)
    if changed:
        listed = "; ".join(f"{k}: {a!r} there, {b!r} here" for k, (a, b) in changed.items())
        raise CheckpointError(f"{folder} was trained with other settings ({listed})")
    if old.info.data_hash != index.data_hash():
        raise CheckpointError(
            f"{folder} was trained on other data than {config.data.path} (data hash "
            f"{(old.info.data_hash or 'unknown')[:12]} there, {index.data_hash()[:12]} here)"
        )
