"""The text-only model against its definition."""

import pytest
import torch
from builders import LENGTHS, SHAPES, TOKENIZER, random_batch, small_config, take
from einops import reduce

from lnln_dist import settings
from lnln_dist.errors import DataError
from lnln_dist.models import build_network
from lnln_dist.models.text import build_encoder
from lnln_dist.models.text_only import TextOnly

RAW = {"name": "text", "width": 16, "tokens": 2, "heads": 2, "head_width": 8}


def make(weight: float = 1.0) -> TextOnly:
    torch.manual_seed(0)
    config = settings.build({"model": RAW, "loss": {"sentiment": weight}})
    encoder = build_encoder(
        small_config().encoder, tokenizer=TOKENIZER, max_length=SHAPES.text_length
    )
    return build_network(config, encoder, SHAPES).double().eval()


def test_it_is_the_embedded_text_averaged_and_projected() -> None:
    model, batch = make(), random_batch()
    text = batch.text
    hidden = model.text_encoder(text.noisy_ids_BT, text.valid_BT, text.segments_BT)
    feature = reduce(model.embed(hidden, text.valid_BT), "b n d -> b d", "mean")
    expected = (feature * model.sentiment.weight).sum(dim=1) + model.sentiment.bias
    found = model.predict(batch)
    torch.testing.assert_close(found.sentiment, expected)
    assert found.extras == {}
    # Of the complete text, audio or vision it sees nothing.
    other = random_batch(seed=9)
    blind = other._replace(text=text._replace(ids_BT=other.text.ids_BT))
    assert torch.equal(model.predict(blind).sentiment, found.sentiment)


def test_the_loss_is_the_weighted_squared_error_and_reaches_every_parameter() -> None:
    model, batch = make(weight=3.0), random_batch()
    batch = batch._replace(weight_B=torch.tensor([1.0, 0.0, 1.0]))
    losses = model.losses(batch)
    error = (model.predict(batch).sentiment - batch.label_B) ** 2
    torch.testing.assert_close(losses.terms["sentiment"], error[0] + error[2])
    torch.testing.assert_close(losses.total(2), 3 * losses.terms["sentiment"] / 2)
    losses.total().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_sample_is_predicted_alike_alone_and_padded() -> None:
    model, lengths = make(), {**LENGTHS, "text": (9, 5, 7)}
    found = model.predict(random_batch(lengths=lengths, extra=3)).sentiment
    alone = model.predict(take(random_batch(lengths=lengths), [1])).sentiment
    torch.testing.assert_close(found[1:2], alone)


def test_a_text_beyond_the_position_table_is_refused() -> None:
    with pytest.raises(DataError, match="text sequence of 13 places is longer than the 12"):
        make().predict(random_batch(extra=1))
