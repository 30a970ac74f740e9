"""Arithmetic over seeds and missing rates: an average of which a part is undefined is undefined."""

from collections.abc import Sequence

import pandas as pd

CONSTANT = "constant"  # model name of the rows that hold the best constant predictor's scores
RANDOM = "random"  # the pattern of the missing rates, over which the headline number is a mean
RATES = ["rate_text", "rate_audio", "rate_vision"]


def mean(values: "pd.Series[float]") -> float:
    """Mean that is undefined when one of its parts is."""
    return float(values.mean(skipna=False))


def with_rate(metrics: pd.DataFrame) -> pd.DataFrame:
    """Rows of metrics.csv without the constants', with one column ``rate`` for the three.

    Where an older evaluation has none it follows from the three: modalities of a grid have one
    rate in common, but for those left out of it (rate 1).
    """
    own = metrics[metrics["model"] != CONSTANT]
    rates = own[RATES]
    rate = rates.min(axis=1).where(own["pattern"] == RANDOM, rates.max(axis=1))
    return own.assign(rate=own["rate"].fillna(rate) if "rate" in own else rate)


def condition_name(pattern: str, rate: float) -> str:
    """A condition as a reader knows it: a rate, or a pattern with its rate unless it tells that."""
    if pattern == RANDOM:
        return f"{rate:.1f}" if round(rate, 1) == rate else f"{rate:g}"
    tells = pattern.startswith("missing:") or pattern == "clean" or "=" in pattern
    return pattern if tells else f"{pattern} {rate:g}"


def over_seeds(metrics: pd.DataFrame) -> pd.DataFrame:
    """One run's scores, averaged over noise seeds.

    Args:
        metrics: one run's rows of metrics.csv.

    Returns:
        Indexed by (pattern, rate), one column per metric; nan where a seed's score is undefined.
    """
    cells = with_rate(metrics).groupby(["pattern", "rate", "metric"], sort=False)["value"]
    return cells.agg(mean).unstack("metric", sort=False)


def over_rates(metrics: pd.DataFrame) -> dict[str, float]:
    """One run's headline numbers: means over the missing rates of pattern "random".

    In a protocol without that pattern, over all its conditions.
    """
    cells = over_seeds(metrics)
    random = cells.index.get_level_values("pattern") == RANDOM
    cells = cells[random] if random.any() else cells
    return {str(name): mean(cells[name]) for name in cells}


def floor_of(metrics: pd.DataFrame) -> dict[str, float]:
    """The best constant predictor's scores on one run's labels."""
    rows = metrics[metrics["model"] == CONSTANT]
    return dict(zip(rows["metric"], rows["value"], strict=True))


def over_runs(values: Sequence[dict[str, float]]) -> pd.DataFrame:
    """Mean and standard deviation (n - 1) of runs that differ in the training seed alone.

    Args:
        values: per run, metric -> score.

    Returns:
        Indexed by metric, columns ``mean`` and ``sd``; nan where a run's score is undefined.
    """
    table = pd.DataFrame(values)
    return pd.DataFrame({"mean": table.agg(mean), "sd": table.std(skipna=False)})
