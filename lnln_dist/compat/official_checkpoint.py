"""Reads a checkpoint of the released code into our names and sizes."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from lnln_dist.compat.official_names import official_name
from lnln_dist.config import EncoderConfig
from lnln_dist.errors import CheckpointError
from lnln_dist.models import InputShapes
from lnln_dist.models.lnln import LNLN
from lnln_dist.models.text import load_encoder_skeleton
from lnln_dist.specs.lnln import LNLNConfig

HEAD_WIDTH = 64  # fixed in the released code; the number of heads cannot be read off otherwise
# Left-over tensors of the text encoder that no output depends on.
UNUSED = re.compile(r"bertmodel\.model\.(pooler\..*|embeddings\.(position|token_type)_ids)")


@dataclass(frozen=True, kw_only=True)
class OfficialModel:
    """A released network in our terms."""

    model_config: LNLNConfig
    shapes: InputShapes
    state: dict[str, Tensor]
    """Parameters under our names, float32."""


def read_official(path: Path, encoder_dir: Path) -> OfficialModel:
    """Reads a checkpoint the released training wrote, without running anything in it.

    Args:
        path: the .pth file; its tensors bare or under ``state_dict``, of any float type, their
            names with or without the prefix ``module.``.
        encoder_dir: folder of the BERT it was trained with (its config.json is read).

    Returns:
        Sizes read off the tensors, switches as in the released code, and the parameters.

    Raises:
        CheckpointError: not such a file, or tensors are missing, unknown or of a wrong shape.
        ConfigError: ``encoder_dir`` has no usable config.json.
    """
    tensors = _load(path)
    try:
        config, shapes = _sizes(tensors, encoder_dir)
    except KeyError as err:
        raise CheckpointError(
            f"{path} is not a checkpoint of LNLN: it has no tensor {err.args[0]}"
        ) from err
    except (ValidationError, ValueError, IndexError) as err:
        raise CheckpointError(
            f"{path} is not a checkpoint of LNLN: its tensors' sizes do not go together"
        ) from err
    with torch.device("meta"):
        skeleton = LNLN(config, load_encoder_skeleton(encoder_dir), shapes)
    expected = {name: tuple(value.shape) for name, value in skeleton.named_parameters()}
    _compare(path, tensors, {official_name(name): shape for name, shape in expected.items()})
    state = {name: tensors[official_name(name)].to(torch.float32) for name in expected}
    return OfficialModel(model_config=config, shapes=shapes, state=state)


def _load(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as err:
        raise CheckpointError(f"there is no file {path}") from err
    except pickle.UnpicklingError as err:
        raise CheckpointError(
            f"{path} holds more than plain tensors (or is no checkpoint): refused, as opening it "
            "could run code; save its state_dict alone"
        ) from err
    except Exception as err:  # on bytes that are no checkpoint the readers raise anything
        first = (str(err).splitlines() or [type(err).__name__])[0]
        raise CheckpointError(f"cannot read {path} as a torch checkpoint ({first})") from err
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds no named tensors: give a .pth of the released code")
    wrong = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if wrong:
        raise CheckpointError(f"{path} holds no state_dict: {wrong[0]} is not a tensor")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _sizes(tensors: Mapping[str, Tensor], encoder_dir: Path) -> tuple[LNLNConfig, InputShapes]:
    tokens = tensors["proj_l.1.extra_token"].shape[1]
    inner = tensors["proj_l.1.encoder.layers.0.0.fn.to_q.weight"].shape[0]
    if inner % HEAD_WIDTH:
        raise ValueError(f"attention width {inner} is no multiple of {HEAD_WIDTH}")

    def depth(prefix: str) -> int:
        return _depth(tensors, prefix)

    config = LNLNConfig(
        encoder=EncoderConfig(name=str(encoder_dir)),
        width=tensors["proj_l.0.weight"].shape[0],
        tokens=tokens,
        heads=inner // HEAD_WIDTH,
        head_width=HEAD_WIDTH,
        embedding_depth=depth("proj_l.1.encoder.layers."),
        completeness_depth=depth("completeness_check.0.encoder.layers."),
        proxy_depth=depth("proxy_dominate_modality_generator.encoder.layers."),
        reconstructor_depth=depth("reconstructor.0.encoder.layers."),
        hyper_depth=depth("dmml.1.layers."),
        fusion_depth=depth("dmml.2.CrossTransformerEncoder.layers."),
        reversal="proxy",
        discriminator_input="corrected",
        correction="predicted",
        mask_padding=False,
        detach_target=False,
    )
    shapes = InputShapes(
        audio_width=tensors["proj_a.0.weight"].shape[1],
        vision_width=tensors["proj_v.0.weight"].shape[1],
        text_length=tensors["proj_l.1.pos_embedding"].shape[1] - tokens,
        audio_length=tensors["proj_a.1.pos_embedding"].shape[1] - tokens,
        vision_length=tensors["proj_v.1.pos_embedding"].shape[1] - tokens,
    )
    return config, shapes


def _depth(tensors: Mapping[str, Tensor], prefix: str) -> int:
    numbers = {int(n.removeprefix(prefix).split(".")[0]) for n in tensors if n.startswith(prefix)}
    if not numbers:
        raise KeyError(f"{prefix}0")
    return max(numbers) + 1


def _compare(
    path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]
) -> None:
    missing = sorted(expected.keys() - tensors.keys())
    unknown = sorted(n for n in tensors.keys() - expected.keys() if not UNUSED.fullmatch(n))
    misshapen = sorted(
        f"{name} {tuple(tensors[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    )
    problems = (
        ("lacks", missing),
        ("has unknown tensors", unknown),
        ("has a wrong size:", misshapen),
    )
    found = [f"{what} {_shorten(names)}" for what, names in problems if names]
    if found:
        raise CheckpointError(f"{path} does not fit LNLN and its encoder: {'; it '.join(found)}")


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
