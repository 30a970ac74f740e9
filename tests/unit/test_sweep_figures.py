"""Figures of a sweep."""

import copy
from pathlib import Path

import pytest
from sweep_standin import SWEEP, drive, make_director

pytest.importorskip("matplotlib", reason="the figures of a sweep need matplotlib")

from lnln_dist.sweep.collect import collect
from lnln_dist.sweep.figures import _Stratum, draw


def test_one_file_per_axis_pair_and_stratum(tmp_path: Path) -> None:
    raw = copy.deepcopy(SWEEP)
    raw["axes"]["select.rates"] = {"grid": [[0.1], [0.9]]}
    drive(make_director(tmp_path, raw))
    made = draw(collect(tmp_path))
    names = {path.name for path in made}
    assert names == {
        f"{name}_rates{rate}.png"
        for rate in (0.1, 0.9)
        for name in (
            "rungs",
            "objective_loss.adversarial",
            "objective_loss.reconstruction",
            "heat_loss.adversarial_loss.reconstruction",
        )
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made)


def test_nothing_trained_nothing_drawn(tmp_path: Path) -> None:
    make_director(tmp_path)
    assert draw(collect(tmp_path)) == []


def test_settings_are_compared_where_all_have_been(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    drive(make_director(tmp_path))
    results = collect(tmp_path)
    picture = _Stratum(results, "all")
    assert picture.epoch == 1
    ax = Figure().add_subplot()
    picture.against("loss.adversarial")(ax)
    settings, means = ax.get_lines()[:2]
    assert len(settings.get_xdata()) == 8
    assert list(means.get_ydata()) == pytest.approx(
        [sum(list(settings.get_ydata())[i : i + 2]) / 2 for i in (0, 2, 4, 6)]
    )
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "0.2", "0.4", "0.8"]
    ax = Figure().add_subplot()
    picture.heat("loss.reconstruction", "loss.adversarial")(ax)
    cells = ax.get_images()[0].get_array()
    assert cells.shape == (2, 4)
    assert cells.min() == cells[1, 2]
