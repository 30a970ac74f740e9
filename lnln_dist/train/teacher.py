"""Another run's network that says, in training, how much of a text's meaning is still there.

After TCMR: the completeness of a damaged text is the probability that a classifier of text, trained
on whole texts, gives the true class. One that predicts a number y (``task.kind`` regression), taken
with the normal error that it shows on whole texts, gives the polarity of the label (below zero or
not) the probability Phi(y / s), or Phi(-y / s) for labels below zero; s is the root mean square
error on validation.
"""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from lnln_dist.classes import cut
from lnln_dist.config import Config
from lnln_dist.data.noise import CleanNoise
from lnln_dist.data.shards import ShardedDataset
from lnln_dist.errors import CheckpointError, ConfigError
from lnln_dist.evaluate.cases import open_cases, predict_case
from lnln_dist.evaluate.compatible import check_compatible
from lnln_dist.evaluate.load import load_model
from lnln_dist.files import sha256_file
from lnln_dist.runtime import Runtime
from lnln_dist.specs.registry import find_spec
from lnln_dist.types import Batch, Network

KIND = "text"  # what audio and vision say does not belong to the completeness of a text


class Teacher:
    """Not a part of the network: nothing of it is trained, kept in checkpoints or predicts.

    Args:
        network: of the other run, on this rank's device.
        error: root mean square error on whole texts of one that predicts a number, in its unit.
        class_N: else the classes of the training split's labels, int64, on this rank's device.
    """

    def __init__(
        self, network: nn.Module, *, error: float = 1.0, class_N: Tensor | None = None
    ) -> None:
        self._network = network.eval().requires_grad_(False)
        self._error, self._class_N = error, class_N

    def __call__(self, batch: Batch) -> Tensor:
        """Probability of the true class or polarity given the damaged texts, float32, [B]."""
        with torch.no_grad(), torch.autocast(batch.label_B.device.type, enabled=False):
            found = cast(Network, self._network).predict(batch).sentiment.float()
        if self._class_N is not None:
            return found.gather(1, self._class_N[batch.row_B].unsqueeze(1)).squeeze(1)
        side_B = torch.where(batch.label_B < 0, -1.0, 1.0)
        share_B: Tensor = torch.special.ndtr(side_B * found / self._error)
        return share_B


def _setting(config: Config) -> str:
    return find_spec(config.model.name).teacher


def teacher_folder(config: Config) -> Path | None:
    """The run that training asks, if its model's settings name one."""
    setting = _setting(config)
    named = getattr(config.model, setting) if setting else ""
    return Path(named).expanduser() if named else None


def teacher_sha256(config: Config) -> str | None:
    """Of the weights that ``load_teacher`` takes; None without a teacher.

    Raises:
        CheckpointError: there are none.
    """
    folder = teacher_folder(config)
    if folder is None:
        return None
    weights = folder / "best" / "best.safetensors"
    if not weights.is_file():
        raise CheckpointError(f"model.{_setting(config)}: {weights} is not there")
    return sha256_file(weights)


def load_teacher(config: Config, dataset: ShardedDataset, runtime: Runtime) -> Teacher | None:
    """The teacher that the settings name, measured on validation (collective).

    Raises:
        ConfigError: it is not a run of the model ``text``.
        UserError: the folder is no run, or it cannot read this data.
    """
    folder = teacher_folder(config)
    if folder is None:
        return None
    [case] = open_cases([folder], data=config.data.path, split="valid", checkpoint="best")
    name = case.run.config.model.name
    if name != KIND:
        raise ConfigError(
            f"model.{_setting(config)}: {folder} is a run of model {name}: give one of model "
            f"{KIND}, trained on whole texts (noise.clean_share 1)"
        )
    check_compatible(case.run, dataset, "train")
    network = load_model(case.run)[0].to(runtime.device)
    if count := case.run.config.task.classes:
        class_N = cut(dataset.split("train").labels, dataset.index.family, count)
        return Teacher(network, class_N=torch.from_numpy(class_N).to(runtime.device))
    [found] = predict_case(
        case, network, [CleanNoise()], runtime=runtime, batch_size=config.select.batch_size
    )
    error = float(np.sqrt(np.mean((found.sentiment - case.split.labels) ** 2)))
    return Teacher(network, error=max(error, float(np.finfo(np.float32).tiny)))
