"""The public trainable: what it refuses, and a trial's own settings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lnln_dist import settings
from lnln_dist.errors import ConfigError
from lnln_dist.sweep.study import ResourcesConfig

pytest.importorskip("ray", reason="Ray is an extra")

from sweep_standin import SWEEP, make_study

from lnln_dist.sweep import make_trainable
from lnln_dist.sweep.tune.driver import seat
from lnln_dist.sweep.tune.trainable import Kept, Named, Seat

SHARED = {"train": {"epochs": 7}}


def test_mistakes_are_told_before_tune_starts(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text(yaml.safe_dump(SHARED))
    assert callable(make_trainable(path))
    with pytest.raises(ConfigError, match=r"train.epoch: unknown key; did you mean train.epochs"):
        make_trainable(path, overrides={"train.epoch": 3})
    with pytest.raises(ConfigError, match="no such config file"):
        make_trainable(tmp_path / "nobody.yaml")


def test_a_trials_dotted_settings_are_laid_over_the_shared_ones() -> None:
    made = Seat(settings=SHARED, need=ResourcesConfig())
    own = {"optim.lr": np.float64(0.5), "train.batch_size": np.int64(3), "train.seed": 2}
    expected = {"optim": {"lr": 0.5}, "train": {"epochs": 7, "batch_size": 3, "seed": 2}}
    assert made.config(own) == settings.build(expected)
    with pytest.raises(ConfigError, match=r"optim.rl: unknown key"):
        made.config({"optim.rl": 1})


@pytest.mark.parametrize(("kind", "name"), [(Named, "a_s1"), (Kept, "a_s1 and later ones")])
def test_an_actor_is_known_by_its_trial(kind: type, name: str) -> None:
    class Tunes:
        trial_name = "a_s1"

        def setup(self, config: dict[str, Any]) -> None:
            self.config = config

    actor = type("Actor", (kind, Tunes), {})()
    actor.setup({"a": 1})
    assert (actor._name, actor.config) == (name, {"a": 1})


def test_a_group_ends_where_a_study_decides(tmp_path: Path) -> None:
    raw = {**SWEEP, "screen": {"seeds": 2, "grace_epochs": 2, "reduction": 2}}
    assert seat(make_study(tmp_path / "a", raw).space, "", None).listen == [2, 4, 8, 9]
    raw["screen"] = {"scheduler": "fifo", "epochs": 3}
    assert seat(make_study(tmp_path / "b", raw).space, "", None).listen == [3, 9]
    raw["screen"] = {"scheduler": {"ray": "ASHAScheduler"}}
    assert seat(make_study(tmp_path / "c", raw).space, "", None).listen is None
