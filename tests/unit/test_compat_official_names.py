"""Our parameter names against the released code's list."""

import json
from pathlib import Path

import pytest
import torch
from builders import small_config
from transformers import BertConfig, BertModel

from lnln_dist.compat.official_names import official_name
from lnln_dist.models import InputShapes
from lnln_dist.models.lnln import LNLN
from lnln_dist.models.text import TextEncoder

DATA = Path(__file__).resolve().parents[1] / "parity" / "data"


@pytest.mark.parametrize("name", ["mosi", "sims"])
def test_names_and_shapes_are_the_released_code_s_one_to_one(name: str) -> None:
    info = json.loads((DATA / f"fill_{name}.json").read_text())
    sizes = {"width": 128, "tokens": 8, "heads": 8, "head_width": 64}
    config = small_config(**sizes, fusion_depth=info["fusion_depth"])
    with torch.device("meta"):
        bert = BertModel(BertConfig(**info["bert_config"]), add_pooling_layer=False)
        shapes = InputShapes.of(widths=info["input_dim"], lengths=info["input_length"])
        model = LNLN(config, TextEncoder(bert), shapes)
    ours = [(official_name(n), list(p.shape)) for n, p in model.named_parameters()]
    assert len(ours) == len(dict(ours))
    theirs = {n: shape for n, shape in info["parameters"].items() if "pooler" not in n}
    assert dict(ours) == theirs


@pytest.mark.parametrize("name", ["nonsense", "hyper.layers.0.unknown.weight", "embed.smell.x"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(KeyError):
        official_name(name)
