"""What the classes are called that a task tells apart."""

from collections.abc import Sequence

from sgmim.errors import ConfigurationError


def class_names(classes: int, names: Sequence[str]) -> tuple[str, ...]:
    """What classes are called: as the data says, else by their numbers.

    Raises:
        ConfigurationError: there are names, and not as many as classes.
    """
    if names and len(names) != classes:
        raise ConfigurationError(
            f"the data has {len(names)} classes ({names[0]} to {names[-1]}), and the model "
            f"tells {classes} apart: give --task.classes {len(names)}"
        )
    return tuple(names) or tuple(f"class {number}" for number in range(classes))
