"""Peak arithmetic of GPUs, from their makers' data sheets (dense, without sparsity)."""

import re
from typing import Literal, NamedTuple

Precision = Literal["fp32", "bf16", "fp16"]


class Peak(NamedTuple):
    """Operations per second, in units of 10**12."""

    fp32: float
    """Outside the tensor cores, as torch multiplies float32 unless told otherwise."""
    half: float
    """bf16 or fp16 inputs, float32 sums."""


# By a pattern that must match a word of the name the driver gives the card. More special ones
# come first; a card that is not listed has no peak, and no utilisation is reported for it.
PEAKS = {
    r"H200 NVL": Peak(60.0, 835.5),
    r"H200": Peak(67.0, 989.4),
    r"H100 PCIe": Peak(51.2, 756.5),
    r"H100 NVL": Peak(60.0, 835.5),
    r"H100": Peak(67.0, 989.4),
    r"A100": Peak(19.5, 312.0),
    r"A40": Peak(37.4, 149.7),
    r"A30": Peak(10.3, 165.0),
    r"A10": Peak(31.2, 125.0),
    r"L40S": Peak(91.6, 362.1),
    r"L40": Peak(90.5, 181.1),
    r"L4": Peak(30.3, 121.0),
    r"RTX A6000": Peak(38.7, 154.8),
    r"RTX 4090": Peak(82.6, 165.2),
    r"RTX 4080": Peak(48.7, 97.5),
    r"RTX 3090": Peak(35.6, 71.0),
    r"V100-SXM[23]": Peak(15.7, 125.0),
    r"T4": Peak(8.1, 65.0),
}
# Other chips, or parts of one, under like names.
UNLISTED = re.compile(r"Laptop|Max-Q|Mobile|\bTi\b|SUPER|RTX 4090 D\b|\bMIG\b|\bGRID\b")
NO_BF16 = re.compile(r"\b(V100|T4)\b")


def peak(card: str, precision: Precision) -> float | None:
    """Operations per second a card can do at most, or None if it is not known.

    Args:
        card: name as ``torch.cuda.get_device_name`` gives it.
        precision: arithmetic of the matrix products.
    """
    if UNLISTED.search(card) or (precision == "bf16" and NO_BF16.search(card)):
        return None
    for pattern, found in PEAKS.items():
        if re.search(rf"\b{pattern}(?![A-Za-z0-9])", card):
            return 1e12 * (found.fp32 if precision == "fp32" else found.half)
    return None
