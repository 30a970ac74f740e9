"""Named noise grids of an evaluation.

``paper``: a stream of its own for every seed, sample and modality. ``official``: the released
code's generator, one seed (1111) and the same uniform field for every modality.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from lnln_dist.compat.official_noise import OfficialNoise
from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.noise import EvaluationNoise, Noise
from lnln_dist.data.shards import Split
from lnln_dist.errors import UserError
from lnln_dist.report import seeds as arithmetic

ProtocolName = Literal["paper", "official"]
RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # arXiv 2409.20012, section 4.3
SEEDS: dict[ProtocolName, tuple[int, ...]] = {"paper": (1, 2, 3), "official": (1111,)}
RANDOM, MISSING = (
    arithmetic.RANDOM,
    "missing:",
)  # names of patterns; MISSING is followed by modalities


class Cell(NamedTuple):
    """One noise condition."""

    pattern: str  # "random", or "missing:" and the modalities that are wholly absent
    rates: Mapping[Modality, float]  # missing rate in [0, 1]
    seed: int
    absent: tuple[Modality, ...] = ()  # left out of a "random" grid altogether (rate 1)

    @property
    def rate(self) -> float:
        """The largest rate: the common one of "random", 1 where a modality is missing."""
        return max(r for m, r in self.rates.items() if m not in self.absent)

    @property
    def certain(self) -> bool:
        """Whether nothing is left to chance, so that every seed erases the same places."""
        return all(rate in (0.0, 1.0) for rate in self.rates.values())

    @property
    def condition(self) -> tuple[float, ...]:
        """What decides which places are erased, in the order in which cells are best computed.

        That is seed by seed with rising rates: then noise, which is nested, changes the fewest
        texts from one cell to the next. The whole text comes first.
        """
        seed = -1 if self.certain else self.seed
        return (seed, *(self.rates[m] for m in MODALITIES))


def grid(
    rates: Sequence[float], seeds: Sequence[int], absent: Sequence[Modality] = ()
) -> list[Cell]:
    """The same rate in all modalities, every rate with every seed.

    Args:
        rates: missing rates in [0, 1].
        seeds: noise seeds.
        absent: modalities that are wholly absent in every cell, such as audio and vision for a
            model of text alone.

    Raises:
        UserError: a rate outside [0, 1], a seed that is no generator's, one given twice, or
            nothing present.
    """
    if set(absent) == set(MODALITIES):
        raise UserError("--absent: at least one modality has to be present")
    for rate in rates:
        if not 0 <= rate <= 1:
            raise UserError(f"--rates: missing rates lie in [0, 1], got {rate}")
    _check_seeds(seeds)
    _check_once("--rates", rates)
    return [
        Cell(RANDOM, {m: 1.0 if m in absent else float(r) for m in MODALITIES}, s, tuple(absent))
        for r in rates
        for s in seeds
    ]


def missing_cells(groups: Iterable[Sequence[Modality]], seed: int) -> list[Cell]:
    """Each group of modalities wholly absent, the others whole; one seed, since none matters."""
    _check_seeds([seed])
    cells = []
    for group in groups:
        rates = {m: float(m in group) for m in MODALITIES}
        cells.append(Cell(MISSING + "+".join(m for m in MODALITIES if m in group), rates, seed))
    _check_once("--missing", [cell.pattern.removeprefix(MISSING) for cell in cells])
    return cells


def distinct(cells: Iterable[Cell]) -> list[Cell]:
    """One cell of each condition, in the order of ``Cell.condition``."""
    found = {cell.condition: cell for cell in cells}
    return [found[condition] for condition in sorted(found)]


def parse_missing(text: str) -> tuple[Modality, ...]:
    """``audio,vision`` -> the modalities, in their usual order.

    Raises:
        UserError: a name that is no modality, or none.
    """
    names = [part.strip() for part in text.replace("+", ",").split(",")]
    for name in names:
        if name not in MODALITIES:
            raise UserError(
                f"--missing: {name or text!r} is no modality: "
                f"choose of {', '.join(MODALITIES)}, several joined by commas"
            )
    return tuple(m for m in MODALITIES if m in names)


def noises_for(
    cells: Iterable[Cell],
    protocol: ProtocolName,
    split: Split,
    padded_lengths: Mapping[Modality, int],
) -> list[Noise]:
    """The noise of each cell on one split.

    Args:
        cells: the conditions.
        protocol: whose generator.
        split: the samples; ``official`` draws over all of them in file order.
        padded_lengths: places per modality in the source file, which ``official`` draws for.
    """
    if protocol == "official":
        return [
            OfficialNoise(
                rates=cell.rates, rows_total=len(split), padded=padded_lengths, seed=cell.seed
            )
            for cell in cells
        ]
    ids = split.ids
    return [EvaluationNoise(rates=cell.rates, seed=cell.seed, ids=ids) for cell in cells]


def _check_seeds(seeds: Sequence[int]) -> None:
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise UserError(f"--seeds: noise seeds lie in [0, 2**32), got {seed}")
    _check_once("--seeds", seeds)


def _check_once(option: str, values: Sequence[object]) -> None:
    twice = sorted({str(v) for v in values if list(values).count(v) > 1})
    if twice:
        raise UserError(f"{option}: {', '.join(twice)} given twice")
