"""Does a text encoder fit the prepared data? Plain values only, no transformers."""

from collections.abc import Collection, Mapping
from typing import Protocol

from lnln_dist.errors import ConfigError, DataError
from lnln_dist.vocabulary import vocabulary_sha256

# Parts of published checkpoints that a bare encoder does not have.
HEADS = (
    "pooler.",
    "cls.",
    "lm_head.",
    "vocab_",
    "qa_outputs.",
    "classifier.",
    "discriminator_predictions.",
    "generator_predictions.",
    "generator_lm_head.",
    "embeddings.position_ids",
)


class TokenizerInfo(Protocol):
    """What the prepared data says about the tokenizer its ids come from."""

    @property
    def name(self) -> str:
        """Name or folder it was loaded by."""

    @property
    def vocab_size(self) -> int | None:
        """Number of ids, None if unknown."""

    @property
    def vocab_sha256(self) -> str | None:
        """``vocabulary_sha256`` of its vocabulary, None if unknown."""

    @property
    def pad_id(self) -> int:
        """Id of padding."""

    @property
    def unk_id(self) -> int:
        """Id that stands in for erased tokens."""

    @property
    def cls_id(self) -> int:
        """Id of the first token."""

    @property
    def sep_id(self) -> int:
        """Id of the last token."""


def check_vocabulary(
    name: str, data: TokenizerInfo, *, vocabulary: Mapping[str, int] | None, size: int
) -> None:
    """Refuses data whose token ids mean something else to the encoder.

    Args:
        name: of the encoder.
        data: tokenizer of the data. If its vocabulary is unknown, the special ids are compared.
        vocabulary: of the encoder's own tokenizer; None if it has none, then only ids are counted.
        size: rows of the encoder's embedding table.

    Raises:
        DataError: they differ; the message names both and ``prepare --tokenizer``.
    """
    remedy = f"prepare the data again with --tokenizer {name}, or choose that tokenizer's encoder"
    if vocabulary is not None and data.vocab_sha256 is not None:
        same = vocabulary_sha256(vocabulary) == data.vocab_sha256
    elif vocabulary is not None:
        ids = (data.pad_id, data.unk_id, data.cls_id, data.sep_id)
        special = dict(zip(("[PAD]", "[UNK]", "[CLS]", "[SEP]"), ids, strict=True))
        same = all(vocabulary.get(token, number) == number for token, number in special.items())
    else:
        same = True
    if not same:
        raise DataError(
            f"data prepared with tokenizer {data.name}, encoder {name} has another: {remedy}"
        )
    if data.vocab_size is not None and data.vocab_size > size:
        raise DataError(
            f"data prepared with tokenizer {data.name} ({data.vocab_size} ids), encoder {name} "
            f"knows {size}: {remedy}"
        )


def check_positions(name: str, *, limit: int | None, length: int) -> None:
    """Refuses an encoder with fewer positions than the longest text has tokens (None: no limit).

    Raises:
        ConfigError: it is too short.
    """
    if limit is not None and length > limit:
        raise ConfigError(
            f"model.encoder.name: {name} takes {limit} tokens, the data has up to {length}: "
            "choose another encoder or cut the text when preparing it"
        )


def check_weights(
    name: str, *, prefix: str, missing: Collection[str], unexpected: Collection[str]
) -> None:
    """Refuses weights that do not fill the encoder, or belong to another one.

    Args:
        name: of the encoder.
        prefix: what published checkpoints put before the bare encoder's names, as "bert.".
        missing: parameters no weight was found for.
        unexpected: weights without a parameter; those of pooler and heads are passed over.

    Raises:
        ConfigError: names the tensors.
    """
    foreign = [key for key in unexpected if not key.removeprefix(prefix).startswith(HEADS)]
    for what, keys in (("lacks", missing), ("has unknown", foreign)):
        if keys:
            shown = ", ".join(sorted(keys)[:3]) + (", ..." if len(keys) > 3 else "")
            raise ConfigError(
                f"model.encoder.name: {name} {what} weights ({len(keys)}: {shown}): "
                "its files do not belong to its config.json"
            )
