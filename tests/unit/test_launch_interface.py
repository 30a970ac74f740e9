"""Which interface leads to a host."""

import importlib.util
import socket
from types import ModuleType

import pytest
from launch_files import LAUNCH


@pytest.fixture
def interface() -> ModuleType:
    spec = importlib.util.spec_from_file_location("interface", LAUNCH / "interface.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_this_host_by_its_loopback(interface: ModuleType) -> None:
    assert interface.interface_to("127.0.0.1") == ("lo", "127.0.0.1")
    assert interface.resolve("localhost", 0) == "127.0.0.1"


def test_a_name_that_appears_later(interface: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([socket.gaierror(-2, "unknown"), socket.gaierror(-3, "again"), "10.0.0.9"])

    def lookup(_: str) -> str:
        answer = next(answers)
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.setattr(socket, "gethostbyname", lookup)
    monkeypatch.setattr(interface.time, "sleep", lambda _: None)
    assert interface.resolve("pod-0", patience=60) == "10.0.0.9"


def test_a_name_that_never_appears(interface: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(_: str) -> str:
        raise socket.gaierror(-2, "unknown")

    monkeypatch.setattr(socket, "gethostbyname", lookup)
    with pytest.raises(SystemExit, match="pod-0 has no address"):
        interface.resolve("pod-0", patience=0)
