"""Which places of which sample are erased: a pure function of seed, epoch, sample id and rate.

A place is kept iff u > r, with u uniform in (0, 1) and r the sample's missing rate for that
modality (paper section 3.1, "random data missing"). Because u does not depend on r, masks are
nested: what is gone at a low rate is gone at any higher one, for every pattern. Because u comes
from a counter (``philox``), masks do not depend on batch, order, padding, process or restart.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lnln_dist.config import MODALITIES, Modality, NoiseConfig, NoisePattern
from lnln_dist.data import philox
from lnln_dist.errors import ConfigError

Lengths = Mapping[Modality, NDArray[np.int64]]
Widths = Mapping[Modality, int]


class Draw(NamedTuple):
    """The noise of one modality for the rows of a batch."""

    keep_BT: NDArray[np.bool_]  # True on valid places that survive, False on padding
    rate_B: NDArray[np.float32]  # nominal missing rate in [0, 1]


class Noise(Protocol):
    """A noise stream."""

    def draw(
        self, rows: NDArray[np.int64], epoch: int, lengths: Lengths, width: Widths
    ) -> dict[Modality, Draw]:
        """Masks and rates of some rows of the split.

        Args:
            rows: rows within the split, [B].
            epoch: counted from 0; evaluation streams ignore it.
            lengths: valid places of each of these rows, [B] per modality.
            width: padded places T of the masks wanted, per modality.
        """
        ...


def valid_places(length_B: NDArray[np.int64], width: int) -> NDArray[np.bool_]:
    """True on a sequence's own places, False on its padding, [B T]."""
    valid: NDArray[np.bool_] = np.arange(width) < length_B[:, None]
    return valid


def clean_count(size: int, share: float) -> int:
    """How many of ``size`` samples stay whole: rounded down, the share taken as written.

    The float nearest to 0.29 is a little smaller than 0.29; 29 of 100 samples are meant.
    """
    return math.floor(size * Fraction(repr(float(share))))


@dataclass(frozen=True)
class Masks:
    """The masks of one modality at any rate: all of its randomness but the rates.

    For text the first and the last valid place ([CLS] and [SEP]) are never erased.
    """

    modality: Modality
    pattern: NoisePattern
    key: int

    def keep(
        self,
        samples: philox.UInt64,
        *,
        epoch: int,
        rate_B: NDArray[np.float64],
        length_B: NDArray[np.int64],
        width: int,
    ) -> NDArray[np.bool_]:
        """True on valid places that survive, [B T]; ``samples`` are the samples' keys."""
        margin = 1 if self.modality == "text" else 0
        count_B = np.maximum(length_B - 2 * margin, 0)  # erasable places, from ``margin`` on
        place_T = np.arange(width) - margin
        uniforms = partial(philox.uniforms, key=self.key, samples=samples, epoch=epoch)
        valid_BT = valid_places(length_B, width)
        spared_BT: NDArray[np.bool_]
        if self.pattern == "block":
            # E[size] = rate * count. Both sizes and starts come from fixed draws: as the size
            # grows by one the start stays or moves back by one, which keeps masks nested.
            u_B2 = uniforms(length=2)
            size_B = np.floor(rate_B * count_B + u_B2[:, 0])
            start_B = np.floor(u_B2[:, 1] * (count_B - size_B + 1))
            end_B = start_B + size_B
            spared_BT = (place_T < start_B[:, None]) | (place_T >= end_B[:, None])
            return valid_BT & spared_BT
        draws = width if self.pattern == "random" else 1
        spared_BT = uniforms(length=draws) > rate_B[:, None]
        if margin:
            spared_BT = spared_BT | (place_T < 0) | (place_T >= count_B[:, None])
        return valid_BT & spared_BT


class TrainingNoise:
    """Fresh noise for every sample and epoch (paper section 4.2).

    Per modality and epoch exactly ``clean_count`` samples stay whole, those with the smallest
    draw of all ids; the others get a rate from U(0, maximum), or the fixed one.

    Args:
        config: the noise settings.
        seed: seed of the noise (the caller resolves ``noise.seed: null``).
        ids: ids of all samples of the split, in row order.
    """

    def __init__(self, config: NoiseConfig, *, seed: int, ids: Sequence[str]) -> None:
        self._config = config
        self._seed = seed
        self._samples = philox.sample_keys(ids)
        self._masks = {}
        for m in MODALITIES:
            pattern = config.of(m).pattern
            assert pattern is not None
            key = philox.stream_key("noise", "training", seed, m, pattern)
            self._masks[m] = Masks(m, pattern, key)
        self._cache: tuple[int, dict[Modality, NDArray[np.float64]]] | None = None

    def rates(self, epoch: int) -> dict[Modality, NDArray[np.float64]]:
        """Missing rate of every sample of the split in one epoch, [n] per modality."""
        if self._cache is None or self._cache[0] != epoch:
            self._cache = epoch, {m: self._rates(m, epoch) for m in MODALITIES}
        return self._cache[1]

    def _rates(self, modality: Modality, epoch: int) -> NDArray[np.float64]:
        own = self._config.of(modality)
        assert own.clean_share is not None
        assert own.maximum is not None
        key = philox.stream_key("noise", "training", self._seed, modality, "rates")
        draws_N3 = philox.words(key=key, samples=self._samples, epoch=epoch, length=3)
        lot_N = draws_N3[:, 0].astype(np.uint64) << np.uint64(32) | draws_N3[:, 1]
        clean = np.argsort(lot_N, kind="stable")[: clean_count(len(lot_N), own.clean_share)]
        if own.mode == "fixed":
            rate_N = np.full(len(lot_N), own.rate, dtype=np.float64)
        else:
            rate_N = philox.to_unit(draws_N3[:, 2]) * own.maximum
        rate_N[clean] = 0
        return rate_N

    def draw(
        self, rows: NDArray[np.int64], epoch: int, lengths: Lengths, width: Widths
    ) -> dict[Modality, Draw]:
        """See ``Noise.draw``."""
        rates, samples = self.rates(epoch), self._samples[rows]
        out: dict[Modality, Draw] = {}
        for m, masks in self._masks.items():
            rate_B = rates[m][rows]
            keep_BT = masks.keep(
                samples, epoch=epoch, rate_B=rate_B, length_B=lengths[m], width=width[m]
            )
            out[m] = Draw(keep_BT, rate_B.astype(np.float32))
        return out


def check_rates(rates: Mapping[Modality, float]) -> None:
    """Refuses missing rates outside [0, 1] and modalities without one.

    Raises:
        ConfigError: naming the modality and its rate.
    """
    for m in MODALITIES:
        if m not in rates:
            raise ConfigError(f"no missing rate for {m}: give one per modality")
        if not 0 <= rates[m] <= 1:
            raise ConfigError(f"missing rate {rates[m]} of {m}: expected a number from 0 to 1")


class EvaluationNoise:
    """The same rate for every sample; a stream of its own, the same in every epoch.

    Args:
        rates: missing rate in [0, 1] of each modality.
        seed: seed of the evaluation noise.
        ids: ids of all samples of the split, in row order.
        pattern: what is erased, as ``noise.pattern``.

    Raises:
        ConfigError: a rate outside [0, 1].
    """

    def __init__(
        self,
        *,
        rates: Mapping[Modality, float],
        seed: int,
        ids: Sequence[str],
        pattern: NoisePattern = "random",
    ) -> None:
        check_rates(rates)
        self._rates = dict(rates)
        self._samples = philox.sample_keys(ids)
        self._masks = {
            m: Masks(m, pattern, philox.stream_key("noise", "evaluation", seed, m, pattern))
            for m in MODALITIES
        }

    def draw(
        self, rows: NDArray[np.int64], epoch: int, lengths: Lengths, width: Widths
    ) -> dict[Modality, Draw]:
        """See ``Noise.draw``."""
        del epoch  # every epoch is scored under the same noise
        samples = self._samples[rows]
        out: dict[Modality, Draw] = {}
        for m, masks in self._masks.items():
            rate_B = np.full(len(rows), self._rates[m])
            keep_BT = masks.keep(
                samples, epoch=0, rate_B=rate_B, length_B=lengths[m], width=width[m]
            )
            out[m] = Draw(keep_BT, rate_B.astype(np.float32))
        return out


class CleanNoise:
    """Erases nothing."""

    def draw(
        self, rows: NDArray[np.int64], epoch: int, lengths: Lengths, width: Widths
    ) -> dict[Modality, Draw]:
        """See ``Noise.draw``."""
        del epoch
        rate_B = np.zeros(len(rows), dtype=np.float32)
        return {m: Draw(valid_places(lengths[m], width[m]), rate_B) for m in MODALITIES}
