"""The evaluation noise of the released LNLN code, exactly.

For every modality a fresh legacy generator with the same seed draws uniforms for the whole split
in file order and at the padded length. Hence masks depend on the corpus (its order, size and
padding), and the modalities' noise is correlated: their fields begin with the same numbers.
"""

import functools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.noise import Draw, Lengths, Widths, check_rates, valid_places


@functools.lru_cache(maxsize=9)  # three modalities under three seeds, shared by all rates
def uniform_field(seed: int, rows: int, width: int) -> NDArray[np.float64]:
    """Draws in [0, 1) for all places of a split, read-only, [rows, width]."""
    field = np.random.RandomState(seed).uniform(size=(rows, width))
    field.setflags(write=False)
    return field


class OfficialNoise:
    """A ``Noise`` with the same rate for all samples, as the released code evaluates.

    Args:
        rates: missing rate in [0, 1] of each modality.
        rows_total: samples in the split.
        padded: padded length of each modality in the source file.
        seed: of the legacy generator; the released code knows only 1111.

    Raises:
        ConfigError: a rate outside [0, 1].
    """

    def __init__(
        self,
        *,
        rates: Mapping[Modality, float],
        rows_total: int,
        padded: Mapping[Modality, int],
        seed: int = 1111,
    ) -> None:
        check_rates(rates)
        self._rates = dict(rates)
        self._rows, self._padded, self._seed = rows_total, dict(padded), seed

    def draw(
        self, rows: NDArray[np.int64], epoch: int, lengths: Lengths, width: Widths
    ) -> dict[Modality, Draw]:
        """See ``Noise.draw``; ``width`` is at most the padded length."""
        del epoch
        out: dict[Modality, Draw] = {}
        for m in MODALITIES:
            if width[m] > self._padded[m]:
                raise ValueError(f"{m}: width {width[m]} exceeds the padded {self._padded[m]}")
            field = uniform_field(self._seed, self._rows, self._padded[m])
            spared_BT = field[rows, : width[m]] > self._rates[m]
            if m == "text":
                place_T = np.arange(width[m])
                spared_BT |= (place_T == 0) | (place_T >= lengths[m][:, None] - 1)
            keep_BT = valid_places(lengths[m], width[m]) & spared_BT
            out[m] = Draw(keep_BT, np.full(len(rows), self._rates[m], dtype=np.float32))
        return out
