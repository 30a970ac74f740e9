"""One thing wrong at a time: the parity check has to notice every one of them.

``GRADIENTS`` mutations leave all outputs and losses as they are, so only the gradients can tell.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import parity_check
import pytest
import torch
from parity_check import Case
from torch import nn

from lnln_dist.models import hyper, layers, lnln, parts
from lnln_dist.models.lnln import LNLN, lnln_terms

Patch = pytest.MonkeyPatch
Mutate = Callable[[Case, Patch], "LNLN | tuple[Case, LNLN] | tuple[Case, LNLN, Callable]"]


def switched(**changes: object) -> Mutate:
    """The network with other settings than the released code's."""
    return lambda case, _: case.make(dataclasses.replace(case.config, **changes))


def edited(edit: Callable[[LNLN], object]) -> Mutate:
    """The filled network, changed in place."""

    def mutate(case: Case, _: Patch) -> LNLN:
        model = case.make(case.config)
        edit(model)
        return model

    return mutate


def patched(target: object, name: str, make: Callable) -> Mutate:
    """``target.name`` replaced by what ``make`` makes of it."""

    def mutate(case: Case, patch: Patch) -> LNLN:
        patch.setattr(target, name, make(getattr(target, name)))
        return case.make(case.config)

    return mutate


def scored(terms: Callable) -> Mutate:
    """The right network under another loss."""
    return lambda case, _: (case, case.make(case.config), terms)


def set_all(kind: type, name: str, value: object, *, text: bool = False) -> Mutate:
    """An attribute of all modules of a kind, inside or outside the text encoder."""

    def edit(model: LNLN) -> None:
        found = [
            module
            for path, module in model.named_modules()
            if isinstance(module, kind) and path.startswith("text_encoder.") == text
        ]
        assert found
        for module in found:
            assert getattr(module, name) != value
            setattr(module, name, value)

    return edited(edit)


def swap(container: str, one: str, other: str) -> Mutate:
    """Two entries of a dictionary of modules change places in every hyper layer."""

    def edit(model: LNLN) -> None:
        for layer in model.hyper.layers:
            modules = getattr(layer, container)
            modules[one], modules[other] = modules[other], modules[one]

    return edited(edit)


def scale_queries(factor: float) -> Callable:
    return lambda attend: lambda q, k, v, **rest: attend(factor * q, k, v, **rest)


class TimesMinusTwo(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -2 * grad


def detach_language_side(model: LNLN) -> None:
    calls = []

    def hook(module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        calls.append(1)
        return (inputs[0].detach(),) if len(calls) == 2 else inputs

    model.discriminator.register_forward_pre_hook(hook)


def hyper_without_norm(self, dominant, audio, vision, hyper_BND):
    query = self.to_query(self.norms["dominant"](dominant))
    both = self._read(query, "audio", audio) + self._read(query, "vision", vision)
    self.norms["hyper"](hyper_BND)
    return hyper_BND + self.to_out(both)


def hyper_with_two_outputs(self, dominant, audio, vision, hyper_BND):
    query = self.to_query(self.norms["dominant"](dominant))
    one, two = self._read(query, "audio", audio), self._read(query, "vision", vision)
    return self.norms["hyper"](hyper_BND) + self.to_out(one) + self.to_out(two)


def extra_tokens_behind(self, x, valid=None):
    extra = self.extra_tokens.expand(len(x), -1, -1)
    x = torch.cat([x, extra], dim=1) + self.positions[:, : x.shape[1] + self.tokens]
    for block in self.blocks:
        x = block(x, x)
    return x[:, -self.tokens :]


def fusion_pools_all(self, source, target):
    extra = self.extra_token.expand(len(source), -1, -1)
    source = torch.cat([extra, source], dim=1) + self.source_positions
    target = torch.cat([extra, target], dim=1) + self.target_positions
    for block in self.blocks:
        target = block(target, source)
    return target.mean(dim=1)


def query_for_all(self, target, source, mask=None):
    q, k, v = (self.norm_query(x) for x in (target, source, source))
    q, k, v = self.to_query(q), self.to_key(k), self.to_value(v)
    return self.to_out(layers.attend(q, k, v, heads=self.heads, mask=mask))


def unmixed(self, batch, share_B, proxy, text):
    share = share_B[:, None, None]
    return share * proxy + (1 - share) * text


def rebind(module: nn.Module, forward: Callable) -> None:
    module.forward = forward  # type: ignore[method-assign]


def swapped_arguments(name: str) -> Callable[[LNLN], None]:
    def edit(model: LNLN) -> None:
        module = getattr(model, name)
        original = module.forward
        rebind(module, lambda one, other: original(other, one))

    return edit


def earlier_state(model: LNLN) -> None:
    original = model.dominant.states
    model.dominant.states = lambda x: [*original(x)[:-1], original(x)[1]]


def blind_to_padding(model: LNLN) -> None:
    original = model.text_encoder.forward
    rebind(
        model.text_encoder,
        lambda ids, valid, segments: original(ids, torch.ones_like(valid), segments),
    )


def swapped_weights(case: Case, _: Patch) -> tuple[Case, LNLN]:
    weights = dataclasses.replace(
        case.weights,
        adversarial=case.weights.reconstruction,
        reconstruction=case.weights.adversarial,
    )
    return dataclasses.replace(case, weights=weights), case.make(case.config)


def sum_over_tokens(outputs, batch, *, completeness):
    terms = lnln_terms(outputs, batch, completeness=completeness)
    return terms | {"reconstruction": terms["reconstruction"] * outputs.target_BND.shape[1]}


def rate_as_label(outputs, batch, *, completeness):
    text = batch.text._replace(rate_B=1 - batch.text.rate_B)
    return lnln_terms(outputs, batch._replace(text=text), completeness=completeness)


def counted_label(outputs, batch, *, completeness):
    return lnln_terms(outputs, batch, completeness="counted")


def given_label(outputs, batch, *, completeness):
    return lnln_terms(outputs, batch, completeness=torch.full_like(batch.text.rate_B, 0.9))


def classes_exchanged(outputs, batch, *, completeness):
    exchanged = outputs._replace(
        generated_logits_BN2=outputs.generated_logits_BN2.flip(-1),
        language_logits_BN2=outputs.language_logits_BN2.flip(-1),
    )
    return lnln_terms(exchanged, batch, completeness=completeness)


def pairs_averaged(outputs, batch, *, completeness):
    terms = lnln_terms(outputs, batch, completeness=completeness)
    pairs = (outputs.sentiment[:, None] - batch.label_B[None, :]) ** 2
    return terms | {"sentiment": pairs.mean(dim=1).sum()}


GRADIENTS: dict[str, Mutate] = {
    "reversal where the paper has it": switched(reversal="discriminator"),
    "no reversal": patched(lnln, "reverse_gradient", lambda _: lambda x: x),
    "reversal stops the gradient": patched(lnln, "reverse_gradient", lambda _: torch.detach),
    "reversal factor 2": patched(lnln, "reverse_gradient", lambda _: TimesMinusTwo.apply),
    "target detached": switched(detach_target=True),
    "completeness detached": switched(detach_completeness=True),
    "language side detached": edited(detach_language_side),
}
VALUES: dict[str, Mutate] = {
    "discriminator sees the proxy": switched(discriminator_input="proxy"),
    "padding masked": switched(mask_padding=True),
    "counted correction": switched(correction="counted"),
    "no correction": switched(correction="none"),
    "LayerNorm eps 1e-6": set_all(nn.LayerNorm, "eps", 1e-6),
    "BERT LayerNorm eps 1e-5": set_all(nn.LayerNorm, "eps", 1e-5, text=True),
    "GELU by tanh": set_all(nn.GELU, "approximate", "tanh"),
    "leak 0.01": set_all(nn.LeakyReLU, "negative_slope", 0.01),
    "attention scaled by the model width": patched(layers, "attend", scale_queries(0.5**0.5)),
    "hyper attention scaled by 64": patched(hyper, "attend", scale_queries(0.5)),
    "one norm for q, k, v": patched(layers.Attention, "forward", lambda _: query_for_all),
    "hyper residual not normed": patched(hyper.HyperLayer, "forward", lambda _: hyper_without_norm),
    "two output projections": patched(
        hyper.HyperLayer, "forward", lambda _: hyper_with_two_outputs
    ),
    "hyper keys swapped": swap("to_key", "audio", "vision"),
    "hyper values swapped": swap("to_value", "audio", "vision"),
    "hyper norms swapped": swap("norms", "audio", "vision"),
    "hyper heads 4": edited(lambda m: [setattr(x, "heads", 4) for x in m.hyper.layers]),
    "fusion one layer short": edited(lambda m: m.fusion.blocks.__delitem__(-1)),
    "fusion pools the extra token": patched(parts.Fusion, "forward", lambda _: fusion_pools_all),
    "fusion source and target swapped": edited(swapped_arguments("fusion")),
    "proxy reads vision first": edited(swapped_arguments("proxy")),
    "correction the other way round": patched(LNLN, "_correct", lambda _: unmixed),
    "earlier dominant state": edited(earlier_state),
    "extra tokens behind": patched(
        layers.TokenTransformer, "forward", lambda _: extra_tokens_behind
    ),
    "text rebuilt first": patched(lnln, "REBUILT", lambda _: ("text", "audio", "vision")),
    "BERT attends to padding": edited(blind_to_padding),
    "loss weights swapped": swapped_weights,
    "sum over tokens": scored(sum_over_tokens),
    "rate as completeness label": scored(rate_as_label),
    "counted completeness label": scored(counted_label),
    "completeness label of a classifier": scored(given_label),
    "discriminator classes exchanged": scored(classes_exchanged),
    "labels broadcast against predictions": scored(pairs_averaged),
}


def failures_of(mutate: Mutate, patch: Patch) -> list[str]:
    case = parity_check.fill_case("mosi")
    made = mutate(case, patch)
    case, model, *terms = made if isinstance(made, tuple) else (case, made)
    return parity_check.parity_failures(case, model, **({"terms": terms[0]} if terms else {}))


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_mutation_of_gradients_is_noticed_by_them_alone(name: str, monkeypatch: Patch) -> None:
    failures = failures_of(GRADIENTS[name], monkeypatch)
    assert failures and all(line.startswith("gradient") for line in failures)


@pytest.mark.parametrize("name", VALUES)
def test_a_mutation_of_values_is_noticed(name: str, monkeypatch: Patch) -> None:
    failures = failures_of(VALUES[name], monkeypatch)
    assert any(line.startswith(("output", "loss")) for line in failures)


def test_a_wrong_sign_alone_is_noticed_by_the_gradient_sums(shared: Path) -> None:
    case = parity_check.checkpoint_case(shared)
    model = case.make(case.config)
    for parameter in model.proxy.parameters():
        parameter.register_hook(torch.neg)
    failures = parity_check.parity_failures(case, model)
    assert failures and all(
        line.startswith(("gradient sum proxy", "gradient sum h_p")) for line in failures
    )
