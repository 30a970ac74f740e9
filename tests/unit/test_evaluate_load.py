"""Networks rebuilt from run folders."""

from pathlib import Path

import pytest
import tiny_runs
import torch

from lnln_dist.errors import CheckpointError, ConfigError
from lnln_dist.evaluate.load import build_model, encoder_vocabulary_size, load_model, load_weights
from lnln_dist.runs import Run, save_best


@pytest.fixture
def run(tmp_path: Path) -> Run:
    index = tiny_runs.write_data(tmp_path / "data")
    folder = tiny_runs.write_tiny_run(tmp_path / "run", tmp_path / "data", names=("best", "mae"))
    assert index.tokenizer.vocab_size == encoder_vocabulary_size(Run(folder))
    return Run(folder)


def test_weights_and_note_are_those_of_the_named_checkpoint(run: Run) -> None:
    states = {name: run.load_best(name)[0] for name in ("best", "mae")}
    for name, state in states.items():
        model, _ = load_model(run, name)
        assert not model.training
        assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert not torch.equal(states["best"]["sentiment.weight"], states["mae"]["sentiment.weight"])
    assert load_weights(build_model(run), run)["selected_on"] == "valid"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop("sentiment.weight"), "lacks sentiment.weight;"),
        (lambda s: s.update(extra=torch.zeros(1)), "has unknown extra;"),
        (lambda s: s.update({"sentiment.bias": torch.zeros(2)}), "another size of sentiment.bias;"),
        (lambda s: [s.pop(k) for k in list(s)[:5]], r"lacks .*, .* and 3 more;"),
    ],
)
def test_foreign_weights_are_refused_in_one_line(run: Run, change, match: str) -> None:
    state, note = run.load_best()
    change(state)
    save_best(run.folder, state, note)
    with pytest.raises(CheckpointError, match=match) as caught:
        load_model(run)
    assert "\n" not in str(caught.value)


def test_no_such_checkpoint(run: Run) -> None:
    with pytest.raises(CheckpointError, match=r"no such checkpoint.*best, mae"):
        load_model(run, "corr")


def test_no_encoder(run: Run) -> None:
    (run.encoder_folder / "config.json").unlink()
    assert encoder_vocabulary_size(run) is None
    with pytest.raises(ConfigError, match="encoder"):
        load_model(run)
