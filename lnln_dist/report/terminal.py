"""A comparison on the terminal."""

from typing import IO

import pandas as pd
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lnln_dist.metrics import DIRECTION
from lnln_dist.report.comparison import Comparison, shown

WIDE = 100_000  # columns no table reaches, to ask for its natural width


def show(found: Comparison, *, file: IO[str] | None = None) -> None:
    """Prints the tables whole, what holds in words, and alarms.

    Args:
        found: the comparison.
        file: where to; None is standard output.
    """
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    better = "higher" if DIRECTION[found.metric] > 0 else "lower"
    console.print(Text(f"{found.metric} ({better} is better; differences: positive is better)"))
    for frame in (found.models, found.pairs):
        if not frame.empty:
            table = _table(shown(frame))
            natural = Measurement.get(console, console.options.update(max_width=WIDE), table)
            console.width = max(console.width, natural.maximum)
            console.print(table)
    for line in [*found.words, *(f"alarm: {line}" for line in found.alarms)]:
        console.print(Text(line), soft_wrap=True)


def _table(text: pd.DataFrame) -> Table:
    table = Table(box=box.ASCII2, show_edge=False, pad_edge=False)
    for name in text:
        names = name in ("model", "protocol", "first", "second", "selected on")
        table.add_column(Text(str(name)), justify="left" if names else "right", no_wrap=True)
    for row in text.itertuples(index=False):
        table.add_row(*(Text(str(cell)) for cell in row))
    return table
