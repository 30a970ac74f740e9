"""Where a text encoder's files are: a folder, the hub, or the hub's cache on this machine."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, get_session, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from lnln_dist.errors import ConfigError

HUB_TIMEOUT = 5.0  # seconds until the hub counts as out of reach


@dataclass(frozen=True)
class EncoderSource:
    """A place transformers can load from."""

    name: str
    """As the user wrote it."""
    place: str
    """Absolute folder, or name on the hub."""
    folder: Path | None
    """The folder, if it is one."""
    offline: str
    """Why only files on this machine are used; empty if the hub is asked."""

    @classmethod
    def of(cls, name: str) -> "EncoderSource":
        """Tells folders from names, and whether the hub can be asked.

        Raises:
            ConfigError: it looks like a folder and is none, or holds no config.json.
        """
        path = Path(name).expanduser()
        if path.is_dir():
            if not (path / "config.json").is_file():
                raise ConfigError(
                    f"model.encoder.name: {name} has no config.json, it is not an encoder"
                )
            return cls(name, str(path.absolute()), path, "it is a folder")
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise ConfigError(f"model.encoder.name: there is no folder {name}")
        return cls(name, name, None, _why_offline())

    def find(self, file: str) -> Path | None:
        """A file of the encoder on this machine, fetched if need be; None if it has none."""
        if self.folder is not None:
            return self.folder / file if (self.folder / file).is_file() else None
        try:
            return Path(hf_hub_download(self.place, file, local_files_only=bool(self.offline)))
        except EntryNotFoundError:
            return None


def _why_offline() -> str:
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set and it is not in the local cache"
    try:  # asked once: the hub's own client would go on retrying for half a minute
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
    except Exception:  # of several libraries, whatever stands between us and the hub
        return f"{constants.ENDPOINT} is out of reach and it is not in the local cache"
    return ""
