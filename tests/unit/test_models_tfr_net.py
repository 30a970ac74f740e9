"""TFR-Net against its equations."""

import math

import pytest
import torch
from builders import SHAPES, random_batch
from networks import affine, mosi_network, norm, size, small_network, unlike, weigh
from torch import Tensor, nn

from lnln_dist.errors import ConfigError
from lnln_dist.models import mult, tfr_net
from lnln_dist.models.sentiment import Stream
from lnln_dist.types import Batch

ORDER = ("text", "audio", "vision")
OTHERS = {m: [n for n in ORDER if n != m] for m in ORDER}
WEIGHTS = {"sentiment": 2.0, "text": 0.5, "audio": 3.0, "vision": 0.7}
KERNELS = {"text": 1, "audio": 5, "vision": 3}


def make(**changes: object) -> nn.Module:
    return small_network("tfr_net", loss=WEIGHTS, **changes)


def through(model: nn.Module, target: Tensor, source: Tensor | None, heads: int) -> Tensor:
    for layer in model.layers:
        read = norm(target if source is None else source, layer.norm_streams)
        query = affine(norm(target, layer.norm_streams), layer.to_query)
        key, value = affine(read, layer.to_key), affine(read, layer.to_value)
        target = target + affine(weigh(query, key, value, heads=heads), layer.to_out)
        inner = affine(norm(target, layer.norm_inner), layer.up).clamp(min=0)
        target = target + affine(inner, layer.down)
    return norm(target, model.norm)


def slide(weight: Tensor, x_TD: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    """A convolution over time, place by place; nothing lies beyond the ends."""
    half = weight.shape[-1] // 2
    rows = []
    for t in range(len(x_TD)):
        seen = [(t + k - half, k) for k in range(weight.shape[-1])]
        parts = [weight[..., k] @ x_TD[p] for p, k in seen if 0 <= p < len(x_TD)]
        rows.append(sum(parts) + bias)
    return torch.stack(rows)


def turned(places: int, width: int) -> Tensor:
    angles = [[t / 10_000 ** (i // 2 * 2 / width) for i in range(width)] for t in range(places)]
    rows = [[math.cos(a) if i % 2 else math.sin(a) for i, a in enumerate(row)] for row in angles]
    return torch.tensor(rows, dtype=torch.float64)


def recurrent(gru: nn.GRU, x_TD: Tensor) -> Tensor:
    """Reset, update and new gate, place by place."""
    hidden, states = x_TD.new_zeros(gru.hidden_size), []
    for x in x_TD:
        given = (gru.weight_ih_l0 @ x + gru.bias_ih_l0).chunk(3)
        kept = (gru.weight_hh_l0 @ hidden + gru.bias_hh_l0).chunk(3)
        reset, update = (
            1 / (1 + (-(a + b)).exp()) for a, b in zip(given[:2], kept[:2], strict=True)
        )
        new = (given[2] + reset * kept[2]).tanh()
        hidden = (1 - update) * new + update * hidden
        states.append(hidden)
    return torch.stack(states)


def gated(model: nn.Module, x_TD: Tensor) -> Tensor:
    context = x_TD
    for ahead, back in zip(model.context.ahead, model.context.back, strict=True):
        of_back = recurrent(back, context.flip(0)).flip(0)
        context = torch.cat([recurrent(ahead, context), of_back], dim=1)
    gate = 1 / (1 + (-slide(model.gate.weight, context, model.gate.bias)).exp())
    each = affine(torch.cat([x_TD, context.tanh() * gate], dim=1), model.linear).tanh()
    return torch.stack([column.max() for column in each.T])


def rebuilt(model: nn.Module, h_TD: Tensor, length: int) -> Tensor:
    channels = h_TD.new_zeros(1, h_TD.shape[1], length)
    channels[0, :, : len(h_TD)] = h_TD.T
    mixed = through(model.channels, length**0.5 * channels, None, 1)[0]
    return affine(mixed.T, model.linear)[: len(h_TD)]


def smooth(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 1, x**2 / 2, x.abs() - 0.5)


def equation(model: nn.Module, batch: Batch) -> Tensor:
    """Sample by sample, without padding."""
    text, total = batch.text, 0
    encode = model.text_encoder
    noisy = {
        "text": encode(text.noisy_ids_BT, text.valid_BT, text.segments_BT),
        "audio": batch.audio.noisy(),
        "vision": batch.vision.noisy(),
    }
    complete = {
        "text": encode(text.ids_BT, text.valid_BT, text.segments_BT),
        "audio": batch.audio.frames_BTD,
        "vision": batch.vision.frames_BTD,
    }
    for row, label in enumerate(batch.label_B):
        count = {m: int(getattr(batch, m).valid_BT[row].sum()) for m in ORDER}
        s = {}
        for m in ORDER:
            narrow = slide(model.convolve[m].weight, noisy[m][row, : count[m]])
            s[m] = (8**0.5 * narrow + turned(count[m], 8))[None]
        h = {}
        for m in ORDER:
            read = [through(model.inner[m], s[m], None, 2)]
            read += [through(model.cross[f"{n}_to_{m}"], s[m], s[n], 2) for n in OTHERS[m]]
            h[m] = torch.cat(read, dim=2)[0]
        u = norm(torch.cat([gated(model.gated[m], h[m]) for m in ORDER]), model.norm)
        hidden = affine(u, model.up)
        hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
        total = total + WEIGHTS["sentiment"] * (affine(hidden, model.sentiment)[0] - label) ** 2
        for m in ORDER:
            r = rebuilt(model.rebuild[m], h[m], SHAPES.length(m))
            gone = ~getattr(batch, m).keep_BT[row, : count[m]]
            if gone.any():
                error = smooth(r - complete[m][row, : count[m]])[gone].mean()
                total = total + WEIGHTS[m] * error
    return total


def test_values_and_gradients_are_the_equations() -> None:
    batch = random_batch()
    assert not batch.audio.keep_BT[1].logical_xor(batch.audio.valid_BT[1]).all()
    assert unlike(make(), batch, equation) == []


def test_kernels_are_those_of_the_released_code() -> None:
    assert tfr_net.KERNELS == KERNELS


def padded_backwards(stream: Stream) -> Tensor:
    return stream.x_BTD.flip(1)


def everywhere(rebuilt_BTD: Tensor, target_BTD: Tensor, erased_BT: Tensor) -> Tensor:
    return ERROR(rebuilt_BTD, target_BTD, torch.ones_like(erased_BT))


def squared(rebuilt_BTD: Tensor, target_BTD: Tensor, erased_BT: Tensor) -> Tensor:
    error_BT = ((rebuilt_BTD - target_BTD) ** 2).mean(dim=2) * erased_BT
    return error_BT.sum(dim=1) / erased_BT.sum(dim=1).clamp(min=1)


def frozen_target(rebuilt_BTD: Tensor, target_BTD: Tensor, erased_BT: Tensor) -> Tensor:
    return ERROR(rebuilt_BTD, target_BTD.detach(), erased_BT)


def without_gate(self, stream: Stream) -> Tensor:
    context = self.context(stream) * stream.valid_BT[..., None]
    each = self.linear(torch.cat([stream.x_BTD, context.tanh()], dim=2)).tanh()
    return each.masked_fill(~stream.valid_BT[..., None], -1.0).amax(dim=1) + 0 * self.gate.bias


def unscaled(self, stream: Stream) -> Tensor:
    x_BDT = (stream.x_BTD * stream.valid_BT[..., None]).transpose(1, 2)
    places = x_BDT.shape[2]
    whole = nn.functional.pad(x_BDT, (0, self.length - places))
    every = torch.ones(whole.shape[:2], dtype=torch.bool)
    return self.linear(self.channels(whole, None, every).transpose(1, 2)[:, :places])


ERROR = tfr_net.erased_error
WRONG = {
    "read from the padding": (tfr_net, "backwards", padded_backwards),
    "never read from the end": (tfr_net, "backwards", lambda stream: stream.x_BTD),
    "rebuilt where nothing is erased": (tfr_net, "erased_error", everywhere),
    "squared": (tfr_net, "erased_error", squared),
    "target detached": (tfr_net, "erased_error", frozen_target),
    "no gate": (tfr_net.GatedFeature, "forward", without_gate),
    "channels not scaled": (tfr_net.Rebuilder, "forward", unscaled),
    "no positions": (mult, "sines", lambda places, like: 0.0),
}


@pytest.mark.parametrize("name", WRONG)
def test_another_network_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*WRONG[name])
    assert unlike(make(), random_batch(), equation)


def test_a_sample_of_which_nothing_is_erased_or_nothing_is_there_has_a_loss() -> None:
    batch = random_batch()
    whole = batch._replace(
        **{m: getattr(batch, m)._replace(keep_BT=getattr(batch, m).valid_BT) for m in ORDER}
    )
    terms = make().losses(whole).terms
    assert [terms[m].item() for m in ORDER] == [0.0, 0.0, 0.0]
    none = torch.zeros_like(batch.audio.valid_BT)
    silent = batch._replace(audio=batch.audio._replace(valid_BT=none, keep_BT=none))
    assert make().losses(silent).total().isfinite()
    assert make().predict(silent).sentiment.isfinite().all()


def test_dropout_acts_in_training_alone() -> None:
    model, batch = make(dropout=0.5), random_batch()
    assert torch.equal(model(batch), model(batch))
    model.train()
    assert not torch.equal(model(batch), model(batch))


def test_its_size_is_that_of_the_equations() -> None:
    def transformer(d: int) -> int:
        return 3 * (4 * (d * d + d) + (4 * d + 1) * d + (d + 1) * 4 * d + 4 * d) + 2 * d

    def gate(feature: int) -> int:
        grus = sum(2 * 3 * feature * (w + feature + 2) for w in (90, 2 * feature, 2 * feature))
        return grus + 3 * 2 * feature + 1 + (90 + 2 * feature + 1) * feature

    widths = {"text": 768, "audio": 5, "vision": 20}
    wanted = 30 * sum(widths[m] * KERNELS[m] for m in ORDER) + 9 * transformer(30)
    wanted += gate(36) + gate(20) + gate(48)
    wanted += sum(transformer(t) for t in (50, 375, 500)) + sum(91 * w for w in widths.values())
    wanted += 2 * 104 + 105 * 128 + 129
    network = mosi_network("tfr_net")
    assert size(network) == wanted
    assert f"{wanted / 1e6:.2f} M parameters" in " ".join(tfr_net.__doc__.split())
    assert f"{size(network.rebuild) / 1e6:.2f} M of them" in " ".join(tfr_net.__doc__.split())


@pytest.mark.parametrize("change", [{"width": 31, "heads": 1}, {"heads": 4}])
def test_sizes_that_do_not_fit_are_one_line(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must divide width"):
        mosi_network("tfr_net", **change)
