"""What the names of the two protocols promise, so that no report carries a wrong one."""

from operator import attrgetter

from lnln_dist.config import Config
from lnln_dist.errors import ConfigError
from lnln_dist.specs.registry import find_spec
from lnln_dist.specs.spec import Promises

# Setting -> the values a protocol allows; what is not listed is free under it. A model's spec adds
# what the protocol asks of its own settings.
PROMISES: dict[str, Promises] = {
    "paper": {
        "data.normalise": (False,),
        "optim.schedule": ("cosine", "constant"),
        "select.split": ("valid",),
        "select.noise": ("paper",),
    },
    "official": {
        "task.kind": ("regression",),
        "data.padding": ("corpus",),
        "data.normalise": (False,),
        "optim.schedule": ("official",),
        "train.order": ("joint",),
        "optim.clip_norm": (0.0,),
        "optim.decay_all": (True,),
        "select.split": ("test",),
        "select.noise": ("official",),
    },
    "custom": {},
}


def promises(config: Config) -> Promises:
    """What a config's recipe asks of it, by setting.

    Raises:
        ConfigError: its model cannot be trained by that recipe.
    """
    recipes = {"custom": {}, **find_spec(config.model.name).recipes}
    if config.recipe not in recipes:
        raise ConfigError(
            f"recipe {config.recipe} is not one of model {config.model.name}: choose of "
            f"{', '.join(recipes)}"
        )
    return {**PROMISES[config.recipe], **recipes[config.recipe]}


def check_recipe(config: Config) -> None:
    """Refuses a training whose reports would name a protocol that it does not follow.

    Raises:
        ConfigError: the settings that contradict the name, and what to do.
    """
    wrong = [
        f"{key} is {found!r}, not {' or '.join(map(repr, allowed))}"
        for key, allowed in promises(config).items()
        if (found := attrgetter(key)(config)) not in allowed
    ]
    if wrong:
        base = "configs/recipes/official.yaml sets them all; "
        raise ConfigError(
            f"recipe {config.recipe}: {'; '.join(wrong)}; {base * (config.recipe == 'official')}"
            "a mixture of the protocols is called recipe: custom"
        )
