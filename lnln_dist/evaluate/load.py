"""The network of a run folder, rebuilt from what the folder says and filled with its weights."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lnln_dist.errors import CheckpointError
from lnln_dist.models import build_network
from lnln_dist.models.text import load_encoder_skeleton
from lnln_dist.runs import Run

WEIGHTS = "weights_sha256"


def build_model(run: Run) -> nn.Module:
    """The run's network on the CPU in evaluation mode, its weights still random.

    Raises:
        ConfigError: the run's encoder folder is missing or damaged.
    """
    encoder = load_encoder_skeleton(run.encoder_folder, freeze=run.config.model.encoder.freeze)
    # Without what it remembered of the training samples, which its best weights do not hold.
    return build_network(run.config, encoder, replace(run.info.shapes, rows=0)).eval()


def load_weights(model: nn.Module, run: Run, name: str = "best") -> dict[str, Any]:
    """Fills a network with one of the run's best checkpoints and returns the note saved with it.

    The note gets ``weights_sha256``, by which the weights are known wherever they lie.

    Raises:
        CheckpointError: no such checkpoint, damaged, or of another network.
    """
    state, note = run.load_best(name)
    problem = _misfit(model.state_dict(), state)
    if problem:
        raise CheckpointError(
            f"{run.folder}/best/{name}.safetensors does not fit the network that config.yaml, "
            f"run.json and encoder/ describe: {problem}; copy the run folder anew"
        )
    model.load_state_dict(state, strict=True)
    return {**note, WEIGHTS: weights_sha256(state)}


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Hex digest of tensors with their names, kinds and shapes; independent of their order."""
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def load_model(run: Run, name: str = "best") -> tuple[nn.Module, dict[str, Any]]:
    """The run's network with the weights of one best checkpoint, ready to predict on the CPU; and
    the note saved with them.

    Raises:
        CheckpointError: no such checkpoint, damaged, or of another network.
        ConfigError: the run's encoder folder is missing or damaged.
    """
    model = build_model(run)
    return model, load_weights(model, run, name)


def encoder_vocabulary_size(run: Run) -> int | None:
    """Token ids the run's text encoder knows; None where its config does not say."""
    try:
        config = json.loads((run.encoder_folder / "config.json").read_text(encoding="utf-8"))
        return int(config["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a missing or damaged config is reported when the network is built


def _misfit(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """What keeps tensors from filling a network, shortened; empty if nothing does."""
    found = []
    for what, names in (
        ("lacks", sorted(own.keys() - given.keys())),
        ("has unknown", sorted(given.keys() - own.keys())),
        (
            "has another size of",
            sorted(n for n in own.keys() & given.keys() if own[n].shape != given[n].shape),
        ),
    ):
        if names:
            more = f" and {len(names) - 2} more" if len(names) > 2 else ""
            found.append(f"it {what} {', '.join(names[:2])}{more}")
    return ", ".join(found)
