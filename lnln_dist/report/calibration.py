"""Does predicted completeness follow the missing rate? Its mean and spread by rate, and a slope."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

COMPLETENESS = "completeness"  # the extra of a model that predicts one
IDLE = "predicted completeness does not follow the missing rate"
FOLLOWS = 0.1  # least slope of predicted completeness on what is there


class Calibration(NamedTuple):
    """What was predicted where a known share of the text was missing."""

    slope: float
    """Of the mean prediction on the share that is there: 1 is calibrated, 0 a constant; nan for a
    single rate."""
    by_rate: dict[float, tuple[float, float]]
    """Rate -> mean and standard deviation over samples and noise seeds."""
    there: dict[float, float]
    """Rate -> share of the text that is there."""

    def plain(self) -> dict[str, Any]:
        """For evaluation.json."""
        found = {
            f"{rate:g}": {"mean": mean, "sd": sd, "there": self.there[rate]}
            for rate, (mean, sd) in self.by_rate.items()
        }
        return {"slope": self.slope, "by_rate": found}


def described(plain: Mapping[str, Any]) -> str:
    """A calibration of evaluation.json in words: the ends of the rates, and the slope."""
    told = [f"{v['mean']:.2f} (sd {v['sd']:.2f}) at rate {r}" for r, v in plain["by_rate"].items()]
    ends = " to ".join(dict.fromkeys((told[0], told[-1])))
    slope = plain["slope"]
    known = slope is not None and not np.isnan(slope)
    return ends + (f", slope {slope:.2f} (1 is calibrated, 0 a constant)" if known else "")


def alarm(name: str, slope: float) -> str:
    """One line if what ``name`` predicts does not follow the rate; empty if it does, or is nan."""
    if not slope < FOLLOWS:
        return ""
    return f"{name}: slope {slope:.3f} (1 is calibrated, 0 a constant): {IDLE}"


def calibration(
    predicted: Mapping[float, ArrayLike], there: Mapping[float, float] | None = None
) -> Calibration:
    """How predictions go with what is there of the text.

    Args:
        predicted: missing rate of the text -> predicted completeness of samples; nan where a model
            predicts none.
        there: rate -> share of the text that is there; None: 1 - rate.
    """
    by_rate = {}
    for rate in sorted(predicted):
        values = np.asarray(predicted[rate], np.float64)
        by_rate[float(rate)] = (float(values.mean()), float(values.std()))
    means = np.array([mean for mean, _ in by_rate.values()])
    known = len(means) > 1 and np.isfinite(means).all()
    left = {rate: 1 - rate if there is None else there[rate] for rate in by_rate}
    slope = float(np.polyfit(np.array(list(left.values())), means, 1)[0]) if known else np.nan
    return Calibration(slope, by_rate, left)


def there_at(record: Mapping[str, Any], rate: float) -> float:
    """Share of the text that is there at a rate, by a run's entry in evaluation.json.

    It is 1 - rate in evaluations that do not say it.
    """
    for note in record.get("checkpoints", {}).values():
        found = note.get(COMPLETENESS, {}).get("by_rate", {}).get(f"{rate:g}", {})
        if "there" in found:
            return float(found["there"])
    return 1 - rate
