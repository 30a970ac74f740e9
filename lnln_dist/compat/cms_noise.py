"""The evaluation noise of CMS-Mamba, exactly (Indecis1ve/CMS-Mamba, its missingness module).

Every sample has a generator of its own, PCG64 of SeedSequence([mask seed, 0, row in the file]),
which serves text, audio and vision in this order:

* random ("independent" there): a uniform per padded place, erased where it is below the rate;
* block: round(rate n) of the n erasable places, from a start that is drawn if there are any;
* mixed_burst: random at the rate, and then a block at a rate of its own.

The text's first and last token are not erasable. A random mask is nested in the rate, a block is
not. There, too, 0.5 is rounded to even.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.noise import Draw, Lengths, Widths, check_rates, valid_places

CmsPattern = Literal["random", "block", "mixed_burst"]


class CmsNoise:
    """A ``Noise`` with the same rates for all samples, as CMS-Mamba evaluates.

    Args:
        pattern: one of its three.
        rates: missing rate in [0, 1] of each modality.
        padded: padded length of each modality in the source file.
        seed: its mask seed.
        burst: rate of the block of mixed_burst, in [0, 1].

    Raises:
        ConfigError: a rate outside [0, 1].
    """

    def __init__(
        self,
        *,
        pattern: CmsPattern,
        rates: Mapping[Modality, float],
        padded: Mapping[Modality, int],
        seed: int,
        burst: float = 0.0,
    ) -> None:
        check_rates(rates)
        self._pattern, self._rates, self._burst = pattern, dict(rates), burst
        self._padded, self._seed = dict(padded), seed

    def draw(
        self, rows: NDArray[np.int64], epoch: int, lengths: Lengths, width: Widths
    ) -> dict[Modality, Draw]:
        """See ``Noise.draw``; ``width`` is at most the padded length."""
        del epoch
        keep = {m: valid_places(lengths[m], width[m]) for m in MODALITIES}
        for i, row in enumerate(rows.tolist()):
            random = np.random.default_rng(np.random.SeedSequence([self._seed, 0, row]))
            for m in MODALITIES:
                first = int(m == "text")
                count = max(int(lengths[m][i]) - 2 * first, 0)
                gone_T = self._gone(m, count, random)[:count]
                keep[m][i, first : first + count] &= ~gone_T
        rates = {m: np.full(len(rows), self._rates[m], dtype=np.float32) for m in MODALITIES}
        return {m: Draw(keep[m], rates[m]) for m in MODALITIES}

    def _gone(self, m: Modality, count: int, random: np.random.Generator) -> NDArray[np.bool_]:
        """True on erased places, counted from the first erasable one."""
        gone_T = np.zeros(self._padded[m], dtype=np.bool_)
        if self._pattern != "block":
            drawn_T = random.random(self._padded[m]) < self._rates[m]
            gone_T[: len(drawn_T) - int(m == "text")] = drawn_T[int(m == "text") :]
        if self._pattern != "random":
            rate = self._rates[m] if self._pattern == "block" else self._burst
            size = min(count, round(rate * count))
            if size:
                start = int(random.integers(0, count - size + 1))
                gone_T[start : start + size] = True
        return gone_T
