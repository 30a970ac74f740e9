"""What the names of the two protocols promise, so that no report carries a wrong one."""

from operator import attrgetter

from lnln_dist.config import Config
from lnln_dist.errors import ConfigError

# Setting -> the values a protocol allows; what is not listed is free under it.
PROMISES: dict[str, dict[str, tuple[object, ...]]] = {
    "paper": {
        "model.mask_padding": (True,),
        "model.reversal": ("discriminator",),
        "model.discriminator_input": ("proxy",),
        "optim.schedule": ("cosine", "constant"),
        "select.split": ("valid",),
        "select.noise": ("paper",),
    },
    "official": {
        "data.padding": ("corpus",),
        "model.mask_padding": (False,),
        "model.reversal": ("proxy",),
        "model.discriminator_input": ("corrected",),
        "optim.schedule": ("official",),
        "optim.clip_norm": (0.0,),
        "optim.decay_all": (True,),
        "select.split": ("test",),
        "select.noise": ("official",),
    },
    "custom": {},
}


def check_recipe(config: Config) -> None:
    """Refuses a training whose reports would name a protocol that it does not follow.

    Raises:
        ConfigError: the settings that contradict the name, and what to do.
    """
    wrong = [
        f"{key} is {found!r}, not {' or '.join(map(repr, allowed))}"
        for key, allowed in PROMISES[config.recipe].items()
        if (found := attrgetter(key)(config)) not in allowed
    ]
    if wrong:
        base = "configs/recipes/official.yaml sets them all; "
        raise ConfigError(
            f"recipe {config.recipe}: {'; '.join(wrong)}; {base * (config.recipe == 'official')}"
            "a mixture of the protocols is called recipe: custom"
        )
