"""Variables by which a launcher tells a process its place, checked before they are believed."""

from lnln_dist.errors import TrainingError
from lnln_dist.runtime.launcher import Environment

NUMBERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
PLACE = ("RANK", "MASTER_ADDR", "MASTER_PORT")  # what one of several processes has to know
REMEDY = "start by accelerate launch, torchrun or launch/*.sh, which set them, or unset WORLD_SIZE"


def check_variables(environment: Environment) -> None:
    """Refuses variables that are no numbers, that are missing, or that contradict one another.

    Raises:
        TrainingError: names the variable.
    """
    for name in NUMBERS:
        value = environment.get(name)
        if value is not None and not value.isdecimal():
            raise TrainingError(f"{name}={value} is not a whole number: {REMEDY}")
    world = int(environment.get("WORLD_SIZE", "1"))
    if world > 1:
        missing = [name for name in PLACE if not environment.get(name)]
        if missing:
            raise TrainingError(f"WORLD_SIZE={world} but {', '.join(missing)} not set: {REMEDY}")
    for rank, size in (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE")):
        if rank in environment and size in environment:
            place, count = int(environment[rank]), int(environment[size])
            if place >= count:
                raise TrainingError(f"{rank}={place} of {size}={count}: they count from 0")
