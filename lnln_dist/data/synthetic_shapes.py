"""Sizes of the synthetic corpora: a small one, and those of the public data sets."""

from typing import NamedTuple


class Shape(NamedTuple):
    """Sizes of a corpus."""

    samples: tuple[int, int, int]  # train, valid, test
    cuts: dict[str, int]  # longest sequences: text in tokens with [CLS] and [SEP], frames
    medians: dict[str, float]  # median lengths, text in words
    widths: dict[str, int]  # features of a frame
    spread: float  # standard deviation of log lengths
    high: float  # labels lie in [-high, high]
    steps: int  # label grid: this many steps per unit


SHAPES = {
    "demo": Shape(
        samples=(1200, 240, 400),
        cuts={"text": 24, "audio": 40, "vision": 40},
        medians={"text": 20, "audio": 16, "vision": 16},
        widths={"audio": 8, "vision": 12},
        spread=0.35,
        high=3.0,
        steps=5,
    ),
    "mosi": Shape(
        samples=(1284, 229, 686),
        cuts={"text": 50, "audio": 375, "vision": 500},
        medians={"text": 16, "audio": 75, "vision": 100},
        widths={"audio": 5, "vision": 20},
        spread=0.5,
        high=3.0,
        steps=5,
    ),
    "mosei": Shape(
        samples=(16326, 1871, 4659),
        cuts={"text": 50, "audio": 500, "vision": 500},
        medians={"text": 22, "audio": 100, "vision": 100},
        widths={"audio": 74, "vision": 35},
        spread=0.5,
        high=3.0,
        steps=3,
    ),
    "sims": Shape(
        samples=(1368, 456, 457),
        cuts={"text": 39, "audio": 400, "vision": 55},
        medians={"text": 16, "audio": 80, "vision": 11},
        widths={"audio": 33, "vision": 709},
        spread=0.5,
        high=1.0,
        steps=5,
    ),
}
