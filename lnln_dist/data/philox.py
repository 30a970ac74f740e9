"""Counter-based random numbers: any draw can be made alone, in any order, on any process.

Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3",
SC 2011. A named purpose picks the key; block, epoch and sample are the counter. Two draws that
differ in any of these come from different inputs of a bijection, so streams cannot overlap, and
nothing depends on which draws were made before.
"""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UInt32 = NDArray[np.uint32]
UInt64 = NDArray[np.uint64]

ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(counter: UInt32, key: UInt32) -> UInt32:
    """Four random words for each counter.

    Args:
        counter: uint32 [..., 4].
        key: uint32 [2].

    Returns:
        uint32 [..., 4].
    """
    if counter.shape[-1:] != (4,) or key.shape != (2,):
        raise ValueError(f"expected shapes [..., 4] and [2], got {counter.shape} and {key.shape}")
    # Words live in 64 bits so that a product keeps both of its halves.
    a, b, c, d = (counter[..., i].astype(np.uint64) for i in range(4))
    key_a, key_b = int(key[0]), int(key[1])
    for _ in range(ROUNDS):
        product_a, product_c = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a = (product_c >> _HALF) ^ b ^ np.uint64(key_a)
        c = (product_a >> _HALF) ^ d ^ np.uint64(key_b)
        b, d = product_c & _LOW, product_a & _LOW
        key_a = (key_a + _KEY_STEPS[0]) & 0xFFFFFFFF
        key_b = (key_b + _KEY_STEPS[1]) & 0xFFFFFFFF
    out = np.empty(counter.shape, dtype=np.uint32)
    out[..., 0], out[..., 1], out[..., 2], out[..., 3] = a, b, c, d
    return out


def words(*, key: int, samples: UInt64, epoch: int, length: int) -> UInt32:
    """The first ``length`` random words of each sample's stream, uint32 [B, length].

    Args:
        key: 64-bit key of the purpose, see ``stream_key``.
        samples: 64-bit key of each sample, [B].
        epoch: in [0, 2**32).
        length: words wanted; a longer request starts with the words of a shorter one.
    """
    blocks = -(-length // 4)
    counter = np.empty((len(samples), blocks, 4), dtype=np.uint32)
    counter[..., 0] = np.arange(blocks, dtype=np.uint32)
    counter[..., 1] = epoch
    counter[..., 2] = (samples & _LOW)[:, None]
    counter[..., 3] = (samples >> _HALF)[:, None]
    halves = np.array([key & 0xFFFFFFFF, key >> 32], dtype=np.uint32)
    return philox4x32(counter, halves).reshape(len(samples), 4 * blocks)[:, :length]


def to_unit(draws: UInt32) -> NDArray[np.float64]:
    """Words as numbers in the open interval (0, 1), exact in float64, symmetric about 1/2."""
    return (draws.astype(np.float64) + 0.5) * 2.0**-32


def uniforms(*, key: int, samples: UInt64, epoch: int, length: int) -> NDArray[np.float64]:
    """Uniform draws in the open interval (0, 1), float64 [B, length]; arguments as ``words``."""
    return to_unit(words(key=key, samples=samples, epoch=epoch, length=length))


def stream_key(*names: str | int) -> int:
    """64-bit key of a named stream; ("a", 1), ("a", "1") and ("a1",) are three streams."""
    digest = hashlib.blake2b(json.dumps(names).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def sample_keys(ids: Sequence[str]) -> UInt64:
    """64-bit key of each sample, from its id alone: rows may move, the key stays, uint64 [n]."""
    digests = (hashlib.blake2b(i.encode("utf-8"), digest_size=8).digest() for i in ids)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
