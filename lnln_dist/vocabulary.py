"""Which vocabulary token ids belong to, as a hash that data and encoder are compared by."""

import hashlib
from collections.abc import Mapping

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


def vocabulary_sha256(vocabulary: Mapping[str, int]) -> str:
    """Hex digest of a token-to-id mapping; independent of its order."""
    lines = sorted(f"{number}\t{token}" for token, number in vocabulary.items())
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
