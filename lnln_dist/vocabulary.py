"""Which vocabulary token ids belong to, as a hash that data and encoder are compared by."""

import hashlib
from collections.abc import Mapping

# Files of a tokenizer's folder: any of the first holds a vocabulary.
VOCABULARY_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "sentencepiece.bpe.model",
    "spiece.model",
)
TOKENIZER_FILES = (
    *VOCABULARY_FILES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


def vocabulary_sha256(vocabulary: Mapping[str, int]) -> str:
    """Hex digest of a token-to-id mapping; independent of its order."""
    lines = sorted(f"{number}\t{token}" for token, number in vocabulary.items())
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
