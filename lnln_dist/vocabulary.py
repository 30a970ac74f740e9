"""Which vocabulary token ids belong to: what data says of it, and encoders are compared by."""

import hashlib
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# No folder parts, so that a file of the index cannot lie outside its folder.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
# Files of a tokenizer's folder; the vocabulary is in one of the first two.
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


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


def vocabulary_sha256(vocabulary: Mapping[str, int]) -> str:
    """Hex digest of a token-to-id mapping; independent of its order."""
    lines = sorted(f"{number}\t{token}" for token, number in vocabulary.items())
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
