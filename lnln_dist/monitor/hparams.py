"""TensorBoard's HPARAMS page: every setting is a column, those that matter come first."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard.summary import hparams


def hparam_summaries(
    flat: Mapping[str, Any], metric_tags: Sequence[str], *, first: Collection[str]
) -> tuple[Any, Any]:
    """The page's columns, and one run's values in them.

    Of several runs' columns TensorBoard takes those of any one, so runs that belong together have
    to name the same ``first``.

    Args:
        flat: settings by dotted key.
        metric_tags: scores to list beside them.
        first: keys to show at once; the page hides most of the others until they are ticked.
    """
    plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in flat.items()}
    columns, values, _ = hparams(plain, dict.fromkeys(metric_tags, 0.0))  # type: ignore[no-untyped-call]
    inside = columns.value[0].metadata.plugin_data
    data = HParamsPluginData.FromString(inside.content)
    for info in data.experiment.hparam_infos:
        info.differs = info.name in first
    inside.content = data.SerializeToString()
    return columns, values
