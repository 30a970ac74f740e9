"""How much each modality and each place mattered to a prediction: it is erased and asked again.

Leave-one-out, by the noise the networks are trained with: an erased token becomes [UNK], an erased
frame zero. An effect is the prediction with a part minus the prediction without it, in the labels'
unit: above 0 where the part raises the score. Effects of parts need not add up. Of a run with
classes it is the mean over the classes by their probabilities that moves: classes would jump.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.noise import MARGIN, Draw, Lengths, Widths, valid_places
from lnln_dist.data.schema import FRAMES
from lnln_dist.data.shards import Split
from lnln_dist.evaluate.predict import Predictions

WINDOWS = 10  # of equal length that the frames of a modality are cut into


class Part(NamedTuple):
    """Some places of a modality, for every row of a split; none where start and stop meet."""

    modality: Modality
    start_N: NDArray[np.int64]
    stop_N: NDArray[np.int64]


@dataclass(frozen=True)
class Without:
    """Noise that erases the same parts whenever it is asked (see ``data.noise.Noise``)."""

    parts: tuple[Part, ...]

    def draw(
        self, rows: NDArray[np.int64], epoch: int, lengths: Lengths, width: Widths
    ) -> dict[Modality, Draw]:
        """See ``Noise.draw``; the rate is the share of the erasable places that is erased."""
        del epoch
        keeps = {m: valid_places(lengths[m], width[m]) for m in MODALITIES}
        for part in self.parts:
            place_T = np.arange(width[part.modality])
            inside_BT = place_T >= part.start_N[rows, None]
            inside_BT &= place_T < part.stop_N[rows, None]
            keeps[part.modality] &= ~inside_BT
        found = {}
        for m, keep_BT in keeps.items():
            erasable_B = np.maximum(lengths[m] - 2 * MARGIN[m], 1)
            rate_B = (lengths[m] - keep_BT.sum(axis=1)) / erasable_B
            found[m] = Draw(keep_BT, rate_B.astype(np.float32))
        return found


def whole(modality: Modality, length_N: NDArray[np.int64]) -> Part:
    """All that can be erased of a modality."""
    margin = MARGIN[modality]
    start_N = np.full_like(length_N, margin)
    return Part(modality, start_N, np.maximum(length_N - margin, start_N))


class Plan:
    """What is erased in turn: nothing, each modality, each token, each window of frames.

    Args:
        split: the samples.
    """

    def __init__(self, split: Split) -> None:
        self._split = split
        lengths = split.lengths
        self._modalities = [whole(m, lengths[m]) for m in MODALITIES]
        self._there = {part.modality: _there(split, part) for part in self._modalities}
        self._tokens = _tokens(self._modalities[0])
        self._windows = {m: _windows(m, lengths[m]) for m in FRAMES}
        pieces = [*self._modalities, *self._tokens, *(p for m in FRAMES for p in self._windows[m])]
        self.noises = [Without(()), *(Without((piece,)) for piece in pieces)]

    def effects(self, found: Sequence[Predictions]) -> dict[str, NDArray[np.float32]]:
        """The effect of each modality as columns, [n]; nan where it is not there.

        Args:
            found: predictions under ``noises``, in their order.
        """
        score_N = _score(found[0])
        return {
            f"effect_{m}": np.where(self._there[m], score_N - _score(other), np.float32("nan"))
            for m, other in zip(MODALITIES, found[1 : 1 + len(MODALITIES)], strict=True)
        }

    def records(
        self,
        found: Sequence[Predictions],
        words: Mapping[int, str],
        seconds_N: NDArray[np.float64] | None,
    ) -> list[dict[str, Any]]:
        """One record per sample, made of what JSON knows.

        Args:
            found: predictions under ``noises``, in their order.
            words: of the token ids; an id without one is shown as its number.
            seconds_N: length of each clip, which gives windows times; None, or nan: unknown.

        Returns:
            ``id``, ``prediction``, ``effect`` (modality -> effect), ``tokens`` (``place``,
            ``token``, ``effect``), ``audio`` and ``vision``: lists of windows with ``from`` and
            ``to`` in frames, ``seconds`` (from, to) where known, and ``effect``.
        """
        drop_CN = np.stack([_score(found[0]) - _score(other) for other in found[1:]])
        of_modality, of_rest = np.split(drop_CN, [len(MODALITIES)])
        of_token, of_window = np.split(of_rest, [len(self._tokens)])
        of_frames = dict(
            zip(FRAMES, np.split(of_window, [len(self._windows["audio"])]), strict=True)
        )
        lengths = self._split.lengths
        records = []
        for row, name in enumerate(self._split.ids):
            effect = {m: float(of_modality[i, row]) for i, m in enumerate(MODALITIES)}
            record: dict[str, Any] = {
                "id": name,
                "prediction": float(found[0].sentiment[row]),
                "effect": {m: value for m, value in effect.items() if self._there[m][row]},
                "tokens": [],
            }
            if self._there["text"][row]:
                ids = self._split.tokens(row)
                record["tokens"] = [
                    {"place": at, "token": words.get(int(ids[at]), str(ids[at])), "effect": value}
                    for at, _, value in _own(self._tokens, of_token, row)
                ]
            for m in FRAMES:
                clip = float("nan") if seconds_N is None else float(seconds_N[row])
                scale = clip / int(lengths[m][row])
                record[m] = [
                    {"from": start, "to": stop}
                    | ({"seconds": [start * scale, stop * scale]} if np.isfinite(scale) else {})
                    | {"effect": value}
                    for start, stop, value in _own(self._windows[m], of_frames[m], row)
                    if self._there[m][row]
                ]
            records.append(record)
        return records


def _there(split: Split, part: Part) -> NDArray[np.bool_]:
    """Samples that have something of a part, [N]."""
    there_N: NDArray[np.bool_] = np.ones(len(part.start_N), np.bool_)
    for row, (start, stop) in enumerate(zip(part.start_N, part.stop_N, strict=True)):
        seen_T = split.seen(part.modality, row)
        if seen_T is None:
            break
        there_N[row] = start == stop or seen_T[start:stop].any()
    return there_N


def _score(found: Predictions) -> NDArray[np.float32]:
    """What an effect is a difference of."""
    classes = {name: re.fullmatch(r"p_(-?[\d.]+)", name) for name in found.extras}
    parts = [float(match[1]) * found.extras[name] for name, match in classes.items() if match]
    return np.sum(parts, axis=0, dtype=np.float32) if parts else found.sentiment


def _tokens(text: Part) -> list[Part]:
    """Each token on its own, as many parts as the longest text has tokens to erase."""
    most = int((text.stop_N - text.start_N).max(initial=0))
    starts = (np.minimum(text.start_N + k, text.stop_N) for k in range(most))
    return [Part("text", start_N, np.minimum(start_N + 1, text.stop_N)) for start_N in starts]


def _windows(modality: Modality, length_N: NDArray[np.int64]) -> list[Part]:
    count = min(WINDOWS, int(length_N.max(initial=0)))
    edges = [k * length_N // count for k in range(count + 1)]
    return [Part(modality, edges[k], edges[k + 1]) for k in range(count)]


def _own(
    parts: Sequence[Part], effect_CN: NDArray[np.float32], row: int
) -> list[tuple[int, int, float]]:
    """Start, stop and effect of the parts that a row has."""
    return [
        (int(part.start_N[row]), int(part.stop_N[row]), float(effect_CN[i, row]))
        for i, part in enumerate(parts)
        if part.stop_N[row] > part.start_N[row]
    ]
