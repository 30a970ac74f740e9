"""Where the token ids of a feature file come from: its ``text_bert`` or its sentences."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lnln_dist.data import tokens
from lnln_dist.data.choices import Choices
from lnln_dist.data.mmsa import RawFile, RawSplit
from lnln_dist.data.presets import Preset
from lnln_dist.data.repair import Tokens, TokensError, read_tokens, sample_shape
from lnln_dist.errors import DataError
from lnln_dist.vocabulary import TokenizerInfo

DEFAULT_TOKENS = 50  # places of a sentence where the file has no text_bert to say so


@dataclass(frozen=True)
class TextSource:
    """The decision for a whole file.

    Attributes:
        info: of the tokenizer.
        tokenizer: tokenises ``raw_text``; None to take ``text_bert``.
        declared: the user named the tokenizer of ``text_bert``, so every id must be one of it.
        padded: most places of a sentence.
    """

    info: TokenizerInfo
    tokenizer: tokens.TextTokenizer | None
    declared: bool
    padded: int

    def rows(self, split: RawSplit, *, counts: Counter[str], where: str) -> tokens.Encoded:
        """The token ids of a split, checked and cut to ``padded``.

        Args:
            split: its text.
            counts: adds ``text.cut``, ``text.no_words`` and ``text.last_not_sep``, in sentences.
            where: for messages.

        Raises:
            DataError: ids of another tokenizer, or a damaged ``text_bert``.
        """
        if self.tokenizer is None:
            where = f"{where}: text_bert"
            found = read_tokens(split.text_bert, ids=split.ids, where=where)
            ends = _check_ids(found, self.info, split.ids, self.declared, where)
            counts["text.last_not_sep"] += ends
            encoded = _cut(found, self.padded)
        else:
            counts["text.no_words"] += sum(not s.strip() for s in split.raw_text)
            encoded = self.tokenizer.encode(split.raw_text, limit=self.padded)
        counts["text.cut"] += encoded.cut
        return encoded


def choose_text(
    raw: RawFile, preset: Preset, choices: Choices, *, folder: Path, name: str
) -> TextSource:
    """Decides on the token ids and writes the tokenizer's files into ``folder``.

    Args:
        raw: the feature file.
        preset: knows the tokenizer of the public sets' ``text_bert``.
        choices: "auto" takes ``text_bert`` unless a tokenizer is given; "text_bert" with a
            tokenizer declares that the ids are that tokenizer's.
        folder: gets ``tokenizer/``.
        name: of the file, for messages.

    Raises:
        DataError: nothing to take the ids from, or the choices contradict each other.
    """
    tokenizer, limit = choices.tokenizer, choices.max_lengths.get("text")
    _check_choice(raw, preset, choices, name)
    given = tokenizer is None or choices.text_source == "text_bert"
    places = [
        _places(split.text_bert, f"{name}: {n}")
        for n, split in raw.splits.items()
        if split.text_bert is not None
    ]
    padded = max(places, default=DEFAULT_TOKENS)
    if limit is not None:
        padded = min(padded, limit) if given else limit
    if padded < 2:
        raise DataError(
            f"{name}: {padded} place for text (text_bert, --max-text): at least 2 places are "
            "needed, for [CLS] and [SEP]"
        )
    if tokenizer is None:
        assert preset.tokenizer is not None
        return TextSource(preset.tokenizer, None, declared=False, padded=padded)
    if tokenizer == tokens.CORPUS:
        made = tokens.corpus_tokenizer(raw.splits["train"].raw_text)
    else:
        made = tokens.load_tokenizer(tokenizer)
    info = made.save(folder)
    return TextSource(info, None if given else made, declared=given, padded=padded)


def _check_choice(raw: RawFile, preset: Preset, choices: Choices, name: str) -> None:
    tokenizer, choice = choices.tokenizer, choices.text_source
    if choice == "raw_text" and tokenizer is None:
        raise DataError("--text-source raw_text needs --tokenizer (a folder, a name, or corpus)")
    if choice == "text_bert" and tokenizer == tokens.CORPUS:
        raise DataError("--text-source text_bert holds ids of a tokenizer: corpus would make a new")
    if tokenizer is not None and choice != "text_bert":
        return
    lacking = [n for n, split in raw.splits.items() if split.text_bert is None]
    if lacking:
        raise DataError(
            f"{name}: no field text_bert in {', '.join(lacking)}: tokenise its raw_text with "
            "--tokenizer (a folder, a name, or corpus)"
        )
    if tokenizer is None and preset.tokenizer is None:
        raise DataError(
            f"{name}: nobody knows whose token ids text_bert holds: give that tokenizer with "
            "--tokenizer FOLDER --text-source text_bert, or tokenise anew with --tokenizer alone"
        )


def _places(text_bert: Any, where: str) -> int:
    shape = sample_shape(text_bert, where=f"{where}: text_bert")
    if len(shape) != 2 or shape[0] != 3 or not shape[1]:
        raise DataError(
            f"{where}: text_bert has samples of the shape {shape}, expected (3, places): ids, "
            "attention mask and segment ids"
        )
    return shape[1]


def _check_ids(
    found: Tokens, info: TokenizerInfo, ids: Sequence[str], declared: bool, where: str
) -> int:
    """Refuses ids of another tokenizer; returns how many rows do not end with [SEP]."""
    remedy = "give the right one with --tokenizer FOLDER" if declared else "give it by --tokenizer"

    def refuse(wrong_N: Any, what: str) -> None:
        if wrong_N.any():
            raise TokensError(
                f"{where}: sample {ids[int(wrong_N.argmax())]!r}: {what}, so the ids are of "
                f"another tokenizer than {info.name}",
                remedy,
            )

    if info.vocab_size is not None:
        over = (found.ids_NT >= info.vocab_size).any(axis=1)
        refuse(over, f"a token id of {info.vocab_size} or more")
    refuse(found.ids_NT[:, 0] != info.cls_id, f"the first token is not [CLS] ({info.cls_id})")
    ends_N = np.take_along_axis(found.ids_NT, found.lengths_N[:, None] - 1, axis=1)[:, 0]
    wrong_N = ends_N != info.sep_id
    # Some published files cut sentences without putting [SEP] back; a named tokenizer never does.
    refuse(wrong_N & (declared or wrong_N.all()), f"the last token is not [SEP] ({info.sep_id})")
    return int(wrong_N.sum())


def _cut(found: Tokens, limit: int) -> tokens.Encoded:
    lengths_N = np.minimum(found.lengths_N, limit)
    index = np.arange(len(lengths_N))
    # The last token, [SEP], moves to the last place that is kept.
    found.ids_NT[index, lengths_N - 1] = found.ids_NT[index, found.lengths_N - 1]
    valid_NT = np.arange(found.ids_NT.shape[1]) < lengths_N[:, None]
    cut = int((found.lengths_N > limit).sum())
    return tokens.Encoded(found.ids_NT[valid_NT], found.segments_NT[valid_NT], lengths_N, cut)
