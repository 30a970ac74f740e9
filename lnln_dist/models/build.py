"""From settings to a network, whichever model they name."""

from torch import nn

from lnln_dist.config import Config
from lnln_dist.errors import ConfigError
from lnln_dist.models.contract import call_own
from lnln_dist.models.shapes import InputShapes
from lnln_dist.specs.registry import find_spec, is_own
from lnln_dist.types import SentenceEncoder


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
