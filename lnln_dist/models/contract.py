"""From settings to a network, whichever model they name, and whether it keeps its promises.

What ``types.Network`` says is tried once with a user's network, before the first step.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from lnln_dist.config import MODALITIES, Config, TaskConfig
from lnln_dist.errors import ConfigError, UserError
from lnln_dist.models.shapes import InputShapes
from lnln_dist.specs.registry import find_spec, is_own, loss_weights
from lnln_dist.types import Losses, Network, Prediction, SentenceEncoder, blank_batch

SIZE, PLACES = 2, 64  # of the batch that is tried; longer than any kernel
# First parts of the tags that the log gives to other things.
TAKEN = frozenset(
    {"leave", "loss", "loss_weighted", "optim", "speed", "memory", "ranks", "valid", "test"}
)


def call_own(name: str, what: str, function: Callable[[], Any]) -> Any:
    """Calls a user's code; its exceptions become one line, ``--debug`` shows where they are from.

    Raises:
        ConfigError: names the model and what was called.
    """
    try:
        return function()
    except UserError:
        raise
    except Exception as err:
        why = (str(err).strip().splitlines() or [""])[0]
        raise ConfigError(
            f"model.name: {what} of {name} ends in {type(err).__name__}: {why}"
        ) from err


def build_network(config: Config, encoder: SentenceEncoder, shapes: InputShapes) -> nn.Module:
    """The network of a run, with random weights but for the encoder's.

    Args:
        config: of the run.
        encoder: the text encoder, a module.
        shapes: frame widths and longest sequences.

    Raises:
        ConfigError: a user's model is not a network with the two verbs of ``types.Network``.
    """
    name = config.model.name
    builder = find_spec(name).builder()
    if is_own(name):
        network = call_own(name, "build", lambda: builder(config, encoder, shapes))
    else:
        network = builder(config, encoder, shapes)
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"model.name: {config.model.name} builds a {type(network).__name__}, not a nn.Module"
        )
    lacking = [verb for verb in ("losses", "predict") if not callable(getattr(network, verb, None))]
    if lacking:
        raise ConfigError(
            f"model.name: the network of {config.model.name} lacks {' and '.join(lacking)}"
        )
    return network


def try_network(network: nn.Module, config: Config, shapes: InputShapes) -> None:
    """Runs both verbs and a backward pass on two samples without content, on the CPU.

    Args:
        network: in training mode, its weights at hand; left as it was.
        config: of the run.
        shapes: frame widths and longest sequences.

    Raises:
        ConfigError: what it returns is not what its spec says, or a parameter gets no gradient.
    """
    name, verbs = config.model.name, cast(Network, network)
    lengths = {m: min(PLACES, shapes.length(m)) for m in MODALITIES}
    widths = {"audio": shapes.audio_width, "vision": shapes.vision_width}
    batch = blank_batch(SIZE, lengths=lengths, widths=widths)
    silent = batch._replace(weight_B=torch.zeros_like(batch.weight_B))
    with torch.random.fork_rng(devices=[]), buffers_kept(network):
        losses = call_own(name, "losses(batch)", lambda: verbs.losses(batch))
        problem = _in_losses(losses, set(loss_weights(config.loss)))
        if not problem:
            problem = _in_noted(losses, network, find_spec(name).memory)
        if not problem:
            unheard = call_own(name, "losses(batch)", lambda: verbs.losses(silent))
            problem = _unweighted({**unheard.terms, **unheard.shown})
        if not problem:
            call_own(name, "the backward pass", losses.total().backward)
            problem = _without_gradient(network)
        network.zero_grad(set_to_none=True)
        if not problem:
            training = network.training
            with torch.no_grad():
                network.eval()
                found = call_own(name, "predict(batch)", lambda: verbs.predict(batch))
                network.train(training)
            problem = _in_prediction(found, find_spec(name).extras, config.task)
    if problem:
        raise ConfigError(f"model.name: {problem} (model {name})")


@contextlib.contextmanager
def buffers_kept(network: nn.Module) -> Iterator[None]:
    """Puts buffers back after the block: blank samples must leave no running statistics."""
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                if name in before:
                    buffer.copy_(before[name])


def _unweighted(sums: Mapping[str, Tensor]) -> str:
    for tag, value in sums.items():
        found = float(value.detach())
        if found != 0:
            return (
                f"losses(batch): {tag} is {found:g} where no sample counts (batch.weight_B "
                "is 0): add up each sample's value times its weight, as losses.weighted_sum does"
            )
    return ""


def _in_losses(losses: Any, weights: set[str]) -> str:
    if not isinstance(losses, Losses):
        return f"losses(batch) has to return Losses, not {type(losses).__name__}"
    for which, names in (("terms", set(losses.terms)), ("weights", set(losses.weights))):
        if names != weights:
            return (
                f"the {which} of losses(batch) are {_listed(names)}, the settings of section loss "
                f"are {_listed(weights)}: they have to be the same"
            )
    taken = sorted(tag for tag in losses.shown if tag.partition("/")[0] in TAKEN)
    if taken:
        return f"losses(batch) shows {_listed(set(taken))}, a tag of the log: give it another name"
    for tag, value in {**losses.terms, **losses.shown}.items():
        if not isinstance(value, Tensor) or value.ndim:
            return f"losses(batch): {tag} has to be one number, the sum over the samples"
    return ""


def _in_noted(losses: Losses, network: nn.Module, memory: str) -> str:
    for name, value in losses.noted.items():
        if not isinstance(value, Tensor) or value.shape[:1] != (SIZE,) or name == "row":
            return (
                f"losses(batch): what is noted as {name} has to be a tensor of samples, shape "
                "[B ...], and have another name than row"
            )
    learns = callable(getattr(network, "learn", None))
    kept = bool(memory) and isinstance(getattr(network, memory, None), nn.Module)
    if losses.noted and not (learns and kept):
        return (
            "losses(batch) notes something: the network needs learn(row_B, noted), and its spec "
            "has to name as memory the module that holds what it learns"
        )
    return ""


def _in_prediction(found: Any, extras: tuple[str, ...], task: TaskConfig) -> str:
    if not isinstance(found, Prediction):
        return f"predict(batch) has to return Prediction, not {type(found).__name__}"
    if set(found.extras) != set(extras):
        return (
            f"the extras of predict(batch) are {_listed(set(found.extras))}, its spec's are "
            f"{_listed(set(extras))}"
        )
    shape = tuple(getattr(found.sentiment, "shape", ()))
    if task.classes and shape != (SIZE, task.classes):
        return (
            f"predict(batch): the sentiment has to be probabilities [B, {task.classes}] for "
            f"task.kind {task.kind}; a network without classes is trained by task.kind regression"
        )
    numbers = {} if task.classes else {"the sentiment": found.sentiment}
    for what, value in {**numbers, **found.extras}.items():
        if not isinstance(value, Tensor) or tuple(value.shape) != (SIZE,):
            return f"predict(batch): {what} has to have one number per sample, shape [B]"
    return ""


def _without_gradient(network: nn.Module) -> str:
    idle = [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None]
    return (
        f"parameters get no gradient from the losses ({_listed(set(idle[:3]))}), which training on "
        "several processes cannot do: use them, or set requires_grad to False"
        if idle
        else ""
    )


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
