"""The comparison with the released code's numbers, as one function: ``parity_failures``.

A case is a network (sizes and parameters), a batch and what the released code computed from
them in float64. The tests ask that nothing differs; the mutation tests that something does.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from builders import weighted_total
from einops import rearrange
from transformers import BertConfig, BertModel

from lnln_dist.compat.official_checkpoint import read_official
from lnln_dist.compat.official_names import official_name
from lnln_dist.config import EncoderConfig
from lnln_dist.models import InputShapes
from lnln_dist.models.lnln import LNLN, Outputs, lnln_terms
from lnln_dist.models.text import TextEncoder, load_encoder_skeleton
from lnln_dist.specs.lnln import LNLNConfig, LNLNLoss
from lnln_dist.types import Batch, SequenceInput, TextInput

DATA = Path(__file__).resolve().parent / "data"
EXACT = 1e-9  # float64 outputs and losses, absolute
STORED_FLOAT32 = 1e-7  # of the array's maximum
NORM_RELATIVE, NORM_ABSOLUTE = 1e-7, 1e-10
TERMS = ("completeness", "adversarial", "reconstruction", "sentiment")


@dataclass(frozen=True)
class Case:
    """A network, its input and the numbers to meet; keys of the mappings are ours."""

    config: LNLNConfig
    weights: LNLNLoss
    batch: Batch
    make: Callable[[LNLNConfig], LNLN]  # the filled network, float64
    outputs: Mapping[str, np.ndarray]
    losses: Mapping[str, float]
    norms: Mapping[str, float]  # by official name
    sums: Mapping[str, float]  # likewise; empty where the fixture has none


def fill_value(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The fixtures' parameter formula."""
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    value = 0.1 * np.sin(0.37 * i**1.1 + zlib.crc32(name.encode("utf-8")) % 1000)
    if len(shape) == 1 and name.endswith("weight"):
        value = value + 1
    return value.reshape(shape)


def fill_case(name: str) -> Case:
    """``mosi`` or ``sims``: the formula-filled networks."""
    info = json.loads((DATA / f"fill_{name}.json").read_text())
    arrays = dict(np.load(DATA / f"fill_{name}.npz"))
    shapes = InputShapes.of(widths=info["input_dim"], lengths=info["input_length"])
    depth = info["encoder_depth"]
    config = LNLNConfig(
        encoder=EncoderConfig(name="filled"),
        width=info["hidden_dim"],
        tokens=info["token_length"],
        heads=info["heads"],
        head_width=info["dim_head"],
        embedding_depth=depth,
        completeness_depth=depth,
        proxy_depth=depth,
        reconstructor_depth=depth,
        hyper_depth=info["hyper_depth"],
        fusion_depth=info["fusion_depth"],
        reversal="proxy",
        discriminator_input="corrected",
        mask_padding=False,
    )

    def make(config: LNLNConfig) -> LNLN:
        bert = BertModel(BertConfig(**info["bert_config"]), add_pooling_layer=False)
        model = LNLN(config, TextEncoder(bert), shapes).double()
        with torch.no_grad():
            for ours, value in model.named_parameters():
                value.copy_(torch.from_numpy(fill_value(official_name(ours), tuple(value.shape))))
        return model

    text = {
        "ids": arrays["input_ids"],
        "noisy": arrays["input_ids_incomplete"],
        "mask": arrays["attention_mask"],
        "segments": np.zeros_like(arrays["input_ids"]),
    }
    return Case(
        config=config,
        weights=LNLNLoss(**info["loss_weights"]),
        batch=_batch(
            text=text,
            frames={m: (arrays[m], arrays[f"{m}_incomplete"]) for m in ("audio", "vision")},
            labels=arrays["labels"],
            rate=arrays["missing_rate_text"],
        ),
        make=make,
        outputs={
            "sentiment": arrays["sentiment"],
            "completeness": arrays["completeness"],
            "discriminator_logits": arrays["discriminator_logits"],
            "reconstructed": arrays["reconstructed_AVL"],
            "complete": arrays["complete_AVL"],
            "sentiment_eval": arrays["sentiment_eval"],
        },
        losses={t: float(arrays[f"loss_{t}"]) for t in (*TERMS, "total")},
        norms=dict(zip(arrays["grad_names"].tolist(), arrays["grad_norms"].tolist(), strict=True)),
        sums={},
    )


def checkpoint_case(shared: Path) -> Case:
    """The released-checkpoint batch."""
    folder = shared / "parity" / "official_checkpoint"
    arrays = dict(np.load(folder / "case.npz"))
    official = read_official(folder / "official_checkpoint.pth", folder / "bert")

    def make(config: LNLNConfig) -> LNLN:
        encoder = load_encoder_skeleton(folder / "bert")
        model = LNLN(config, encoder, official.shapes).double()
        model.load_state_dict(official.state)
        return model

    ids, mask, segments = (arrays["text"][:, i] for i in range(3))
    base = json.loads((folder / "case.json").read_text())["settings"]["base"]
    short = {"completeness": "cc", "adversarial": "adv", "reconstruction": "rec", "sentiment": "sp"}
    return Case(
        config=official.model_config,
        weights=LNLNLoss(
            completeness=base["alpha"],
            adversarial=base["beta"],
            reconstruction=base["gamma"],
            sentiment=base["sigma"],
        ),
        batch=_batch(
            text={"ids": ids, "noisy": arrays["text_m"][:, 0], "mask": mask, "segments": segments},
            frames={m: (arrays[m], arrays[f"{m}_m"]) for m in ("audio", "vision")},
            labels=arrays["labels"],
            rate=arrays["rate_l"],
        ),
        make=make,
        outputs={
            "sentiment": arrays["out_sentiment_preds"],
            "completeness": arrays["out_w"],
            "discriminator_logits": arrays["out_effectiveness_discriminator_out"],
            "reconstructed": arrays["out_rec_feats"],
            "complete": arrays["out_complete_feats"],
            "sentiment_eval": arrays["eval_sentiment_preds"],
            "completeness_eval": arrays["eval_w"],
        },
        losses={t: float(arrays[f"loss_l_{s}"]) for t, s in short.items()}
        | {"total": float(arrays["loss_loss"])},
        norms=_named(arrays, "gradnorm/"),
        sums=_named(arrays, "gradsum/"),
    )


def parity_failures(
    case: Case, model: LNLN, *, terms: Callable[..., dict[str, torch.Tensor]] = lnln_terms
) -> list[str]:
    """What differs from the released code beyond the tolerances, one line each.

    Args:
        case: input and expected numbers.
        model: the network, in float64.
        terms: the loss function under test.
    """
    batch = case.batch
    size = len(batch.label_B)
    model.train()
    model.zero_grad()
    outputs = model(batch, complete=True)
    losses = {k: v / size for k, v in terms(outputs, batch, completeness="nominal").items()}
    losses["total"] = weighted_total(losses, case.weights)
    losses["total"].backward()
    model.eval()
    with torch.no_grad():
        scored = model(batch, complete=False)
    found = _official_outputs(outputs) | {
        "sentiment_eval": scored.sentiment[:, None],
        "completeness_eval": scored.completeness_B[:, None],
    }
    failures = []
    for name, expected in case.outputs.items():
        got = found[name].detach().numpy()
        limit = EXACT if expected.dtype == np.float64 else STORED_FLOAT32 * np.abs(expected).max()
        if got.shape != expected.shape or not np.abs(got - expected).max() <= limit:
            failures.append(f"output {name}")
    values = {name: loss.item() for name, loss in losses.items()}
    failures += [f"loss {k}" for k, v in case.losses.items() if not abs(values[k] - v) <= EXACT]
    return failures + _gradient_failures(case, model)


def _gradient_failures(case: Case, model: LNLN) -> list[str]:
    grads = {official_name(n): p.grad for n, p in model.named_parameters()}
    failures = [f"no such gradient {n}" for n in sorted(grads.keys() ^ case.norms.keys())]
    for name, expected in case.norms.items():
        grad = grads.get(name)
        norm = float("nan") if grad is None else float(grad.norm())
        if not abs(norm - expected) <= max(NORM_RELATIVE * expected, NORM_ABSOLUTE):
            failures.append(f"gradient norm {name}")
        # A sum may cancel to nearly nothing, so its error is measured against the norm.
        if grad is not None and name in case.sums:
            scale = expected * grad.numel() ** 0.5
            if not abs(float(grad.sum()) - case.sums[name]) <= max(
                NORM_RELATIVE * scale, NORM_ABSOLUTE
            ):
                failures.append(f"gradient sum {name}")
    return failures


def _official_outputs(outputs: Outputs) -> dict[str, torch.Tensor]:
    """Our outputs in the released code's arrangement of rows and columns."""
    sides = (outputs.generated_logits_BN2, outputs.language_logits_BN2)
    rows = torch.cat([rearrange(side, "b n c -> (b n) c") for side in sides])
    return {
        "sentiment": outputs.sentiment[:, None],
        "completeness": outputs.completeness_B[:, None],
        "discriminator_logits": rows,
        "reconstructed": outputs.reconstructed_BND,
        "complete": outputs.target_BND,
    }


def _batch(
    *,
    text: Mapping[str, np.ndarray],
    frames: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labels: np.ndarray,
    rate: np.ndarray,
) -> Batch:
    rate_B = torch.from_numpy(np.asarray(rate, dtype=np.float64).reshape(-1))
    ids, noisy, mask, segments = (
        torch.from_numpy(np.asarray(text[k]).astype(np.int64))
        for k in ("ids", "noisy", "mask", "segments")
    )
    valid = mask.bool()
    size = len(rate_B)
    return Batch(
        text=TextInput(ids, noisy, segments, valid, valid & (ids == noisy), rate_B),
        audio=_sequence(*frames["audio"], rate_B),
        vision=_sequence(*frames["vision"], rate_B),
        label_B=torch.from_numpy(labels.reshape(-1)).double(),
        weight_B=torch.ones(size),
        row_B=torch.arange(size),
    )


def _sequence(whole: np.ndarray, damaged: np.ndarray, rate_B: torch.Tensor) -> SequenceInput:
    """Frames whose ``noisy()`` is exactly the stored damaged array."""
    keep = np.any(damaged != 0, axis=-1)
    np.testing.assert_array_equal(whole * keep[..., None], damaged)
    valid = np.any(whole != 0, axis=-1)
    return SequenceInput(
        torch.from_numpy(whole).double(), torch.from_numpy(valid), torch.from_numpy(keep), rate_B
    )


def _named(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, float]:
    return {k.removeprefix(prefix): float(v) for k, v in arrays.items() if k.startswith(prefix)}
