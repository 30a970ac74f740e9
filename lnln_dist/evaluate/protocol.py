"""What a protocol of evaluation is: a frozen definition that unfolds into noise conditions."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic.dataclasses import dataclass

from lnln_dist.compat.cider_noise import ALIGNED, CiderNoise, CiderPattern
from lnln_dist.compat.cms_noise import CmsNoise, CmsPattern
from lnln_dist.compat.official_noise import OfficialNoise
from lnln_dist.config import MODALITIES, STRICT, Count, Modality, NoisePattern, Place, Share, Spans
from lnln_dist.data.noise import EvaluationNoise, Noise
from lnln_dist.errors import UserError

if TYPE_CHECKING:  # pyarrow is not loaded to tell the protocols' names
    from lnln_dist.data.shards import Split

RANDOM: Literal["random"] = "random"  # its rates are the headline: ``report.seeds``
CLEAN, MISSING = "clean", "missing:"  # names of conditions; MISSING is followed by modalities
Generator = Literal["paper", "official", "cider", "cms"]
Pattern = Literal["none"] | NoisePattern | CmsPattern | CiderPattern
PATTERNS: dict[Generator, tuple[Pattern, ...]] = {
    "paper": ("none", "random", "block", "modality"),
    "official": ("none", "random"),
    "cider": ("none", "RMFM", "RMFM_same", "TMFM", "STMFM", "RMM"),
    "cms": ("none", "random", "block", "mixed_burst"),
}
Condition = tuple[int, str, tuple[float, ...]]
MOST_CELLS = 10_000  # of a protocol; each is a pass over the split
NoiseSeed = Annotated[int, Field(ge=0, lt=2**32)]


class Erasure(NamedTuple):
    """How places are chosen, whatever the rate."""

    pattern: Pattern = "random"
    place: Place = "anywhere"
    spans: int = 1
    shared: bool = False
    burst: float = 0.0


class Cell(NamedTuple):
    """One noise condition under one seed."""

    pattern: str  # its name in results; with the rate it is unique within a protocol
    rates: Mapping[Modality, float]  # missing rate in [0, 1]
    seed: int
    absent: tuple[Modality, ...] = ()  # left out of all conditions of the protocol (rate 1)
    erasure: Erasure = Erasure()

    @property
    def rate(self) -> float:
        """The largest rate of what is not absent: the common one of "random"."""
        return max(r for m, r in self.rates.items() if m not in self.absent)

    @property
    def _all_or_nothing(self) -> bool:
        """Whether the rates alone say which places are erased."""
        whole = all(rate in (0.0, 1.0) for rate in self.rates.values())
        return whole and not self.erasure.burst and self.erasure.pattern not in ALIGNED

    @property
    def certain(self) -> bool:
        """Whether nothing is left to chance, so that every seed erases the same places."""
        return self._all_or_nothing or self.erasure.place != "anywhere"

    @property
    def condition(self) -> Condition:
        """What decides which places are erased, in the order in which cells are best computed.

        That is seed by seed with rising rates: then noise, which is nested, changes the fewest
        texts from one cell to the next. The whole text comes first.
        """
        how = "" if self._all_or_nothing else str(tuple(self.erasure))
        rates = tuple(self.rates[m] for m in MODALITIES)
        return -1 if self.certain else self.seed, how, rates


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Rates:
    """A missing rate for each modality."""

    text: Share
    """Of the text."""
    audio: Share
    """Of the audio."""
    vision: Share
    """Of the vision."""


# A number or one for each modality, told apart by their kind so that an error speaks of one.
Rate = Annotated[
    Annotated[Share, Tag("number")] | Annotated[Rates, Tag("each")],
    Discriminator(lambda value: "each" if isinstance(value, dict | Rates) else "number"),
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Grid:
    """Conditions of one pattern: all rates, groups of modalities and places with one another."""

    pattern: Pattern
    """What is erased; `none` is one condition in which nothing is."""
    rates: tuple[Rate, ...] = ()
    """Missing rates in [0, 1]: one for all erased modalities, or `{text: , audio: , vision: }`."""
    modalities: tuple[tuple[Modality, ...], ...] = (MODALITIES,)
    """Groups of modalities that are erased together while the others stay whole."""
    places: tuple[Place, ...] = ("anywhere",)
    """Where a block lies (pattern block): without chance but for `anywhere`."""
    spans: Spans = 1
    """Blocks per sequence, one in each of as many equal parts (pattern block)."""
    shared: bool = False
    """Frames go with the token spoken at their time (pattern random or block)."""
    burst: Share = 0.0
    """Rate of the block of pattern mixed_burst."""

    @model_validator(mode="after")
    def _check(self) -> "Grid":
        if (self.pattern == "none") == bool(self.rates):
            raise ValueError("rates: give at least one, and none for pattern none")
        if not all(self.modalities) or not self.modalities or not self.places:
            raise ValueError("modalities and places: a list of at least one, no group empty")
        if any(len(set(group)) < len(group) for group in self.modalities):
            raise ValueError("modalities: one is named twice in a group")
        if self.pattern != "block" and (self.places, self.spans) != (("anywhere",), 1):
            raise ValueError(f"places and spans have no effect in pattern {self.pattern}")
        if self.shared and self.pattern not in ("random", "block"):
            raise ValueError(f"shared has no effect in pattern {self.pattern}")
        if (self.pattern == "mixed_burst") != (self.burst > 0):
            raise ValueError("burst: pattern mixed_burst needs it, no other has it")
        if self.modalities != (MODALITIES,) and (
            self.pattern == "none" or any(isinstance(rate, Rates) for rate in self.rates)
        ):
            raise ValueError("modalities: no groups with pattern none or a rate per modality")
        return self

    def conditions(self, absent: tuple[Modality, ...]) -> Iterator[Cell]:
        """Each condition, under no seed yet."""
        if self.pattern == "none":
            yield Cell(CLEAN, {m: float(m in absent) for m in MODALITIES}, 0, absent)
            return
        for group, place, rate in itertools.product(self.modalities, self.places, self.rates):
            own = asdict(rate) if isinstance(rate, Rates) else {m: float(rate) for m in group}
            rates: dict[Modality, float] = {
                m: 1.0 if m in absent else own.get(m, 0.0) for m in MODALITIES
            }
            erasure = Erasure(self.pattern, place, self.spans, self.shared, self.burst)
            yield Cell(_name(erasure, group, rate), rates, 0, absent, erasure)


def _name(how: Erasure, group: Sequence[Modality], rate: float | Rates) -> str:
    """The name of a condition, without its rate where one number is enough."""
    members = "+".join(m for m in MODALITIES if m in group)
    whole = set(group) == set(MODALITIES)
    if how.pattern == RANDOM and rate == 1.0 and not whole:
        return f"{MISSING}{members}"
    parts: list[str] = [how.pattern]
    parts += [how.place] if how.place != "anywhere" else []
    parts += [f"{how.spans} spans"] if how.spans > 1 else []
    parts += ["shared"] if how.shared else []
    parts += [f"burst {how.burst:g}"] if how.burst else []
    if isinstance(rate, Rates):
        parts.append(" ".join(f"{m}={r:g}" for m, r in asdict(rate).items()))
    return ":".join(parts if whole else [*parts, members])


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Protocol:
    """A named, versioned evaluation: what is erased, by whose generator, under which seeds."""

    name: Annotated[str, Field(pattern=r"^\S(.*\S)?$", max_length=60)]
    """What tables call it."""
    version: Count = 1
    """Raised with every change of what is computed."""
    about: str = ""
    """One sentence: source, and what is spared."""
    generator: Generator = "paper"
    """Whose random numbers and rules: ours, the released code's, CIDer's or CMS-Mamba's."""
    seeds: Annotated[tuple[NoiseSeed, ...], Field(min_length=1)] = (1,)
    """Noise seeds."""
    selected_on: Literal["valid", "test", "any"] = "valid"
    """Split that chose the checkpoint; another is noted beside the scores."""
    absent: tuple[Modality, ...] = ()
    """Modalities that are wholly absent from all conditions."""
    grids: tuple[Grid, ...]
    """The conditions."""

    @model_validator(mode="after")
    def _check(self) -> "Protocol":
        if not self.grids:
            raise ValueError("grids: give at least one")
        if set(self.absent) == set(MODALITIES):
            raise ValueError("absent: at least one modality has to be present")
        for grid in self.grids:
            if grid.pattern not in PATTERNS[self.generator]:
                known = ", ".join(PATTERNS[self.generator])
                raise ValueError(
                    f"pattern {grid.pattern} is not one of generator {self.generator}: {known}"
                )
            own = (grid.places, grid.spans, grid.shared) == (("anywhere",), 1, False)
            if self.generator != "paper" and not own:
                raise ValueError(
                    f"places, spans and shared have no effect with generator {self.generator}"
                )
            if any(set(group) <= set(self.absent) for group in grid.modalities):
                raise ValueError("modalities: a group has nothing that is present")
        groups = [len(g.modalities) * len(g.places) * max(len(g.rates), 1) for g in self.grids]
        if (count := sum(groups) * len(self.seeds)) > MOST_CELLS:  # before they unfold
            raise ValueError(
                f"{count} cells (conditions times seeds), the most is {MOST_CELLS}: give fewer "
                "rates, groups, places or seeds"
            )
        conditions = [cell for grid in self.grids for cell in grid.conditions(self.absent)]
        for cell in conditions:
            common = self.generator == "cider" and cell.erasure.pattern not in (RANDOM, "RMFM_same")
            if common and len(set(cell.rates.values())) > 1:
                raise ValueError(
                    f"pattern {cell.erasure.pattern} has one rate for all modalities; RMFM_same "
                    "takes a rate for each"
                )
        _once("conditions", [f"{cell.pattern} {round(cell.rate, 9)}" for cell in conditions])
        _once("seeds", self.seeds)
        return self

    @property
    def title(self) -> str:
        """Name and version, as tables show them; the first version is not said."""
        return self.name if self.version == 1 else f"{self.name} v{self.version}"

    def cells(self) -> list[Cell]:
        """Every condition under every seed."""
        conditions = [cell for grid in self.grids for cell in grid.conditions(self.absent)]
        return [cell._replace(seed=seed) for cell in conditions for seed in self.seeds]

    def definition(self) -> dict[str, Any]:
        """All fields as plain values, as they stand in results."""
        return asdict(self)

    def words(self) -> str:
        """The definition in one line."""
        parts = [_words(grid) for grid in self.grids]
        absent = f" without {' and '.join(self.absent)}" if self.absent else ""
        chance = not all(cell.certain for cell in self.cells())
        seeds = f"; seeds {', '.join(map(str, self.seeds))}" if chance else ""
        about = f" ({self.about.rstrip('.')})" if self.about else ""
        own = "any split may have chosen the checkpoint"
        chosen = own if self.selected_on == "any" else f"checkpoint chosen on {self.selected_on}"
        return (
            f"{self.name} v{self.version}{absent}: {'; '.join(parts)}; generator "
            f"{self.generator}{seeds}; {chosen}{about}"
        )


def _words(grid: Grid) -> str:
    if grid.pattern == "none":
        return "nothing erased"
    rates = [
        "/".join(f"{r:g}" for r in asdict(rate).values())
        if isinstance(rate, Rates)
        else f"{rate:g}"
        for rate in grid.rates
    ]
    text = f"{grid.pattern} at {', '.join(rates)}"
    if grid.places != ("anywhere",):
        text += f", {', '.join(grid.places)}"
    text += f", {grid.spans} spans" if grid.spans > 1 else ""
    text += ", shared by the modalities" if grid.shared else ""
    text += f", burst {grid.burst:g}" if grid.burst else ""
    if grid.modalities != (MODALITIES,):
        text += f", of {', '.join('+'.join(group) for group in grid.modalities)}"
    return text


def grid(
    rates: Sequence[float], seeds: Sequence[int], absent: Sequence[Modality] = ()
) -> list[Cell]:
    """The same random rate in all modalities, every rate with every seed.

    Args:
        rates: missing rates in [0, 1].
        seeds: noise seeds.
        absent: modalities that are wholly absent in every cell.
    """
    conditions = Grid(pattern="random", rates=tuple(rates)).conditions(tuple(absent))
    return [cell._replace(seed=seed) for cell in conditions for seed in seeds]


def distinct(cells: Iterable[Cell]) -> list[Cell]:
    """One cell of each condition, in the order of ``Cell.condition``."""
    found = {cell.condition: cell for cell in cells}
    return [found[condition] for condition in sorted(found)]


def noises_for(
    cells: Iterable[Cell],
    generator: Generator,
    split: "Split",
    padded_lengths: Mapping[Modality, int],
) -> list[Noise]:
    """The noise of each cell on one split.

    Args:
        cells: the conditions.
        generator: whose random numbers.
        split: the samples; all generators but ``paper`` draw for their order in the file.
        padded_lengths: places per modality in the source file, which these draw for.

    Raises:
        DataError: the data do not have what the pattern asks for.
    """
    ids = split.ids if generator == "paper" else []
    return [_noise(cell, generator, split, padded_lengths, ids) for cell in cells]


def _noise(
    cell: Cell,
    generator: Generator,
    split: "Split",
    padded: Mapping[Modality, int],
    ids: Sequence[str],
) -> Noise:
    rates, seed, how = cell.rates, cell.seed, cell.erasure
    if generator == "official":
        return OfficialNoise(rates=rates, rows_total=len(split), padded=padded, seed=seed)
    if generator == "cms":
        pattern = cast(CmsPattern, how.pattern)
        return CmsNoise(pattern=pattern, rates=rates, padded=padded, seed=seed, burst=how.burst)
    if generator == "cider":
        return CiderNoise(
            pattern=cast(CiderPattern, "RMFM_same" if how.pattern == RANDOM else how.pattern),
            rates=rates,
            lengths=split.lengths,
            padded=padded,
            seed=seed,
        )
    return EvaluationNoise(
        rates=rates,
        seed=seed,
        ids=ids,
        pattern=cast(NoisePattern, how.pattern),
        place=how.place,
        spans=how.spans,
        shared=how.shared,
    )


def _once(what: str, values: Sequence[object]) -> None:
    twice = sorted({str(v) for v in values if list(values).count(v) > 1})
    if twice:
        raise ValueError(f"{what}: {', '.join(twice)} given twice")


def parse_missing(text: str, option: str = "--missing") -> tuple[Modality, ...]:
    """``audio,vision`` -> the modalities, in their usual order.

    Raises:
        UserError: a name that is no modality, or none.
    """
    names = [part.strip() for part in text.replace("+", ",").split(",")]
    for name in names:
        if name not in MODALITIES:
            raise UserError(
                f"{option}: {name or text!r} is no modality: "
                f"choose of {', '.join(MODALITIES)}, several joined by commas"
            )
    return tuple(m for m in MODALITIES if m in names)
