"""Every shipped study resolves to what its header says."""

from pathlib import Path

import pytest

from lnln_dist.sweep import session, space

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
# name -> settings, strata, seeds
STUDIES = {
    "sweep_demo": (12, 1, 3),
    "sweep_models": (2, 1, 3),
    "study_ablation": (19, 1, 3),
    "study_gaps": (4, 2, 6),
    "study_models": (9, 1, 5),
    "study_mosi": (7, 1, 3),
    "study_mosi_official": (1, 1, 3),
    "study_recipe": (10, 1, 6),
    "sweep_loss_weights": (12, 1, 5),
    "sweep_missing_rate": (11, 1, 3),
    "sweep_seeds_3": (1, 1, 3),
    "sweep_seeds_10": (1, 1, 10),
    "sweep_full": (3 * 3 * 16, 3, 5),
}


def test_the_list_is_complete() -> None:
    found = {path.stem for kind in ("sweep", "study") for path in CONFIGS.glob(f"{kind}_*.yaml")}
    assert found == set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_it_resolves(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    made = space.resolve(session.frozen(path, []))
    found = (len(made.settings), len(made.strata), len(made.sweep.seeds))
    assert found == STUDIES[name]
    assert not made.dropped
    for setting in made.settings:
        made.config(setting.values, made.sweep.seeds[0])
    header = path.read_text().split("\nconfig:")[0]
    assert f"configs/{name}.yaml" in header
    assert "Hardware:" in header


def test_the_demo_spends_less_than_half_of_its_full_grid() -> None:
    path = CONFIGS / "sweep_demo.yaml"
    cost = space.resolve(session.frozen(path, [])).expected()
    assert cost.trials >= 24
    assert cost.epochs < 0.5 * cost.full
    full = space.resolve(session.frozen(path, ["confirm.best=12"])).expected()
    assert full.epochs == full.full == cost.full


def test_ten_seeds_extend_three() -> None:
    three, ten = (
        space.resolve(session.frozen(CONFIGS / f"sweep_seeds_{n}.yaml", [])) for n in (3, 10)
    )
    assert three.settings[0].key == ten.settings[0].key
    assert ten.sweep.seeds[:3] == three.sweep.seeds
