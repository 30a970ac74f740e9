"""The evaluation noise of CIDer, exactly (gw-zhong/CIDer, its data loader).

A legacy generator, seeded anew for every split and rate, draws for the whole split in file order
and at the padded lengths, modalities in the order text, audio, vision. Masks therefore depend on
the corpus, and those of all patterns but STMFM are nested in the rate.

* RMFM: one field of uniforms over the three padded sequences side by side.
* RMFM_same: a field for each modality, one after the other; the only one with unequal rates.
* TMFM: one field for all (aligned files).
* STMFM: one block of round((tokens - 2) rate) places for all (aligned files), its start drawn from
  1 on, sample by sample.
* RMM: one number per sample and modality: all of it or nothing.

The text's first and last token are never erased. TMFM and STMFM have one mask for all three
modalities, so that there the first and the last frame stay, too.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lnln_dist.compat.official_noise import uniform_field
from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.noise import Draw, Lengths, Widths, check_rates, valid_places
from lnln_dist.errors import DataError

CiderPattern = Literal["RMFM", "RMFM_same", "TMFM", "STMFM", "RMM"]
ALIGNED = ("TMFM", "STMFM")


class CiderNoise:
    """A ``Noise`` with the same rate for all samples, as CIDer evaluates.

    Args:
        pattern: one of its five.
        rates: missing rate in [0, 1] of each modality; one number but for RMFM_same.
        lengths: valid places of every row of the split, [n] per modality.
        padded: padded length of each modality in the source file.
        seed: of the legacy generator; 1111 in its scripts.

    Raises:
        ConfigError: a rate outside [0, 1].
        DataError: the pattern needs sequences that are aligned with the tokens, or two tokens.
    """

    def __init__(
        self,
        *,
        pattern: CiderPattern,
        rates: Mapping[Modality, float],
        lengths: Lengths,
        padded: Mapping[Modality, int],
        seed: int = 1111,
    ) -> None:
        assert pattern in get_args(CiderPattern)
        check_rates(rates)
        self._pattern, self._rates, self._seed = pattern, dict(rates), seed
        self._rows, self._padded = len(lengths["text"]), dict(padded)
        if pattern in ALIGNED and not _aligned(lengths, padded):
            raise DataError(
                f"pattern {pattern} erases the same places of all modalities: it needs an aligned "
                "file, whose frames are as many as the tokens; choose another protocol"
            )
        if pattern == "STMFM":
            self._start_N, self._size_N = _blocks(lengths["text"], rates["text"], seed)

    def draw(
        self, rows: NDArray[np.int64], epoch: int, lengths: Lengths, width: Widths
    ) -> dict[Modality, Draw]:
        """See ``Noise.draw``; ``width`` is at most the padded length."""
        del epoch
        out: dict[Modality, Draw] = {}
        for m in MODALITIES:
            keep_BT = np.broadcast_to(self._spared(m, rows, width[m]), (len(rows), width[m]))
            if m == "text" or self._pattern in ALIGNED:
                place_T = np.arange(width[m])
                keep_BT = keep_BT | (place_T == 0) | (place_T == lengths[m][:, None] - 1)
            keep_BT = keep_BT & valid_places(lengths[m], width[m])
            out[m] = Draw(keep_BT, np.full(len(rows), self._rates[m], dtype=np.float32))
        return out

    def _spared(self, m: Modality, rows: NDArray[np.int64], width: int) -> NDArray[np.bool_]:
        """What the draws spare, before the rule for the ends, [B width] or [B 1]."""
        rate, before = self._rates[m], [self._padded[o] for o in MODALITIES[: MODALITIES.index(m)]]
        spared: NDArray[np.bool_]
        if self._pattern == "RMM":
            field = uniform_field(self._seed, self._rows, len(MODALITIES))
            spared = field[rows, len(before), None] > rate
        elif self._pattern == "RMFM":
            field = uniform_field(self._seed, self._rows, sum(self._padded.values()))
            spared = field[rows, sum(before) : sum(before) + width] > rate
        elif self._pattern == "RMFM_same":
            field = uniform_field(self._seed, 1, self._rows * sum(self._padded.values()))
            own = field[0, self._rows * sum(before) :][: self._rows * self._padded[m]]
            spared = own.reshape(self._rows, -1)[rows, :width] > rate
        elif self._pattern == "TMFM":
            spared = uniform_field(self._seed, self._rows, self._padded[m])[rows, :width] > rate
        else:
            place_T, start_B = np.arange(width), self._start_N[rows, None]
            spared = (place_T < start_B) | (place_T >= start_B + self._size_N[rows, None])
        return spared


def _aligned(lengths: Lengths, padded: Mapping[Modality, int]) -> bool:
    return all(
        padded[m] == padded["text"] and np.array_equal(lengths[m], lengths["text"])
        for m in MODALITIES
    )


def _blocks(
    length_N: NDArray[np.int64], rate: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and size of every sample's block, [n] each."""
    if (length_N < 2).any():
        raise DataError("pattern STMFM needs at least the two ends of every text")
    size_N = np.around((length_N - 2) * rate).astype(np.int64)
    random = np.random.RandomState(seed)
    ends = (length_N - size_N).tolist()
    return np.array([random.randint(1, end) for end in ends], np.int64), size_N
