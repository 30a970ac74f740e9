"""Folders and names of encoders."""

from pathlib import Path

import pytest

from lnln_dist.errors import ConfigError
from lnln_dist.models.encoder_source import EncoderSource


def test_a_folder_is_taken_as_such_and_never_asks_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lnln_dist.models.encoder_source.get_session", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bert").mkdir()
    with pytest.raises(ConfigError, match="not an encoder"):
        EncoderSource.of("bert")
    (tmp_path / "bert" / "config.json").write_text("{}")
    source = EncoderSource.of("bert")
    assert (source.place, source.folder) == (str(tmp_path / "bert"), Path("bert"))
    assert source.offline


class Session:
    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def head(self, url: str, *, timeout: float) -> None:
        if self.error:
            raise self.error


def test_the_hub_is_asked_when_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "lnln_dist.models.encoder_source"
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    monkeypatch.setattr(f"{module}.get_session", lambda: Session(None))
    assert EncoderSource.of("bert-base-uncased").offline == ""
    monkeypatch.setattr(f"{module}.get_session", lambda: Session(RuntimeError("no route")))
    assert "out of reach" in EncoderSource.of("someone/bert").offline
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    assert "HF_HUB_OFFLINE" in EncoderSource.of("someone/bert").offline


def test_files_are_found_in_folders_and_missing_ones_are_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    source = EncoderSource.of(str(tmp_path))
    assert source.find("config.json") == tmp_path / "config.json"
    assert source.find("vocab.txt") is None


def test_a_file_that_is_not_in_the_cache_is_none_offline() -> None:
    assert EncoderSource("no/such", "no/such", None, "offline").find("vocab.txt") is None
