"""A cluster's address, before Ray is asked, and whether its nodes are fit."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lnln_dist.errors import UserError
from lnln_dist.sweep.tune.cluster import _check_reachable, check_nodes


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
