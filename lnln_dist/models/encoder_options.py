"""Settings of a text encoder that its own config or layers have to be told of."""

from typing import TYPE_CHECKING

from lnln_dist.config import EncoderConfig
from lnln_dist.errors import ConfigError

if TYPE_CHECKING:  # transformers itself is imported by models.text alone
    from transformers import PreTrainedConfig, PreTrainedModel

DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")


def set_dropout(config: EncoderConfig, model_config: "PreTrainedConfig") -> None:
    """Writes the dropout that is asked for into an encoder's config; null leaves it alone.

    Raises:
        ConfigError: that kind of encoder has none.
    """
    if config.dropout is None:
        return
    names = [name for name in DROPOUTS if hasattr(model_config, name)]
    if not names:
        raise ConfigError(
            f"model.encoder.dropout: {config.name} has no dropout setting to override: use null"
        )
    for name in names:
        setattr(model_config, name, config.dropout)


def recompute_activations(model: "PreTrainedModel") -> None:
    """Makes each layer keep only its input and compute the rest again in the backward pass.

    Raises:
        ConfigError: that kind of encoder cannot do it.
    """
    if not model.supports_gradient_checkpointing:
        raise ConfigError(
            "model.encoder.checkpoint_activations: an encoder of type "
            f"{model.config.model_type} cannot do it: set it to false"
        )
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False  # a decoder's setting; left on it is warned about
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    # Meant for adapters: it would make a frozen embedding's output ask for gradients.
    model.disable_input_require_grads()
