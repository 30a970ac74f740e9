"""Errors that are the user's to mend; the command line prints them as one line."""

from pathlib import Path


class UserError(Exception):
    """Wrong input or surroundings. The message says what is wrong and what to do."""


class ConfigError(UserError):
    """A setting is unknown, of the wrong type or impossible; the message names its dotted key."""


class DataError(UserError):
    """A feature file, shard or index cannot be used as it is."""


class CheckpointError(UserError):
    """A run folder or checkpoint is missing, damaged or belongs to something else."""


class TransientError(UserError):
    """The surroundings failed, not what was asked for: the same again may succeed."""


class StorageError(UserError):
    """The disk is full or may not be written: everything else there would fail, too."""


class PreemptedError(UserError):
    """The run was told to leave (SIGTERM, SIGUSR1) and has written its checkpoint."""


class TrainingError(UserError):
    """Training cannot go on (a loss or gradient that is not finite, a wrong launch)."""


def one_line(err: BaseException) -> str:
    """What an exception of somebody else's says, or its type if it says nothing."""
    return " ".join(str(err).split()) or type(err).__name__


def install(extra: str) -> str:
    """The command that installs an extra of this package as the package itself was installed.

    A checkout is named by its folder: nobody else's package of our name is fetched from an index.
    """
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / "setup.cfg").is_file():
        return f"pip install 'lnln-dist[{extra}]'"
    return f"pip install -e '{'.' if checkout == Path.cwd() else checkout}[{extra}]'"
