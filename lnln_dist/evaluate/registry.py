"""The protocols by name; a user's own as a YAML file of the same fields."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lnln_dist import settings
from lnln_dist.config import MODALITIES, Modality
from lnln_dist.errors import UserError
from lnln_dist.evaluate.protocol import Grid, Protocol, Rates

TENTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # arXiv 2409.20012, section 4.3
ELEVEN = (*TENTHS, 1.0)
T, A, V = MODALITIES
LOST: tuple[tuple[Modality, ...], ...] = ((T,), (A,), (V,), (T, A), (T, V), (A, V))
WINDOWS: tuple[tuple[Modality, ...], ...] = ((T,), (A,), (V,), (A, V), (T, A, V))
ENDS = "[CLS] and [SEP] are spared"
CIDER = "as CIDer's data loader draws it for the split in file order"


def _cider(name: str, pattern: Any, about: str) -> Protocol:
    grid = Grid(pattern=pattern, rates=ELEVEN)
    return Protocol(
        name=name, about=about, generator="cider", seeds=(1111,), selected_on="any", grids=(grid,)
    )


BUILT_IN = (
    Protocol(
        name="paper",
        about=f"Independent places at the ten rates of arXiv 2409.20012; {ENDS}.",
        seeds=(1, 2, 3),
        grids=(Grid(pattern="random", rates=TENTHS),),
    ),
    Protocol(
        name="official",
        about=f"The released LNLN code's masks, the same uniforms for each modality; {ENDS}.",
        generator="official",
        seeds=(1111,),
        selected_on="test",
        grids=(Grid(pattern="random", rates=TENTHS),),
    ),
    Protocol(
        name="modality-missing",
        about=f"The seven combinations of whole modalities that are there; {ENDS}.",
        grids=(Grid(pattern="none"), Grid(pattern="random", rates=(1.0,), modalities=LOST)),
    ),
    Protocol(
        name="imbalanced",
        about=f"The rates .2, .5 and .8 given to the modalities in all six ways; {ENDS}.",
        seeds=(1, 2, 3),
        grids=(
            Grid(
                pattern="random",
                rates=(
                    Rates(text=0.2, audio=0.5, vision=0.8),
                    Rates(text=0.2, audio=0.8, vision=0.5),
                    Rates(text=0.5, audio=0.2, vision=0.8),
                    Rates(text=0.5, audio=0.8, vision=0.2),
                    Rates(text=0.8, audio=0.2, vision=0.5),
                    Rates(text=0.8, audio=0.5, vision=0.2),
                ),
            ),
        ),
    ),
    Protocol(
        name="block",
        about=f"One contiguous block per modality, anywhere, at the ten rates; {ENDS}.",
        seeds=(1, 2, 3),
        grids=(Grid(pattern="block", rates=TENTHS),),
    ),
    Protocol(
        name="windows",
        about="26 conditions: whole, and a window of text, audio, vision, audio+vision or all, at "
        f"the start, the middle and the end (30 %) and in the middle (10 and 50 %); {ENDS}.",
        grids=(
            Grid(pattern="none"),
            Grid(
                pattern="block",
                rates=(0.3,),
                places=("start", "middle", "end"),
                modalities=WINDOWS,
            ),
            Grid(pattern="block", rates=(0.1, 0.5), places=("middle",), modalities=WINDOWS),
        ),
    ),
    Protocol(
        name="aligned",
        about="The frames of the erased tokens are erased with them; what lies at the time of "
        "[CLS] and [SEP] is spared in all modalities.",
        seeds=(1, 2, 3),
        grids=(Grid(pattern="random", rates=TENTHS, shared=True),),
    ),
    _cider("cider-rmfm", "RMFM", f"RMFM (random features) {CIDER}; {ENDS}."),
    _cider("cider-rmfm-same", "RMFM_same", f"RMFM_same (a field per modality) {CIDER}; {ENDS}."),
    _cider(
        "cider-tmfm",
        "TMFM",
        f"TMFM (the same places of all) {CIDER}; aligned files; first and last place are spared "
        "in all modalities.",
    ),
    _cider(
        "cider-stmfm",
        "STMFM",
        f"STMFM (the same block of all) {CIDER}; aligned files; first and last place are spared "
        "in all modalities.",
    ),
    _cider("cider-rmm", "RMM", f"RMM (whole modalities at random) {CIDER}; {ENDS}."),
    Protocol(
        name="cms",
        about="CMS-Mamba's evaluator: the rates of its validation, a block, a mixed burst, "
        f"text-heavy, audio-and-vision-heavy, whole modalities; {ENDS}.",
        generator="cms",
        seeds=(1111, 2222, 3333),
        grids=(
            Grid(
                pattern="random",
                rates=(
                    *(0.0, 0.1, 0.5, 0.9, 1.0),
                    Rates(text=0.7, audio=0.1, vision=0.1),
                    Rates(text=0.1, audio=0.7, vision=0.7),
                ),
            ),
            Grid(pattern="random", rates=(1.0,), modalities=((T,), (A, V))),
            Grid(pattern="block", rates=(0.5,)),
            Grid(pattern="mixed_burst", rates=(0.2,), burst=0.3),
        ),
    ),
    Protocol(
        name="as-is",
        about="The data as they came: nothing is erased, the gaps of the file stay as they are.",
        selected_on="any",
        grids=(Grid(pattern="none"),),
    ),
)
CUSTOM = "custom of "  # begins the name of one that options have changed
PROTOCOLS = {protocol.name: protocol for protocol in BUILT_IN}


def find_protocol(wanted: str) -> Protocol:
    """A protocol by its name, or from a YAML file (a path that ends in .yaml or .yml).

    Raises:
        UserError: there is none, or the file does not define one.
    """
    if not wanted.endswith((".yaml", ".yml")):
        if wanted not in PROTOCOLS:
            near = difflib.get_close_matches(wanted, PROTOCOLS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(
                f"--protocol {wanted}: {hint}choose one of {', '.join(PROTOCOLS)}, or a file .yaml"
            )
        return PROTOCOLS[wanted]
    found = _built(settings.read_yaml(Path(wanted)), at=f"{wanted}: ")
    if found.name in PROTOCOLS or found.name.startswith(CUSTOM):
        raise UserError(f"{wanted}: name: {found.name} is one of ours: choose another")
    return found


def protocol_in(summary: Mapping[str, Any]) -> Protocol:
    """The protocol of an evaluation, from its evaluation.json: masks can be drawn again from it.

    Raises:
        UserError: what is stored defines none.
    """
    if "protocol_definition" in summary:
        return _built(summary["protocol_definition"], at="protocol_definition: ")
    # As evaluations were stored before protocols were objects.
    return customised(
        find_protocol(summary["protocol"]),
        rates=summary["rates"],
        seeds=summary["noise_seeds"],
        missing=[group.split("+") for group in summary["missing"]],
        absent=summary.get("absent", ()),
    )


def customised(
    protocol: Protocol,
    *,
    rates: Sequence[float] | None = None,
    seeds: Sequence[int] | None = None,
    missing: Sequence[Sequence[Modality]] = (),
    absent: Sequence[Modality] = (),
) -> Protocol:
    """The protocol with what a command line says otherwise, called ``custom of NAME``.

    Args:
        protocol: to start from; what is as it was anyway leaves it its name.
        rates: in place of its rates; none leaves the conditions of ``missing`` alone.
        seeds: in place of its noise seeds.
        missing: groups of modalities to leave out entirely, as conditions of their own.
        absent: modalities to leave out of all conditions.

    Raises:
        UserError: one of these is impossible, or the protocol does not have it.
    """
    raw = protocol.definition()
    if rates is not None:
        _check_once("--rates", rates)
        for rate in rates:
            if not 0 <= rate <= 1:
                raise UserError(f"--rates: missing rates lie in [0, 1], got {rate}")
        plain = [not isinstance(rate, dict) for grid in raw["grids"] for rate in grid["rates"]]
        if len(raw["grids"]) > 1 or not plain or not all(plain) or len(plain) == 1:
            raise UserError(
                f"--rates: protocol {protocol.name} is not one pattern at several rates: write a "
                "file .yaml of your own"
            )
        raw["grids"] = [{**raw["grids"][0], "rates": list(rates)}] if rates else []
    if seeds is not None:
        for seed in seeds:
            if not 0 <= seed < 2**32:
                raise UserError(f"--seeds: noise seeds lie in [0, 2**32), got {seed}")
        _check_once("--seeds", seeds)
        if all(cell.certain for cell in protocol.cells()):
            raise UserError(f"--seeds: protocol {protocol.name} leaves nothing to chance: drop it")
        raw["seeds"] = list(seeds)
    if set(absent) == set(MODALITIES):
        raise UserError("--absent: at least one modality has to be present")
    _check_once("--missing", ["+".join(group) for group in missing])
    if missing:
        groups = [list(group) for group in missing]
        raw["grids"] = [*raw["grids"], {"pattern": "random", "rates": [1.0], "modalities": groups}]
    if absent:
        raw["absent"] = list(absent)
    if not raw["grids"] or not raw["seeds"]:
        raise UserError("nothing to evaluate: give a run, and a rate with a seed or --missing")
    found = _built(raw, at=f"--protocol {protocol.name}, with the other options: ")
    if found == protocol:
        return protocol
    return replace(found, name=f"{CUSTOM}{protocol.name}", about="")


def _built(raw: Any, at: str = "") -> Protocol:
    return settings.validated(Protocol, json.loads(json.dumps(raw)), at=at)


def _check_once(option: str, values: Sequence[object]) -> None:
    twice = sorted({str(v) for v in values if list(values).count(v) > 1})
    if twice:
        raise UserError(f"{option}: {', '.join(twice)} given twice")
