"""Self-MM against its equations, and its labels against the same rule written out in NumPy."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from builders import SHAPES, random_batch, take
from hypothesis import given
from hypothesis import strategies as st
from networks import affine, mosi_network, size, small_network, unlike
from numpy.typing import NDArray
from torch import Tensor, nn

from lnln_dist.models import self_mm
from lnln_dist.models.self_mm import Memory, generated
from lnln_dist.types import Batch

ORDER = ("text", "audio", "vision")
WEIGHTS = {"sentiment": 2.0, "text": 0.5, "audio": 3.0, "vision": 0.7}
FEATURES = {"fused": 4, "text": 3, "audio": 2, "vision": 3}
ROWS, STEP = 11, 4  # training samples, and those of a step: the last of an epoch is not full


def make(**changes: object) -> nn.Module:
    return small_network("self_mm", loss=WEIGHTS, **changes)


def last_state(lstm: nn.LSTM, x_TD: Tensor) -> Tensor:
    """Input, forget, cell and output gate, place by place."""
    hidden = cell = x_TD.new_zeros(lstm.hidden_size)
    for x in x_TD:
        gates = lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ hidden
        given_, forget, new, out = (gates + lstm.bias_hh_l0).chunk(4)
        opened = [1 / (1 + (-gate).exp()) for gate in (given_, forget, out)]
        cell = opened[1] * cell + opened[0] * new.tanh()
        hidden = opened[2] * cell.tanh()
    return hidden


def said(branch: nn.Module, head: nn.Linear, h: Tensor) -> Tensor:
    feature = affine(h, branch.feature).clamp(min=0)
    return affine(affine(feature, branch.above).clamp(min=0), head)[0]


def equation(model: nn.Module, batch: Batch) -> Tensor:
    """Sample by sample, without padding."""
    text, total = batch.text, 0
    tokens = model.text_encoder(text.noisy_ids_BT, text.valid_BT, text.segments_BT)
    for row, label in enumerate(batch.label_B):
        h = {"text": tokens[row, 0]}
        for m in ("audio", "vision"):
            given_ = getattr(batch, m)
            frames = given_.noisy()[row, : int(given_.valid_BT[row].sum())]
            h[m] = affine(last_state(model.last[m].lstm, frames), model.last[m].linear)
        whole = torch.cat([h[m] for m in ORDER])
        error = (said(model.branches["fused"], model.sentiment, whole) - label).abs()
        total = total + WEIGHTS["sentiment"] * error
        for number, m in enumerate(ORDER):
            own = label + model.memory.offset_RM[batch.row_B[row], number]
            error = (said(model.branches[m], model.heads[m], h[m]) - own).abs()
            total = total + WEIGHTS[m] * torch.tanh((own - label).abs()) * error
    return total


def elsewhere() -> Batch:
    """Not the first rows of the training split, nor in order."""
    return random_batch()._replace(row_B=torch.tensor([7, 2, 12]))


def test_values_and_gradients_are_the_equations() -> None:
    assert unlike(make(), elsewhere(), equation) == []


def ended(self: nn.Module, stream: self_mm.Stream) -> Tensor:
    states, _ = self.lstm(stream.x_BTD)
    return self.linear(states[:, -1])


def averaged(self: nn.Module, stream: self_mm.Stream) -> Tensor:
    states, _ = self.lstm(stream.x_BTD)
    valid = stream.valid_BT[..., None]
    return self.linear((states * valid).sum(dim=1) / valid.sum(dim=1))


def straight(self: nn.Module, h_BD: Tensor) -> tuple[Tensor, Tensor]:
    feature = nn.functional.relu(self.feature(h_BD))
    return feature, self.above(feature)


def mean_token(self: nn.Module, batch: Batch) -> dict[str, Tensor]:
    vectors = VECTORS(self, batch)
    tokens = self.streams(batch)["text"].x_BTD.mean(dim=1)
    whole = torch.cat([tokens, vectors["audio"], vectors["vision"]], dim=1)
    return {**vectors, "fused": whole, "text": tokens}


def the_label_alone(self: nn.Module, batch: Batch) -> object:
    self.memory.offset_RM.zero_()
    return LOSSES(self, batch)


def by_place(self: nn.Module, batch: Batch) -> object:
    return LOSSES(self, batch._replace(row_B=torch.arange(3)))


VECTORS, LOSSES = self_mm.SelfMM._vectors, self_mm.SelfMM.losses
WRONG: dict[str, tuple[object, str, object]] = {
    "read from the padding": (self_mm.LastState, "forward", ended),
    "the mean of the states": (self_mm.LastState, "forward", averaged),
    "no rectifier below the head": (self_mm.Branch, "forward", straight),
    "the mean of the tokens": (self_mm.SelfMM, "_vectors", mean_token),
    "no labels of its own": (self_mm.SelfMM, "losses", the_label_alone),
    "another sample's labels": (self_mm.SelfMM, "losses", by_place),
    "not weighted": (torch.Tensor, "tanh", lambda x: torch.ones_like(x)),
    "squared": (torch.Tensor, "abs", lambda x: x**2),
}


@pytest.mark.parametrize("name", WRONG)
def test_another_network_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = make(), elsewhere()
    wanted = equation(model, batch).detach()
    with monkeypatch.context() as patch:
        patch.setattr(*WRONG[name])
        found = model.losses(batch).total()
    assert not torch.allclose(found, wanted, rtol=1e-6)


class Reference:
    """The rule as the paper's algorithm tells it: labels, features and centres as four arrays."""

    def __init__(self, label: NDArray[np.float64], highest: float) -> None:
        self.labels = {name: label.copy() for name in FEATURES}
        self.features = {name: np.zeros((len(label), width)) for name, width in FEATURES.items()}
        self.centres = {name: (np.zeros(width),) * 2 for name, width in FEATURES.items()}
        self.highest = highest

    def nearer(self, name: str, feature: NDArray[np.float64]) -> float:
        to_positive, to_negative = (
            float(np.sqrt(np.sum((feature - centre) ** 2))) for centre in self.centres[name]
        )
        return (to_negative - to_positive) / to_positive

    def step(self, epoch: int, rows: list[int], given: dict[str, NDArray[np.float64]]) -> None:
        if epoch > 1:
            for place, row in enumerate(rows):
                label = self.labels["fused"][row]
                fused = self.nearer("fused", given["fused"][place])
                for name in ORDER:
                    own = self.nearer(name, given[name][place])
                    new = label + (own - fused) / 2 * (label + fused) / fused
                    new = min(max(new, -self.highest), self.highest)
                    old = self.labels[name][row]
                    self.labels[name][row] = (epoch - 1) / (epoch + 1) * old + 2 / (epoch + 1) * new
        for name in FEATURES:
            self.features[name][rows] = given[name]
        for name in FEATURES:
            known, label = self.features[name], self.labels[name]
            self.centres[name] = (known[label > 0].mean(axis=0), known[label < 0].mean(axis=0))


Steps = Iterator[tuple[int, list[int], dict[str, NDArray[np.float64]]]]


def planned(label: NDArray[np.float64], *, epochs: int) -> Steps:
    """Every row once an epoch; features that tell something of the label, and more every epoch."""
    rng = np.random.default_rng(3)
    for epoch in range(1, epochs + 1):
        order = rng.permutation(ROWS)
        for rows in np.array_split(order, range(STEP, ROWS, STEP)):
            yield (
                epoch,
                rows.tolist(),
                {
                    name: rng.normal(size=(len(rows), width)) + 0.1 * epoch * label[rows, None]
                    for name, width in FEATURES.items()
                },
            )


def labels() -> NDArray[np.float64]:
    """Of both classes, one zero, the largest 2.6."""
    return np.array([1.0, -2.6, 0.4, 0.0, -0.2, 2.0, -1.4, 1.8, -0.8, 0.6, -2.2])


def remember(memory: Memory, rows: list[int], given: dict[str, NDArray[np.float64]]) -> None:
    feature = np.concatenate([given[name] for name in FEATURES], axis=1)
    label = torch.from_numpy(labels()[rows])
    memory.learn(torch.tensor(rows), label, torch.from_numpy(feature))


def apart(epochs: int = 5) -> float:
    """Largest difference between the generated labels of the network and of the reference."""
    memory, reference = Memory(ROWS, FEATURES).double(), Reference(labels(), 2.6)
    gaps = []
    for step in planned(labels(), epochs=epochs):
        reference.step(*step)
        remember(memory, *step[1:])
        if step[0] > 1:
            found = memory.label_R[:, None] + memory.offset_RM
            wanted = np.stack([reference.labels[name] for name in ORDER], axis=1)
            gaps.append(np.abs(found.numpy() - wanted).max())
    assert not np.allclose(wanted, labels()[:, None], atol=0.1)
    assert np.isfinite(gaps).all()
    return float(max(gaps))


def test_labels_are_those_of_the_published_rule() -> None:
    assert apart() < 1e-6


def squared_nearness(feature: Tensor, known: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    positive, negative = (
        ((feature - known[side].mean(dim=0)) ** 2).sum(dim=1) for side in (label > 0, label < 0)
    )
    return (negative - positive) / positive, (label > 0).any() & (label < 0).any()


def with_zero(feature: Tensor, known: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    return NEARNESS(feature, known, torch.where(label == 0, 1.0, label))


def by_negative(feature: Tensor, known: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    near, there = NEARNESS(feature, known, -label)
    return -near, there


def unlimited(label: Tensor, own: Tensor, fused: Tensor, limit: Tensor) -> Tensor:
    return GENERATED(label, own, fused, 100 * limit)


def learned_first(self: Memory, row: Tensor, label: Tensor, feature: Tensor) -> None:
    self.feature_RD[row] = feature  # the centres know what is to be judged by them
    LEARN(self, row, label, feature)


def no_momentum(self: Memory, row: Tensor, label: Tensor, feature: Tensor) -> None:
    self.visits_R[row] = self.visits_R[row].clamp(max=1)
    LEARN(self, row, label, feature)


NEARNESS, GENERATED, LEARN = self_mm.nearness, self_mm.generated, Memory.learn
ANOTHER_RULE: dict[str, tuple[object, str, Callable[..., object]]] = {
    "squared distances": (self_mm, "nearness", squared_nearness),
    "zero is positive": (self_mm, "nearness", with_zero),
    "relative to the other centre": (self_mm, "nearness", by_negative),
    "not clipped": (self_mm, "generated", unlimited),
    "centres that know the step": (Memory, "learn", learned_first),
    "always as in the second epoch": (Memory, "learn", no_momentum),
}


@pytest.mark.parametrize("name", ANOTHER_RULE)
def test_another_rule_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*ANOTHER_RULE[name])
    assert apart() > 1e-3


def test_the_first_epoch_leaves_the_labels_alone() -> None:
    memory = Memory(ROWS, FEATURES)
    for _, rows, given_ in planned(labels(), epochs=1):
        remember(memory, rows, given_)
    assert not memory.offset_RM.any()
    assert (memory.visits_R == 1).all()
    torch.testing.assert_close(memory.label_R, torch.from_numpy(labels()).float())


def test_the_order_within_a_step_does_not_matter() -> None:
    one, other = Memory(ROWS, FEATURES), Memory(ROWS, FEATURES)
    for _, rows, given_ in planned(labels(), epochs=3):
        remember(one, rows, given_)
        back = {name: value[::-1].copy() for name, value in given_.items()}
        remember(other, rows[::-1], back)
    assert one.offset_RM.any()
    assert all(map(torch.equal, one.buffers(), other.buffers()))


def test_while_a_class_is_empty_the_labels_stay() -> None:
    memory, rows = Memory(3, FEATURES), torch.arange(3)
    for label in (torch.tensor([1.0, 0.0, 2.0]), torch.tensor([-1.0, -2.0, 0.0])):
        for _ in range(3):
            memory.learn(rows, label, torch.randn(3, sum(FEATURES.values())))
            assert not memory.offset_RM.any()


def test_features_that_say_nothing_give_numbers() -> None:
    memory, rows = Memory(2, FEATURES), torch.arange(2)
    for _ in range(3):
        memory.learn(rows, torch.tensor([1.0, -1.0]), torch.zeros(2, sum(FEATURES.values())))
        assert all(value.isfinite().all() for value in memory.buffers())


number = st.floats(-50, 50)


@given(label=st.floats(-3, 3), own=number, fused=number)
def test_generated_labels_are_within_the_range(label: float, own: float, fused: float) -> None:
    values = [torch.tensor([x], dtype=torch.float64) for x in (label, own, fused)]
    found = generated(*values, torch.tensor(3.0))
    assert found.abs().item() <= 3
    if abs(fused) > 1e-3:
        wanted = label + (own - fused) / 2 * (label + fused) / fused
        assert found.item() == pytest.approx(min(max(wanted, -3), 3), abs=1e-4)


def test_what_is_noted_is_of_the_samples_and_carries_no_gradient() -> None:
    model, batch = make(), elsewhere()
    noted = model.losses(batch).noted
    assert torch.equal(noted["label"], batch.label_B)
    assert not noted["feature"].requires_grad
    alone = model.losses(take(batch, [1])).noted
    torch.testing.assert_close(noted["feature"][1:2], alone["feature"])
    model.learn(batch.row_B, noted)
    assert torch.equal(model.memory.feature_RD[batch.row_B], noted["feature"])
    assert model.memory.visits_R.sum() == 3


def test_a_network_that_is_not_trained_has_no_memory() -> None:
    trained, plain = make(), mosi_network("self_mm")
    assert plain.memory is None
    assert not [name for name in plain.state_dict() if name.startswith("memory")]
    names = {name for name in trained.state_dict() if name.startswith("memory.")}
    assert {trained.memory.get_buffer(name.partition(".")[2]).shape[0] for name in names} == {
        SHAPES.rows
    }
    trained.memory = None
    losses = trained.losses(elsewhere())
    assert not losses.noted
    assert [losses.terms[m].item() for m in ORDER] == [0.0, 0.0, 0.0]


def test_a_sequence_without_places_is_a_vector() -> None:
    model, batch = make(), random_batch()
    none = torch.zeros_like(batch.audio.valid_BT)
    silent = batch._replace(audio=batch.audio._replace(valid_BT=none, keep_BT=none))
    bias = model.last["audio"].linear.bias
    assert torch.equal(model._vectors(silent)["audio"], bias.expand(3, -1))


def test_dropout_acts_in_training_alone() -> None:
    model, batch = make(dropout=0.5), random_batch()
    assert torch.equal(model(batch), model(batch))
    model.train()
    assert not torch.equal(model(batch), model(batch))


def test_its_size_is_that_of_the_equations() -> None:
    def lstm(width: int, hidden: int, out: int) -> int:
        return 4 * hidden * (width + hidden + 2) + (hidden + 1) * out

    def branch(width: int, feature: int) -> int:
        return (width + 1) * feature + (feature + 1) * feature + feature + 1

    wanted = lstm(5, 32, 16) + lstm(20, 64, 32)
    wanted += branch(768 + 16 + 32, 128) + branch(768, 64) + branch(16, 16) + branch(32, 32)
    assert size(mosi_network("self_mm")) == wanted
    assert f"{wanted / 1e6:.2f} M parameters" in " ".join(self_mm.__doc__.split())
