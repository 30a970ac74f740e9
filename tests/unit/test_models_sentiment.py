"""What every model of the registry has to keep, whatever it computes."""

from pathlib import Path

import pytest
import torch
from builders import LENGTHS, TOKENIZER, random_batch, take
from networks import SMALL, small_network
from safetensors.torch import load_file, save_file

from lnln_dist.config import MODALITIES
from lnln_dist.data.loader import Erased, under
from lnln_dist.errors import DataError
from lnln_dist.models.lnln import lnln_terms
from lnln_dist.specs.registry import MODELS, find_spec, loss_weights
from lnln_dist.types import Batch

every = pytest.mark.parametrize("name", MODELS)


def erased(batch: Batch) -> Batch:
    """Nothing is left but the padding's shape."""
    text, audio, vision = batch.text, batch.audio, batch.vision
    return batch._replace(
        text=text._replace(
            noisy_ids_BT=text.valid_BT.long(), keep_BT=torch.zeros_like(text.keep_BT)
        ),
        audio=audio._replace(keep_BT=torch.zeros_like(audio.keep_BT)),
        vision=vision._replace(keep_BT=torch.zeros_like(vision.keep_BT)),
    )


def test_no_model_is_left_out() -> None:
    assert SMALL.keys() == MODELS.keys()


@every
def test_a_sample_is_predicted_alike_alone_and_padded(name: str) -> None:
    lengths = {"text": (9, 5, 7), "audio": (17, 1, 9), "vision": (4, 13, 11)}
    network = small_network(name)
    alone = network.predict(take(random_batch(lengths=lengths), [1]))
    padded = network.predict(random_batch(lengths=lengths, extra=3))
    torch.testing.assert_close(padded.sentiment[1:2], alone.sentiment)
    assert tuple(padded.extras) == find_spec(name).extras
    assert all(value.shape == (3,) for value in padded.extras.values())


@every
def test_a_prediction_does_not_see_what_was_erased(name: str) -> None:
    network, batch, other = small_network(name), random_batch(), random_batch(seed=9)

    def swap(one, another):
        kept = one.keep_BT[..., None]
        return one._replace(frames_BTD=torch.where(kept, one.frames_BTD, another.frames_BTD))

    hidden = batch._replace(
        text=batch.text._replace(ids_BT=other.text.ids_BT),
        audio=swap(batch.audio, other.audio),
        vision=swap(batch.vision, other.vision),
        label_B=other.label_B,
    )
    expected = network.predict(batch).sentiment
    assert torch.equal(network.predict(hidden).sentiment, expected)
    assert len(set(expected.tolist())) == 3
    assert network.predict(erased(batch)).sentiment.isfinite().all()


@every
def test_losses_reach_every_parameter_and_weigh_the_samples(name: str) -> None:
    network, batch = small_network(name).train(), random_batch()
    losses = network.losses(batch)
    assert losses.terms.keys() == loss_weights(find_spec(name).loss()).keys()
    losses.total().backward()
    trained = {path: p.grad for path, p in network.named_parameters() if p.requires_grad}
    assert not [path for path, grad in trained.items() if grad is None]
    assert all(grad.isfinite().all() for grad in trained.values())


@every
def test_a_loss_is_a_sum_over_samples_of_weight(name: str) -> None:
    batch = random_batch(lengths={m: (n[0], n[0], n[1]) for m, n in LENGTHS.items()})
    network = small_network(name)
    torch.manual_seed(0)
    two = network.losses(batch._replace(weight_B=torch.tensor([1.0, 1.0, 0.0]))).terms
    torch.manual_seed(0)
    one = network.losses(batch._replace(weight_B=torch.tensor([1.0, 0.0, 0.0]))).terms
    torch.manual_seed(0)
    other = network.losses(batch._replace(weight_B=torch.tensor([0.0, 1.0, 0.0]))).terms
    for term, value in two.items():
        torch.testing.assert_close(value, one[term] + other[term])
        assert value > 0


@every
def test_classes_are_told_as_a_distribution_whose_cross_entropy_is_trained(name: str) -> None:
    network, batch = small_network(name, kind="three-class").train(), random_batch()
    probability_BC = network.predict(batch).sentiment
    torch.testing.assert_close(probability_BC.sum(dim=1), torch.ones(3, dtype=torch.float64))
    assert probability_BC.shape == (3, 3)
    true_BC = torch.eye(3)[batch.target.class_B]
    surprise_B = -(probability_BC * true_BC).sum(dim=1).log() * batch.target.weight_B
    losses = network.losses(batch._replace(weight_B=torch.tensor([1.0, 0.0, 2.0])))
    torch.testing.assert_close(losses.terms["sentiment"], surprise_B[0] + 2 * surprise_B[2])
    losses.total().backward()
    trained = [p for p in network.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)


def test_three_heads_are_trained_on_classes_each() -> None:
    network, batch = small_network("late_fusion", kind="three-class"), random_batch()
    logits_MBC = torch.stack(network._outputs(batch))
    true_BC = torch.eye(3)[batch.target.class_B]
    surprise_MB = -(logits_MBC.log_softmax(dim=2) * true_BC).sum(dim=2) * batch.target.weight_B
    expected = surprise_MB.sum() / 3
    torch.testing.assert_close(network.losses(batch).terms["unimodal"], expected)


@every
def test_weights_survive_a_file(name: str, tmp_path: Path) -> None:
    network, batch = small_network(name), random_batch()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")  # refuses shared tensors
    fresh = small_network(name)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
    fresh.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(fresh.predict(batch).sentiment, network.predict(batch).sentiment)


@every
def test_a_sequence_longer_than_the_network_was_made_for_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="sequence of 13 places is longer than the 12"):
        small_network(name).predict(random_batch(extra=1))


def missing(batch: Batch, share: float, *, without: dict[str, int]) -> Batch:
    """A complete batch of which places were never there; of some modalities a sample lacks all."""
    generator = torch.Generator().manual_seed(3)
    changed = {}
    for m in MODALITIES:
        given = getattr(batch, m)
        seen_BT = torch.rand(given.valid_BT.shape, generator=generator) > share
        if m in without:
            seen_BT[without[m]] = False
        if m == "text":
            last_B = given.valid_BT.sum(dim=1) - 1
            seen_BT[:, 0] = seen_BT[torch.arange(len(last_B)), last_B] = True
        seen_BT &= given.valid_BT
        changed[m] = given._replace(keep_BT=seen_BT, seen_BT=seen_BT)
    lost_BT = changed["text"].valid_BT & ~changed["text"].seen_BT
    ids_BT = changed["text"].ids_BT.where(~lost_BT, TOKENIZER.unk_id)
    changed["text"] = changed["text"]._replace(ids_BT=ids_BT, noisy_ids_BT=ids_BT)
    for m in ("audio", "vision"):
        frames_BTD = changed[m].noisy()
        changed[m] = changed[m]._replace(frames_BTD=frames_BTD)
    return batch._replace(**changed)


@every
def test_gaps_of_the_data_and_the_same_gaps_by_noise_are_predicted_alike(name: str) -> None:
    network, whole = small_network(name), random_batch()
    of_data = missing(whole, 0.5, without={"audio": 1, "text": 2})
    erased = {m: Erased(getattr(of_data, m).keep_BT, torch.zeros(3)) for m in MODALITIES}
    by_noise = under(whole, erased, unk_id=TOKENIZER.unk_id)
    found = network.predict(of_data).sentiment
    assert torch.equal(found, network.predict(by_noise).sentiment)
    # Erased once more, under either.
    spared = torch.arange(20) % 3 > 0
    noise = {
        m: Erased(getattr(whole, m).valid_BT & spared[: getattr(whole, m).valid_BT.shape[1]],
                  torch.full((3,), 0.3))
        for m in MODALITIES
    }  # fmt: skip
    both = {m: Erased(noise[m].keep_BT & erased[m].keep_BT, noise[m].rate_B) for m in MODALITIES}
    twice = network.predict(under(of_data, noise, unk_id=TOKENIZER.unk_id)).sentiment
    assert torch.equal(
        twice, network.predict(under(whole, both, unk_id=TOKENIZER.unk_id)).sentiment
    )
    assert not torch.equal(twice, found)


REBUILDING = {"lnln": "reconstruction", "prmf": "reconstruction", "tfr_net": None}


@pytest.mark.parametrize("name", REBUILDING)
@pytest.mark.parametrize("modality", MODALITIES)
def test_what_was_never_there_is_not_rebuilt(name: str, modality: str) -> None:
    """Neither the value nor a gradient of the term knows a modality that no sample had."""
    network = small_network(name)
    rebuild = getattr(network, "rebuild" if name == "tfr_net" else "reconstructors")
    term = REBUILDING[name] or modality

    def gradients(batch: Batch, m: str) -> list[torch.Tensor]:
        value = network.losses(batch).terms[term]
        found = torch.autograd.grad(value, list(rebuild[m].parameters()), allow_unused=True)
        return [torch.zeros(1) if x is None else x for x in found]

    draws = {m: Erased(getattr(random_batch(), m).keep_BT, torch.zeros(3)) for m in MODALITIES}
    ends = missing(random_batch(), 1.0, without={}).text.keep_BT
    draws["text"] = Erased(draws["text"].keep_BT | ends, torch.zeros(3))
    none = missing(random_batch(), 0.3, without={modality: slice(None)})  # type: ignore[dict-item]
    none = under(none, draws, unk_id=TOKENIZER.unk_id)
    assert not any(x.any() for x in gradients(none, modality))
    some = missing(random_batch(), 0.3, without={modality: 1})
    some = under(some, draws, unk_id=TOKENIZER.unk_id)
    assert any(x.any() for x in gradients(some, modality))
    alone = under(missing(random_batch(), 0.3, without={}), draws, unk_id=TOKENIZER.unk_id)
    if name == "lnln":  # the others of a sample weigh what they weigh where nothing is missing
        other = "audio" if modality == "vision" else "vision"
        for one, two in zip(gradients(none, other), gradients(alone, other), strict=True):
            torch.testing.assert_close(one, two)


@pytest.mark.parametrize("name", REBUILDING)
def test_without_gaps_masks_of_them_change_nothing(name: str) -> None:
    network, batch = small_network(name), random_batch()
    told = batch._replace(
        **{m: (x := getattr(batch, m))._replace(seen_BT=x.valid_BT) for m in MODALITIES}
    )
    torch.manual_seed(0)
    one = network.losses(batch).total()
    torch.manual_seed(0)
    assert torch.equal(network.losses(told).total(), one)


def test_a_text_that_never_was_is_no_example_of_language() -> None:
    network = small_network("lnln")
    batch = missing(random_batch(), 0.0, without={"text": slice(None)})  # type: ignore[dict-item]
    outputs = network(batch, complete=True)
    terms = lnln_terms(outputs, batch, completeness="nominal")
    (language,) = torch.autograd.grad(terms["adversarial"], outputs.language_logits_BN2)
    assert not language.any()
    assert terms["completeness"] == (outputs.completeness_B**2).sum()
