"""Which vocabulary token ids belong to: reads the files of a tokenizer of any kind, and hashes it.

Data is tokenised and encoders are compared by what is read here, so that one folder always means
one vocabulary. No code that comes with a tokenizer is run.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from lnln_dist.errors import DataError

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# No folder parts, so that a file of the index cannot lie outside its folder.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]

# In the order of their ids in a vocabulary made from the corpus; the last may be missing.
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# What each kind of SentencePiece file is unless the folder says otherwise.
PIECES = {
    "spm.model": "DebertaV2Tokenizer",
    "spiece.model": "AlbertTokenizer",
    "sentencepiece.bpe.model": "XLMRobertaTokenizer",
}
CONVERTED = {*PIECES.values(), "CamembertTokenizer"}
READABLE = ("tokenizer.json", "vocab.txt", "vocab.json", *PIECES)
# Beside those: what is needed to read them, or said about them.
TOKENIZER_FILES = (
    *READABLE,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)

HUB_TIMEOUT = 5.0  # seconds until the hub counts as out of reach

Find = Callable[[str], Path | None]
"""Path of a file by its name, or None if there is none."""


class Record(BaseModel):
    """Part of an index: nothing unknown, nothing converted, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class TokenizerInfo(Record):
    """Whose ids the tokens are."""

    name: str
    vocab_sha256: Sha256 | None
    """``vocabulary_sha256`` of its vocabulary; None if unknown."""
    vocab_size: Count | None
    """Largest id plus one; None if unknown."""
    pad_id: NotNegative
    unk_id: NotNegative
    cls_id: NotNegative
    sep_id: NotNegative
    folder: FileName | None = None
    """Folder beside the index that holds its files; None if they were not given."""
    files: dict[FileName, Sha256] = {}


def why_offline() -> str:
    """Why only files on this machine can be used; empty if the Hugging Face hub can be asked."""
    from huggingface_hub import constants, get_session

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set and it is not in the local cache"
    try:  # asked once: the hub's own client would go on retrying for half a minute
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
    except Exception:  # of several libraries, whatever stands between us and the hub
        return f"{constants.ENDPOINT} is out of reach and it is not in the local cache"
    return ""


def vocabulary_sha256(vocabulary: Mapping[str, int]) -> str:
    """Hex digest of a token-to-id mapping; independent of its order."""
    lines = sorted(f"{number}\t{token}" for token, number in vocabulary.items())
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def finder(folder: Path) -> Find:
    """Finds files in a folder."""
    return lambda name: folder / name if (folder / name).is_file() else None


def read_tokenizer(name: str, find: Find) -> Any | None:
    """A ``tokenizers.Tokenizer``, or None if there is none of the files in ``READABLE``.

    Args:
        name: for messages.
        find: where its files are.

    Raises:
        DataError: they cannot be read; the message says how to convert them.
    """
    from tokenizers import Tokenizer

    kind, path = next(((file, at) for file in READABLE if (at := find(file))), ("", Path()))
    if not kind:
        return None
    settings = read_json(find("tokenizer_config.json"))
    try:
        if kind == "tokenizer.json":
            return Tokenizer.from_file(str(path))
        if kind == "vocab.txt":
            lines = path.read_text(encoding="utf-8").split("\n")
            vocabulary = {line.rstrip("\r"): i for i, line in enumerate(lines) if line}
            return word_pieces(vocabulary, lower=bool(settings.get("do_lower_case", True)))
        family = read_json(find("config.json")).get("model_type", "")
        if kind == "vocab.json":
            return _from_merges(path, find("merges.txt"), settings, family)
        return _from_pieces(path, settings, family)
    except DataError as err:
        why = str(err)
    except Exception as err:  # the libraries raise bare Exceptions
        why = (str(err).strip().splitlines() or [type(err).__name__])[0]
    convert = "" if kind == "tokenizer.json" else f": {_how_to_convert(name)}"
    raise DataError(f"tokenizer {name}: its files cannot be read ({kind}: {why:.120}){convert}")


def word_pieces(vocabulary: dict[str, int], *, lower: bool) -> Any:
    """A BERT tokenizer over a vocabulary.

    Raises:
        DataError: [PAD], [UNK], [CLS] or [SEP] is missing.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    lacking = [token for token in SPECIAL[:4] if token not in vocabulary]
    if lacking:
        raise DataError(f"the vocabulary has no {', '.join(lacking)}: it is not one of BERT")
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIAL[1]))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    backend.add_special_tokens(
        [AddedToken(token, special=True) for token in SPECIAL if token in vocabulary]
    )
    return backend


def read_json(path: Path | None) -> dict[str, Any]:
    """A file's object; empty if there is no file, or something else in it.

    Raises:
        DataError: it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as err:
        raise DataError(f"{path}: cannot be read as JSON: copy the tokenizer anew") from err
    return content if isinstance(content, dict) else {}


def _class_of(settings: dict[str, Any], family: str, usual: str) -> str:
    """Name of the tokenizer's class in transformers."""
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    named = settings.get("tokenizer_class") or TOKENIZER_MAPPING_NAMES.get(family) or usual
    return str(named).removesuffix("Fast")


def _from_pieces(path: Path, settings: dict[str, Any], family: str) -> Any:
    """Of a SentencePiece model, without that library, by the converters of transformers."""
    kind = _class_of(settings, family, PIECES[path.name])
    if kind not in CONVERTED:
        raise DataError(f"a {kind} is not converted here")
    from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS

    ids: dict[str, int] = {}
    slow = SimpleNamespace(
        vocab_file=str(path),
        do_lower_case=bool(settings.get("do_lower_case", kind == "AlbertTokenizer")),
        keep_accents=bool(settings.get("keep_accents", False)),
        split_by_punct=bool(settings.get("split_by_punct", False)),
        add_prefix_space=True,
        convert_tokens_to_ids=ids.__getitem__,
    )
    converter = SLOW_TO_FAST_CONVERTERS[kind](slow)
    ids.update({piece: i for i, (piece, _) in enumerate(converter.vocab(converter.proto))})
    backend = converter.converted()
    if "[CLS]" in ids and SPECIAL[-1] not in ids:  # which DeBERTa puts behind the pieces
        backend.add_special_tokens([SPECIAL[-1]])
    return backend


def _from_merges(path: Path, merges: Path | None, settings: dict[str, Any], family: str) -> Any:
    """Of a byte-level vocabulary such as RoBERTa's."""
    if merges is None:
        raise DataError("no merges.txt beside it")
    import transformers

    kind = getattr(transformers, _class_of(settings, family, "RobertaTokenizer"))
    return kind.from_pretrained(str(path.parent), local_files_only=True).backend_tokenizer


def _how_to_convert(name: str) -> str:
    return (
        "python -c \"from transformers import AutoTokenizer as A; A.from_pretrained('"
        f"{name}').save_pretrained('FOLDER')\" converts it, then give FOLDER"
    )
