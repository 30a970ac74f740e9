"""A cluster's address, before Ray is asked."""

import socket

import pytest

from lnln_dist.errors import UserError
from lnln_dist.sweep.tune.cluster import _check_reachable


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
