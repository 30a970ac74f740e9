"""Figures of a sweep."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from sweep_standin import SWEEP, drive, make_study, swept

from lnln_dist.sweep.figures import Stratum, draw
from lnln_dist.sweep.results import Results

SAMPLED = {
    **SWEEP,
    "axes": {
        "loss.adversarial": {"uniform": [0.0, 1.0]},
        "optim.lr": {"loguniform": [1e-5, 1e-2]},
        "noise.maximum": {"grid": [0.5, 1.0]},
    },
    "search": {"kind": "random", "samples": 6},
}


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Stratum:
    return Stratum(swept(tmp_path_factory.mktemp("sampled"), SAMPLED), "all")


def drawn(plot: Callable[..., None], *axes: str) -> Any:
    ax = Figure().add_subplot()
    plot(*axes, ax)
    return ax


def test_one_file_per_axis_pair_and_stratum(tmp_path: Path) -> None:
    axes = {**SWEEP["axes"], "select.rates": {"grid": [[0.1], [0.9]]}}
    study = make_study(tmp_path, {**SWEEP, "axes": axes})
    draw(Results(tmp_path))
    assert not list((tmp_path / "figures").iterdir())  # nothing trained, nothing drawn
    drive(study)
    draw(Results(tmp_path))
    made = list((tmp_path / "figures").iterdir())
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


def test_sampled_axes_are_drawn_at_their_values(sampled: Stratum) -> None:
    results = sampled.results
    ax = drawn(sampled.against, "optim.lr")
    assert ax.get_xscale() == "log"
    settings = ax.get_lines()[0]
    assert sorted(settings.get_xdata()) == sorted(s.values["optim.lr"] for s in results.settings)
    winner = results.winner("all")
    assert winner is not None
    assert ax.containers[0].lines[0].get_xdata()[0] == winner.values["optim.lr"]
    ax = drawn(sampled.against, "loss.adversarial")
    assert ax.get_xscale() == "linear"
    # Draws do not repeat, so there is no mean to draw a line through.
    assert len([line for line in ax.get_lines() if line.get_linestyle() != "None"]) == 0


def test_two_sampled_axes_are_a_scatter_coloured_by_the_objective(sampled: Stratum) -> None:
    ax = drawn(sampled.heat, "loss.adversarial", "optim.lr")
    assert not ax.get_images()
    (scatter,) = ax.collections
    # Both values of the grid have the same draws: one point shows their mean.
    early: dict[tuple[float, float], list[float]] = {}
    for s in sampled.results.settings:
        place = (s.values["optim.lr"], s.values["loss.adversarial"])
        early.setdefault(place, []).append(sampled.curves.loc[sampled.epoch, s.name])
    assert {len(values) for values in early.values()} == {2}
    shown = zip(scatter.get_offsets().tolist(), scatter.get_array().tolist(), strict=True)
    assert {tuple(place): value for place, value in shown} == pytest.approx(
        {place: sum(values) / 2 for place, values in early.items()}
    )
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    ax = drawn(sampled.heat, "optim.lr", "noise.maximum")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.5", "1.0"]
    assert ax.get_yscale() == "log"


def test_settings_are_compared_where_all_have_been(tmp_path: Path) -> None:
    picture = Stratum(swept(tmp_path), "all")
    assert picture.epoch == 1
    ax = drawn(picture.against, "loss.adversarial")
    settings, means = ax.get_lines()[:2]
    assert len(settings.get_xdata()) == 8
    assert list(means.get_ydata()) == pytest.approx(
        [sum(list(settings.get_ydata())[i : i + 2]) / 2 for i in (0, 2, 4, 6)]
    )
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "0.2", "0.4", "0.8"]
    ax = drawn(picture.heat, "loss.reconstruction", "loss.adversarial")
    cells = ax.get_images()[0].get_array()
    assert cells.shape == (2, 4)
    assert cells.min() == cells[1, 2]
