"""A cluster's address, before Ray is asked, how many trials it holds, and whether nodes are fit."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lnln_dist.errors import UserError
from lnln_dist.sweep.study import ResourcesConfig
from lnln_dist.sweep.tune.cluster import (
    _check_reachable,
    capacity,
    check_launch,
    check_nodes,
    wait_for,
)

TWO_NODES = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0, "GPU": 1.0}]


@pytest.mark.parametrize(
    ("nodes", "need", "slots"),
    [
        (TWO_NODES, {}, 12),
        (TWO_NODES, {"cpus": 3}, 3),
        (TWO_NODES, {"gpus": 1}, 3),
        (TWO_NODES, {"gpus": 0.5, "cpus": 2}, 6),
        (TWO_NODES, {"gpus": 0.4}, 6),
        (TWO_NODES, {"gpus": 0.1, "cpus": 0.1}, 30),
        (TWO_NODES, {"gpus": 0.7}, 3),
        (TWO_NODES, {"gpus": 1, "workers": 3}, 1),
        (TWO_NODES, {"gpus": 1, "workers": 4}, 0),
        (TWO_NODES, {"workers": 2, "cpus": 4}, 1),
        (TWO_NODES, {"concurrent": 5}, 5),
        ([{"CPU": 16.0}], {"gpus": 0.5}, 0),
        ([], {}, 0),
    ],
)
def test_slots(nodes: list[dict[str, float]], need: dict[str, float], slots: int) -> None:
    assert capacity(nodes, ResourcesConfig(**need)).slots == slots


def test_a_sweep_that_never_fits_is_refused() -> None:
    ray = SimpleNamespace(nodes=lambda: [{"Resources": n, "Alive": True} for n in TWO_NODES])
    with pytest.raises(UserError, match="needs 1 CPU cores and 1 GPUs in each of 4 processes"):
        wait_for(ray, ResourcesConfig(gpus=1, workers=4), seconds=0)
    fits = wait_for(ray, ResourcesConfig(gpus=1), seconds=0)
    assert str(fits) == "2 nodes, 12 CPU cores, 3 GPUs: 3 trials at once"


def test_a_cluster_that_grows_is_waited_for() -> None:
    nodes = [{"Resources": {"CPU": 1.0}, "Alive": True}]
    asked = iter([[], nodes])
    found = wait_for(SimpleNamespace(nodes=lambda: next(asked)), ResourcesConfig(), seconds=0.01)
    assert found.slots == 1


def test_a_launcher_around_the_sweep_is_refused() -> None:
    check_launch({"RANK": "0", "ACCELERATE_USE_CPU": "true"})
    for name in ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION"):
        with pytest.raises(UserError, match=name):
            check_launch({name: "x"})


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_where_nobody_listens_is_refused_at_once(form: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = form.format(probe.getsockname()[1])
        with pytest.raises(UserError, match=r"no Ray cluster at .* correct --address"):
            _check_reachable(address)
        probe.listen()
        _check_reachable(address)


def test_other_forms_are_left_to_ray() -> None:
    _check_reachable("auto")
    with pytest.raises(UserError, match="no Ray cluster"):
        _check_reachable("127.0.0.1:99999")


class TwoNodes:
    """As much of Ray as `check_nodes` asks: node b fails; Ray finds out later that it was dead."""

    def __init__(self, *, dies: bool) -> None:
        self.listed, self.dies = 0, dies

    def nodes(self) -> list[dict[str, Any]]:
        self.listed += 1
        alive = {"a": True, "b": self.listed == 1 or not self.dies}
        row = {"Resources": {"CPU": 1.0}}
        return [
            {"NodeID": 56 * n, "NodeManagerAddress": n, "Alive": up, **row}
            for n, up in alive.items()
        ]

    def remote(self, **_: Any) -> Any:
        return lambda look: SimpleNamespace(
            options=lambda scheduling_strategy: SimpleNamespace(
                remote=lambda *asked: (scheduling_strategy.node_id, look, asked)
            )
        )

    def get(self, answer: Any, timeout: float) -> Any:
        assert timeout > 0
        node, look, asked = answer
        if node[0] == "b":
            raise RuntimeError("the node does not exist any more")
        return look(*asked)


def test_a_node_that_has_died_meanwhile_is_no_problem_of_the_sweep(tmp_path: Path) -> None:
    """Ray lists a dead node as alive until it has missed its heartbeats."""
    pytest.importorskip("ray", reason="Ray is an extra")
    check_nodes(TwoNodes(dies=True), tmp_path, [])
    with pytest.raises(UserError, match=r"^node b: RuntimeError: the node does not exist"):
        check_nodes(TwoNodes(dies=False), tmp_path, [])
