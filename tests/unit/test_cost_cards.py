"""Which cards have a known peak."""

import pytest

from lnln_dist.cost.cards import peak


@pytest.mark.parametrize(
    ("card", "precision", "teraflops"),
    [
        ("NVIDIA H200", "bf16", 989.4),
        ("NVIDIA H200 NVL", "bf16", 835.5),
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4),
        ("NVIDIA H100 80GB HBM3", "fp32", 67.0),
        ("NVIDIA H100 PCIe", "fp16", 756.5),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312.0),
        ("NVIDIA A100-PCIE-40GB", "fp32", 19.5),
        ("NVIDIA A10", "bf16", 125.0),
        ("NVIDIA L4", "bf16", 121.0),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2),
        ("NVIDIA GeForce RTX 3090", "fp32", 35.6),
        ("Tesla V100-SXM2-32GB", "fp16", 125.0),
        ("Tesla T4", "fp32", 8.1),
    ],
)
def test_known_cards(card: str, precision: str, teraflops: float) -> None:
    assert peak(card, precision) == teraflops * 1e12


@pytest.mark.parametrize(
    ("card", "precision"),
    [
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16"),
        ("NVIDIA GeForce RTX 4090 D", "bf16"),
        ("NVIDIA GeForce RTX 3090 Ti", "bf16"),
        ("NVIDIA GeForce RTX 4080 SUPER", "bf16"),
        ("NVIDIA A10G", "bf16"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "bf16"),
        ("NVIDIA GH200 480GB", "bf16"),
        ("NVIDIA L40G", "bf16"),
        ("Tesla V100-PCIE-16GB", "fp16"),
        ("Tesla T4", "bf16"),
        ("AMD Instinct MI300X", "bf16"),
        ("cpu", "fp32"),
    ],
)
def test_what_is_not_known_is_not_guessed(card: str, precision: str) -> None:
    assert peak(card, precision) is None
