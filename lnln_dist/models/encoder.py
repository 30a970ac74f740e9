"""Which text encoder a name means, and whether it fits the prepared data; no transformers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from lnln_dist.errors import ConfigError, DataError
from lnln_dist.vocabulary import TokenizerInfo, vocabulary_sha256, why_offline

# Parts of published checkpoints that a bare encoder does not have.
HEADS = (
    "pooler.",
    "cls.",
    "lm_head.",
    "lm_predictions.",
    "mask_predictions.",
    "vocab_",
    "qa_outputs.",
    "classifier.",
    "discriminator_predictions.",
    "generator_predictions.",
    "generator_lm_head.",
    "embeddings.position_ids",
)


@dataclass(frozen=True)
class EncoderSource:
    """A place transformers can load from."""

    name: str
    """As the user wrote it."""
    place: str
    """Absolute folder, or name on the hub."""
    folder: Path | None
    """The folder, if it is one."""
    offline: str
    """Why only files on this machine are used; empty if the hub is asked."""

    @classmethod
    def of(cls, name: str) -> "EncoderSource":
        """Tells folders from names, and whether the hub can be asked.

        Raises:
            ConfigError: it looks like a folder and is none, or holds no config.json.
        """
        path = Path(name).expanduser()
        if path.is_dir():
            if not (path / "config.json").is_file():
                raise ConfigError(
                    f"model.encoder.name: {name} has no config.json, it is not an encoder"
                )
            return cls(name, str(path.absolute()), path, "it is a folder")
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise ConfigError(f"model.encoder.name: there is no folder {name}")
        return cls(name, name, None, why_offline())

    def find(self, file: str) -> Path | None:
        """A file of the encoder on this machine, fetched if need be; None if it has none."""
        if self.folder is not None:
            return self.folder / file if (self.folder / file).is_file() else None
        try:
            return Path(hf_hub_download(self.place, file, local_files_only=bool(self.offline)))
        except EntryNotFoundError:
            return None


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
