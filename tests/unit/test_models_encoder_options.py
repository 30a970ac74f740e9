"""Dropout and activation checkpointing of a text encoder."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from encoder_files import build, inputs, write_bert

from lnln_dist import settings
from lnln_dist.errors import ConfigError
from lnln_dist.models.encoder_options import recompute_activations, set_dropout
from lnln_dist.models.text import TextEncoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "bert")


def one_step(encoder: TextEncoder) -> tuple[torch.Tensor, list[torch.Tensor | None], int]:
    """Output, gradients and bytes kept for the backward pass, from a fixed dropout stream."""
    own = {p.untyped_storage().data_ptr() for p in encoder.parameters()}
    kept = {}

    def note(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    torch.manual_seed(3)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        hidden = encoder(*inputs())
        # Twice, as the network does: complete and damaged text.
        hidden = hidden + encoder(*inputs())
    (hidden**2).sum().backward()
    return hidden, [p.grad for p in encoder.parameters()], sum(kept.values())


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("freeze", ["none", "embeddings"])
def test_checkpointing_changes_memory_and_no_number(
    folder: Path, dropout: float, freeze: str
) -> None:
    changes = {"dropout": dropout, "freeze": freeze}
    plain = one_step(build(folder, **changes).train())
    saving = one_step(build(folder, checkpoint_activations=True, **changes).train())
    assert torch.equal(plain[0], saving[0])
    for one, other in zip(plain[1], saving[1], strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)
    assert any(grad is not None for grad in plain[1])
    assert saving[2] < plain[2] / 2


def test_dropout_really_acts_in_the_parity_test(folder: Path) -> None:
    calm, rough = (one_step(build(folder, dropout=d).train())[0] for d in (0.0, 0.3))
    assert not torch.allclose(calm, rough)


def test_a_frozen_encoder_has_nothing_to_checkpoint() -> None:
    with pytest.raises(ConfigError, match="no effect on a frozen encoder"):
        settings.build({"model": {"encoder": {"checkpoint_activations": True, "freeze": "all"}}})


def test_checkpointing_is_bookkeeping() -> None:
    plain = settings.build({})
    saving = settings.build({"model": {"encoder": {"checkpoint_activations": True}}})
    assert settings.config_hash(plain) == settings.config_hash(saving)


def test_an_encoder_that_cannot_is_refused() -> None:
    kind = SimpleNamespace(model_type="abacus")
    model = SimpleNamespace(supports_gradient_checkpointing=False, config=kind)
    with pytest.raises(ConfigError, match="type abacus cannot do it"):
        recompute_activations(model)


def test_dropout_of_an_encoder_without_any() -> None:
    config = settings.build({"model": {"encoder": {"dropout": 0.2}}}).model.encoder
    with pytest.raises(ConfigError, match="no dropout setting"):
        set_dropout(config, SimpleNamespace())
