"""Whether settings suit the data, as far as can be said without building a model.

A sweep asks it for each of its settings before a cluster is started: torch is not imported here.
"""

from lnln_dist import metrics
from lnln_dist.classes import COUNTS
from lnln_dist.config import CLASSES, Config
from lnln_dist.data.measure import normalisation
from lnln_dist.data.schema import Index
from lnln_dist.errors import ConfigError
from lnln_dist.recipes import check_recipe


def check_against_data(config: Config, index: Index) -> None:
    """Refuses settings that this data cannot satisfy, or that are not what their recipe says.

    Raises:
        ConfigError: the key and what it may be.
    """
    check_recipe(config)
    check_scores(config, index)
    if config.select.noise == "official" and config.data.padding != "corpus":
        raise ConfigError("select.noise official needs data.padding: corpus")


def check_scores(config: Config, index: Index) -> None:
    """Refuses classes, or a score that chooses, which do not exist for this data.

    Raises:
        ConfigError: the key and what it may be.
        DataError: the data do not say by what frames are normalised.
    """
    normalisation(index, wanted=config.data.normalise)
    task, family, span = config.task, index.family, metrics.LABEL_RANGE[index.family]
    if task.classes and task.classes not in COUNTS[family]:
        fitting = [kind for kind, count in CLASSES.items() if count in COUNTS[family]]
        raise ConfigError(
            f"task.kind: {index.dataset} has no {task.kind} scores (its family is {family}); "
            f"choose one of regression, {', '.join(fitting)}"
        )
    if task.classes and index.label_range != span:
        raise ConfigError(
            f"task.kind: {task.kind} is cut for labels in [{span[0]:g}, {span[1]:g}]; choose "
            "regression, or map the labels by prepare --rescale-labels"
        )
    known = metrics.defined(family, index.label_range, task.classes)
    if config.select.metric not in known:
        whose = f"{index.dataset} by task.kind {task.kind}" if task.classes else index.dataset
        raise ConfigError(
            f"select.metric: {config.select.metric!r} is not a score of {whose}; choose one of "
            f"{', '.join(known)}"
        )
