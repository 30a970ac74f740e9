"""What a user's network may get wrong is one line before the first step."""

from collections.abc import Callable
from typing import Any

import own_model
import pytest
import torch
from builders import SHAPES, TOKENIZER, small_config
from own_model import Own
from torch import nn

from lnln_dist.config import TaskConfig
from lnln_dist.errors import ConfigError
from lnln_dist.models import InputShapes
from lnln_dist.models.contract import call_own, try_network
from lnln_dist.models.text import build_encoder
from lnln_dist.specs.registry import make_config
from lnln_dist.types import Losses, Prediction

CONFIG = make_config("own_model:SPEC")


def network() -> Own:
    encoder = build_encoder(
        small_config(dropout=0.1).encoder, tokenizer=TOKENIZER, max_length=SHAPES.text_length
    )
    return Own(CONFIG, encoder, SHAPES)


def test_a_network_that_keeps_its_promises_is_left_as_it_was() -> None:
    model = network().train()
    model.head = nn.Sequential(nn.BatchNorm1d(8), model.head)
    counted = model.head[0].num_batches_tracked
    before, state = [p.clone() for p in model.parameters()], torch.get_rng_state()
    try_network(model, CONFIG, SHAPES)
    try_network(model, CONFIG, InputShapes(**{**vars(SHAPES), "text_length": 1}))
    assert model.training
    assert counted.item() == 0
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())
    assert all(map(torch.equal, before, model.parameters()))


def losses(change: Callable[[Losses], Any]) -> Callable[[Own], None]:
    def spoil(model: Own) -> None:
        original = model.losses
        model.losses = lambda batch: change(original(batch))

    return spoil


def prediction(change: Callable[[Prediction], Any]) -> Callable[[Own], None]:
    def spoil(model: Own) -> None:
        original = model.predict
        model.predict = lambda batch: change(original(batch))

    return spoil


def forget_size(found: Losses) -> Losses:
    return found._replace(terms={"sentiment": found.terms["sentiment"]})


def add_idle(model: Own) -> None:
    model.spare = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (losses(lambda _: {}), "losses.batch. has to return Losses, not dict"),
        (losses(forget_size), "terms of losses.batch. are sentiment, the settings of section loss"),
        (losses(lambda x: x._replace(weights={})), "the weights of losses.batch. are none"),
        (
            losses(lambda x: x._replace(terms={k: v[None] for k, v in x.terms.items()})),
            "sentiment has to be one number, the sum over the samples",
        ),
        (
            losses(lambda x: x._replace(shown={"own/hidden": torch.ones(2)})),
            "own/hidden has to be one number",
        ),
        (losses(lambda _: 1 / 0), "losses.batch. of own_model:SPEC ends in ZeroDivisionError"),
        (add_idle, r"no gradient from the losses \(spare.bias, spare.weight\)"),
        (
            prediction(lambda x: x.sentiment),
            "predict.batch. has to return Prediction, not Tensor",
        ),
        (
            prediction(lambda x: x._replace(sentiment=x.sentiment[:, None])),
            "the sentiment has to have one number per sample",
        ),
        (
            prediction(lambda x: x._replace(extras={"heat": x.sentiment})),
            "are heat, its spec's are e",
        ),
        (
            prediction(lambda x: x._replace(extras={"energy": x.sentiment[:1]})),
            "energy has to have one number per sample",
        ),
    ],
)
def test_a_broken_promise_is_named(spoil: Callable[[Own], None], message: str) -> None:
    model = network()
    spoil(model)
    with pytest.raises(ConfigError, match=message) as caught:
        try_network(model, CONFIG, SHAPES)
    assert "own_model:SPEC" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_without_classes_is_named() -> None:
    three = make_config("own_model:SPEC", task=TaskConfig(kind="three-class"))
    with pytest.raises(ConfigError, match=r"probabilities \[B, 3\] for task.kind three-class"):
        try_network(network(), three, SHAPES)
    model = network()
    prediction(lambda x: x._replace(sentiment=torch.full((2, 3), 1 / 3)))(model)
    try_network(model, three, SHAPES)


def test_a_users_error_of_ours_stays_what_it_is() -> None:
    with pytest.raises(ConfigError, match=r"^as it is$"):
        call_own(
            own_model.__name__, "build", lambda: (_ for _ in ()).throw(ConfigError("as it is"))
        )
