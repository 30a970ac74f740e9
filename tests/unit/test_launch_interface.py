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


@pytest.fixture
def debian(interface: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A host whose own name is 127.0.1.1, on a network it reaches by eth0."""
    known = {"127.0.1.1": ("lo", "127.0.0.1"), interface.FAR: ("eth0", "10.0.0.5")}
    monkeypatch.setattr(socket, "gethostbyname", lambda _: "127.0.1.1")
    monkeypatch.setattr(socket, "gethostname", lambda: "node1")
    monkeypatch.setattr(interface, "interface_to", lambda address: known[address])
    return interface


def test_a_name_of_the_loopback_is_no_way_to_other_hosts(debian: ModuleType) -> None:
    assert debian.interface_for("node1", 0, alone=True) == ("lo", "127.0.0.1")
    assert debian.interface_for("node1", 0, alone=False) == ("eth0", "10.0.0.5")
    assert debian.interface_for("node1.cluster", 0, alone=False) == ("eth0", "10.0.0.5")


def test_on_another_host_it_is_refused(debian: ModuleType) -> None:
    for name in ("node2", "localhost"):
        with pytest.raises(SystemExit, match=r"node1 takes it for itself.*/etc/hosts"):
            debian.interface_for(name, 0, alone=False)


def test_without_a_default_route_it_is_refused(
    debian: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_route(address: str) -> tuple[str, str]:
        if address == debian.FAR:
            raise SystemExit("no route")
        return "lo", "127.0.0.1"

    monkeypatch.setattr(debian, "interface_to", no_route)
    with pytest.raises(SystemExit, match=r"node1 is 127\.0\.1\.1.*/etc/hosts"):
        debian.interface_for("node1", 0, alone=False)


def test_a_loopback_address_means_this_host(interface: ModuleType) -> None:
    assert interface.interface_for("127.0.0.1", 0, alone=False) == ("lo", "127.0.0.1")


@pytest.mark.parametrize(("hosts", "alone"), [("1", True), ("2", False), ("1:4", False)])
def test_hosts_of_a_launch(interface: ModuleType, hosts: str, alone: bool) -> None:
    assert interface.is_alone(hosts) == alone
