"""Sentences to token ids by any BERT-type tokenizer, or by one made from the corpus itself."""

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnln_dist.errors import DataError
from lnln_dist.files import sha256_file
from lnln_dist.vocabulary import (
    READABLE,
    SPECIAL,
    TOKENIZER_FILES,
    TokenizerInfo,
    finder,
    read_json,
    read_tokenizer,
    vocabulary_sha256,
    why_offline,
    word_pieces,
)

FOLDER = "tokenizer"
CORPUS = "corpus"
MOST_WORDS = 30_000
_ROLES = {
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
}


class Encoded(NamedTuple):
    """Token ids of sentences put one after another, without padding."""

    ids_S: NDArray[np.int32]
    segments_S: NDArray[np.int8]
    lengths_N: NDArray[np.int64]
    cut: int  # sentences that were longer than allowed

    def piece(self, rows: slice) -> "Encoded":
        """Some of the sentences, one after another."""
        stops = np.concatenate([[0], np.cumsum(self.lengths_N)])
        places = slice(stops[rows.start], stops[rows.stop])
        return Encoded(self.ids_S[places], self.segments_S[places], self.lengths_N[rows], self.cut)


@dataclass(frozen=True)
class TextTokenizer:
    """A tokenizer of the tokenizers library, with what an index says about it."""

    backend: Any
    info: TokenizerInfo
    folder: Path | None
    """Where its files are; None for one made from the corpus."""

    def encode(self, texts: Sequence[str], *, limit: int) -> Encoded:
        """[CLS], pieces, [SEP] of every sentence; a long one loses the pieces before [SEP].

        Names of special tokens within a sentence are taken as ordinary text. A sentence without
        words is one [UNK] between [CLS] and [SEP], which is what an erased text looks like.
        """
        rows, segments, cut = [], [], 0
        for text, encoding in zip(texts, self.backend.encode_batch(list(texts)), strict=True):
            ids, types = encoding.ids, encoding.type_ids
            if not text.strip() and limit > len(ids) == 2:
                ids, types = [ids[0], self.info.unk_id, ids[1]], [types[0], *types]
            if len(ids) > limit:
                ids, types, cut = [*ids[: limit - 1], ids[-1]], types[:limit], cut + 1
            rows.append(ids)
            segments.append(types)
        return Encoded(
            ids_S=np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int32),
            segments_S=np.fromiter(itertools.chain.from_iterable(segments), dtype=np.int8),
            lengths_N=np.array([len(row) for row in rows], dtype=np.int64),
            cut=cut,
        )

    def save(self, folder: Path) -> TokenizerInfo:
        """Writes its files to ``folder/tokenizer``, readable by ``AutoTokenizer``.

        Returns:
            What the index says, with the files and their hashes.
        """
        target = folder / FOLDER
        target.mkdir()
        for name in TOKENIZER_FILES:
            if self.folder is not None and (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, target / name)
        converted = not (target / "tokenizer.json").exists()
        if converted:
            self.backend.save(str(target / "tokenizer.json"))
        settings = {} if self.folder is None else read_json(self.folder / "tokenizer_config.json")
        # Without it transformers would have to guess the class, and code is not ours to pass on.
        # The class of other files would take what we converted to pieces again.
        kind = _class_name(self.backend)
        settings["tokenizer_class"] = kind if converted else settings.get("tokenizer_class", kind)
        settings.pop("auto_map", None)
        for role in _ROLES:
            settings[f"{role}_token"] = self.backend.id_to_token(getattr(self.info, f"{role}_id"))
        (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
        files = {path.name: sha256_file(path) for path in sorted(target.iterdir())}
        return self.info.model_copy(update={"folder": FOLDER, "files": files})


def load_tokenizer(name: str) -> TextTokenizer:
    """A tokenizer from a local folder or the Hugging Face hub; runs no code of its own.

    Args:
        name: folder with one of ``vocabulary.READABLE``, or a name on the hub.

    Raises:
        DataError: it cannot be found or read, or lacks [CLS], [SEP], [PAD] or [UNK].
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _download(name)
    backend = read_tokenizer(name, finder(folder))
    if backend is None:
        raise DataError(
            f"tokenizer {name}: neither tokenizer.json nor vocab.txt in {folder} (nor "
            f"{', '.join(READABLE[2:])}): give the folder of a BERT-type tokenizer"
        )
    settings = read_json(folder / "tokenizer_config.json")
    special = {**read_json(folder / "special_tokens_map.json"), **settings}
    return TextTokenizer(_plain(backend), _describe(name, backend, special), folder)


def corpus_tokenizer(texts: Iterable[str]) -> TextTokenizer:
    """A tokenizer whose vocabulary is made from sentences, so that nothing is downloaded.

    Ids: the five special tokens, every character alone and inside a word, then the words, the
    most frequent first (at most 30,000). A word that is not there is spelt out.

    Args:
        texts: sentences of the training split only.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalize, split = BertNormalizer(lowercase=True), BertPreTokenizer()
    count = Counter(
        word for text in texts for word, _ in split.pre_tokenize_str(normalize.normalize_str(text))
    )
    letters = sorted(set().union(*count))
    frequent = sorted(count, key=lambda word: (-count[word], word))[:MOST_WORDS]
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *frequent]
    # A dict drops words of one letter, which are there already.
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    backend = _plain(word_pieces(vocabulary, lower=True))
    return TextTokenizer(backend, _describe(CORPUS, backend, {}), None)


def _plain(backend: Any) -> Any:
    """Without the cutting and padding that some files ask for, special names read as text."""
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return backend


def _describe(name: str, backend: Any, special: dict[str, Any]) -> TokenizerInfo:
    vocabulary: dict[str, int] = backend.get_vocab()
    found: dict[str, int] = {}
    for role, usual in _ROLES.items():
        given = special.get(f"{role}_token")
        given = given.get("content") if isinstance(given, dict) else given
        tokens = [token for token in (given, *usual) if token in vocabulary]
        if not tokens:
            raise DataError(
                f"tokenizer {name}: no {usual[0]} token; a BERT-type tokenizer is needed"
            )
        found[role] = vocabulary[tokens[0]]
    ids = _plain(backend).encode("a").ids
    if len(ids) < 2 or ids[0] != found["cls"] or ids[-1] != found["sep"]:
        raise DataError(
            f"tokenizer {name}: does not put [CLS] first and [SEP] last; a BERT-type tokenizer is "
            "needed"
        )
    return TokenizerInfo(
        name=name,
        vocab_sha256=vocabulary_sha256(vocabulary),
        vocab_size=max(vocabulary.values()) + 1,
        pad_id=found["pad"],
        unk_id=found["unk"],
        cls_id=found["cls"],
        sep_id=found["sep"],
    )


def _class_name(backend: Any) -> str:
    from tokenizers.models import WordPiece

    return "BertTokenizer" if isinstance(backend.model, WordPiece) else "PreTrainedTokenizerFast"


def _download(name: str) -> Path:
    """Folder of a tokenizer's files in the local cache, fetched if they are not there."""
    from huggingface_hub import snapshot_download

    remedy = f"give a local folder with a BERT-type tokenizer, or --tokenizer {CORPUS}"
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).exists():
        raise DataError(f"tokenizer {name}: no such folder: {remedy}")
    wanted = [*TOKENIZER_FILES, "config.json"]
    for local in (True, False):
        if not local and (why := why_offline()):
            break
        try:
            found = snapshot_download(name, allow_patterns=wanted, local_files_only=local)
            if not local or any((Path(found) / file).is_file() for file in READABLE):
                return Path(found)
        # Not in the cache, not a possible name, or of several libraries whatever went wrong.
        except Exception as err:
            why = (str(err).strip().splitlines() or [type(err).__name__])[0]
    raise DataError(f"tokenizer {name}: neither a folder nor to be fetched ({why:.120}): {remedy}")
