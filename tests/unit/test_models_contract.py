"""What a spec builds has two verbs; what a user's network may get wrong is one line."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import own_model
import pytest
import torch
from builders import SHAPES, TOKENIZER, random_batch, small_config, small_model
from own_model import Own
from torch import nn

from lnln_dist import settings
from lnln_dist.config import TaskConfig
from lnln_dist.data.schema import SPLITS
from lnln_dist.errors import ConfigError
from lnln_dist.models import InputShapes, build_network, contract
from lnln_dist.models.contract import call_own, try_network
from lnln_dist.models.text import build_encoder
from lnln_dist.specs import registry
from lnln_dist.specs.registry import make_config
from lnln_dist.train import loop
from lnln_dist.types import Batch, Losses, Prediction

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


def note(**noted: torch.Tensor) -> Callable[[Own], None]:
    return losses(lambda found: found._replace(noted=noted))


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
        (
            losses(lambda x: x._replace(shown={"leave": torch.ones(())})),
            "shows leave, a tag of the log: give it another name",
        ),
        (losses(lambda x: x._replace(shown={"optim/lr": torch.ones(())})), "shows optim/lr, a tag"),
        (
            losses(lambda x: x._replace(terms={k: v + 1 for k, v in x.terms.items()})),
            r"sentiment is 1 where no sample counts \(batch.weight_B is 0\): add up",
        ),
        (
            losses(lambda x: x._replace(shown={"own/hidden": x.terms["size"] / 0})),
            "own/hidden is nan where no sample counts",
        ),
        (losses(lambda _: 1 / 0), "losses.batch. of own_model:SPEC ends in ZeroDivisionError"),
        (note(heat=torch.ones(3)), r"noted as heat has to be a tensor of samples, shape \[B ...\]"),
        (note(heat=torch.ones(2, 4)), r"notes something: the network needs learn\(row_B, noted\)"),
        (note(row=torch.ones(2)), "noted as row has to be .* another name than row"),
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


def test_a_long_kernel_is_no_broken_promise() -> None:
    class Convolved(Own):
        def __init__(self, *made: Any) -> None:
            super().__init__(*made)
            self.wide = nn.Conv1d(SHAPES.audio_width, SHAPES.audio_width, 5)

        def _hidden(self, batch: Batch) -> torch.Tensor:
            wide_BDT = self.wide(batch.audio.noisy().transpose(1, 2))
            first_BD = self.encoder(
                batch.text.noisy_ids_BT, batch.text.valid_BT, batch.text.segments_BT
            )[:, 0]
            return self.hidden(torch.cat([wide_BDT.mean(dim=2), first_BD], dim=1))

    plain = network()
    try_network(Convolved(CONFIG, plain.encoder, SHAPES).train(), CONFIG, SHAPES)


SMALL = {
    "width": 8,
    "heads": 2,
    "head_width": 4,
    "tokens": 2,
    "depth": 1,
    "memory_depth": 1,
    "embedding_depth": 1,
    "hyper_depth": 2,
    "fusion_depth": 1,
    "fusion_rounds": 1,
    "text_width": 4,
    "audio_width": 4,
    "vision_width": 4,
    "hidden": 4,
    "encoder": settings.to_dict(make_config(model=small_config()))["model"]["encoder"],
}


@pytest.mark.parametrize("name", registry.MODELS)
def test_the_models_of_the_package_keep_theirs(name: str) -> None:
    config = settings.build(settings.lay({"model": SMALL}, {"model": {"name": name}}))
    encoder = build_encoder(
        config.model.encoder, tokenizer=TOKENIZER, max_length=SHAPES.text_length
    )
    try_network(build_network(config, encoder, SHAPES).train(), config, SHAPES)


def test_the_tags_of_the_log_are_known() -> None:
    assert loop.LEAVE in contract.TAKEN
    assert loop.TERM.strip("/") in contract.TAKEN
    assert set(SPLITS) - {"train"} <= contract.TAKEN


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


class Mute(nn.Module):
    def losses(self) -> None:
        """Half of the contract."""


@pytest.mark.parametrize(
    ("made", "message"),
    [(object(), "builds a object, not a nn.Module"), (Mute(), "the network of .* lacks predict")],
)
def test_anything_else_is_refused(
    made: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(own_model.SPEC, build=lambda *_: made)
    monkeypatch.setattr(contract, "find_spec", lambda _: spec)
    with pytest.raises(ConfigError, match=message):
        build_network(make_config("own_model:SPEC"), nn.Identity(), SHAPES)


def test_both_verbs_of_lnln_say_what_its_forward_says() -> None:
    model, batch = small_model().eval(), random_batch()
    outputs = model(batch, complete=True)
    losses, prediction = model.losses(batch), model.predict(batch)
    assert torch.equal(prediction.sentiment, outputs.sentiment)
    assert torch.equal(prediction.extras["completeness"], outputs.completeness_B)
    assert losses.weights.keys() == losses.terms.keys()
    label = (1 - batch.text.rate_B).sum()
    torch.testing.assert_close(losses.shown["completeness/label"], label)
    shown = losses.shown["completeness/predicted"]
    torch.testing.assert_close(shown, outputs.completeness_B.sum().detach())
