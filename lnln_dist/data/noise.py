"""Which places of which sample are erased: a pure function of seed, epoch, sample id and rate.

A place is kept iff u > r, with u uniform in (0, 1) and r the sample's missing rate for that
modality (paper section 3.1, "random data missing"). Because u does not depend on r, masks are
nested: what is gone at a low rate is gone at any higher one, for every pattern. Because u comes
from a counter (``philox``), masks do not depend on batch, order, padding, process or restart.
Noise that the modalities share is the text's: a frame goes with the token spoken at its time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lnln_dist.config import MODALITIES, Modality, NoiseConfig, NoisePattern, Place
from lnln_dist.data import philox
from lnln_dist.errors import ConfigError

# [CLS] and [SEP] always stay.
MARGIN: dict[Modality, int] = {"text": 1, "audio": 0, "vision": 0}

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
    place: Place = "anywhere"  # of a block
    spans: int = 1  # blocks

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
        margin = MARGIN[self.modality]
        count_B = np.maximum(length_B - 2 * margin, 0)  # erasable places, from ``margin`` on
        place_T = np.arange(width) - margin
        uniforms = partial(philox.uniforms, key=self.key, samples=samples, epoch=epoch)
        valid_BT = valid_places(length_B, width)
        if self.pattern == "block":
            u_BS2 = uniforms(length=2 * self.spans).reshape(-1, self.spans, 2)
            return valid_BT & ~self._blocks(u_BS2, place_T, rate_B, count_B)
        draws = width if self.pattern == "random" else 1
        spared_BT: NDArray[np.bool_] = uniforms(length=draws) > rate_B[:, None]
        if margin:
            spared_BT = spared_BT | (place_T < 0) | (place_T >= count_B[:, None])
        return valid_BT & spared_BT

    def _blocks(
        self,
        u_BS2: NDArray[np.float64],
        place_T: NDArray[np.int64],
        rate_B: NDArray[np.float64],
        count_B: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """True within the blocks, one in each of ``spans`` equal parts of the sequence, [B T].

        E[size] = rate * room of a block that lies anywhere; elsewhere chance has no part and the
        size is rounded. As a size grows by one the start stays or moves back by one, which keeps
        masks nested.
        """
        inside_BT = np.zeros((len(count_B), len(place_T)), dtype=np.bool_)
        for part in range(self.spans):
            first_B = count_B * part // self.spans
            room_B = count_B * (part + 1) // self.spans - first_B
            chance_B = u_BS2[:, part, 0] if self.place == "anywhere" else 0.5
            size_B = np.floor(rate_B * room_B + chance_B)
            if self.place == "anywhere":
                start_B = first_B + np.floor(u_BS2[:, part, 1] * (room_B - size_B + 1))
            else:
                share = {"start": 0.0, "middle": 0.5, "end": 1.0}[self.place]
                start_B = first_B + np.floor(share * (room_B - size_B))
            end_B = start_B + size_B
            inside_BT |= (place_T >= start_B[:, None]) & (place_T < end_B[:, None])
        return inside_BT


def at_the_same_time(
    keep_BT: NDArray[np.bool_],
    token_B: NDArray[np.int64],
    frame_B: NDArray[np.int64],
    width: int,
) -> NDArray[np.bool_]:
    """A text's mask for frames, [B width]: a frame has the mask of the token at its middle.

    Frame t of F lies at token floor((t + 1/2) N / F) of N; where F = N that is token t.

    Args:
        keep_BT: of the text.
        token_B: tokens N of each row.
        frame_B: frames F of each row.
        width: padded frames.
    """
    token_BT = (2 * np.arange(width) + 1) * token_B[:, None] // np.maximum(2 * frame_B, 1)[:, None]
    kept_BT = np.take_along_axis(keep_BT, np.minimum(token_BT, keep_BT.shape[1] - 1), axis=1)
    return kept_BT & valid_places(frame_B, width)


@dataclass(frozen=True)
class _Stream:
    """The masks of all modalities: each its own, or all of them the text's."""

    masks: Mapping[Modality, Masks]
    shared: bool

    def draw(
        self,
        samples: philox.UInt64,
        epoch: int,
        rates: Mapping[Modality, NDArray[np.float64]],
        lengths: Lengths,
        width: Widths,
    ) -> dict[Modality, Draw]:
        out: dict[Modality, Draw] = {}
        for m in MODALITIES:
            drawn: Modality = "text" if self.shared else m
            keep_BT = self.masks[drawn].keep(
                samples,
                epoch=epoch,
                rate_B=rates[m],
                length_B=lengths[drawn],
                width=width[drawn],
            )
            if drawn != m:
                keep_BT = at_the_same_time(keep_BT, lengths[drawn], lengths[m], width[m])
                keep_BT &= rates[m][:, None] < 1  # the text keeps its ends, frames nothing
            out[m] = Draw(keep_BT, rates[m].astype(np.float32))
        return out


class TrainingNoise:
    """Fresh noise for every sample and epoch (paper section 4.2).

    Per modality and epoch exactly ``clean_count`` samples stay whole, those with the smallest
    draw of all ids; the others get a rate from U(0, maximum), or the fixed one. Where the
    modalities share their noise all have the rates and the places of the text.

    Args:
        config: the noise settings.
        seed: seed of the noise (the caller resolves ``noise.seed: null``).
        ids: ids of all samples of the split, in row order.
    """

    def __init__(self, config: NoiseConfig, *, seed: int, ids: Sequence[str]) -> None:
        self._config = config
        self._seed = seed
        self._samples = philox.sample_keys(ids)
        masks = {}
        for m in MODALITIES:
            own = config.of(m)
            assert own.pattern is not None
            assert own.place is not None
            assert own.spans is not None
            key = philox.stream_key("noise", "training", seed, m, own.pattern)
            masks[m] = Masks(m, own.pattern, key, own.place, own.spans)
        self._stream = _Stream(masks, config.shared)
        self._cache: tuple[int, dict[Modality, NDArray[np.float64]]] | None = None

    def rates(self, epoch: int) -> dict[Modality, NDArray[np.float64]]:
        """Missing rate of every sample of the split in one epoch, [n] per modality."""
        if self._cache is None or self._cache[0] != epoch:
            if self._config.shared:
                rates = dict.fromkeys(MODALITIES, self._rates("text", epoch))
            else:
                rates = {m: self._rates(m, epoch) for m in MODALITIES}
            self._cache = epoch, rates
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
        rates = {m: rate_N[rows] for m, rate_N in self.rates(epoch).items()}
        return self._stream.draw(self._samples[rows], epoch, rates, lengths, width)


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
        place: as ``noise.place``.
        spans: as ``noise.spans``.
        shared: as ``noise.shared``; a modality with another rate than the text's loses the places
            that the text would lose at that rate.

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
        place: Place = "anywhere",
        spans: int = 1,
        shared: bool = False,
    ) -> None:
        check_rates(rates)
        self._rates = dict(rates)
        self._samples = philox.sample_keys(ids)
        keys = {m: philox.stream_key("noise", "evaluation", seed, m, pattern) for m in MODALITIES}
        masks = {m: Masks(m, pattern, key, place, spans) for m, key in keys.items()}
        self._stream = _Stream(masks, shared)

    def draw(
        self, rows: NDArray[np.int64], epoch: int, lengths: Lengths, width: Widths
    ) -> dict[Modality, Draw]:
        """See ``Noise.draw``."""
        del epoch  # every epoch is scored under the same noise
        rates = {m: np.full(len(rows), self._rates[m]) for m in MODALITIES}
        return self._stream.draw(self._samples[rows], 0, rates, lengths, width)


class CleanNoise:
    """Erases nothing."""

    def draw(
        self, rows: NDArray[np.int64], epoch: int, lengths: Lengths, width: Widths
    ) -> dict[Modality, Draw]:
        """See ``Noise.draw``."""
        del epoch
        rate_B = np.zeros(len(rows), dtype=np.float32)
        return {m: Draw(valid_places(lengths[m], width[m]), rate_B) for m in MODALITIES}
