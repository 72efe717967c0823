"""What a user can get wrong, and how it is said: what was wrong, what there is, what to do.

Three kinds, told apart because scripts have to: a command line exits with the kind's number. So it
does where nobody was wrong and the command was stopped.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigurationError(ValueError):
    """The request itself cannot be met: an unknown name, a size that does not fit."""

    exit_code = 2


class DataError(ValueError):
    """The request is fine, the data is not: a broken image, a missing map, a wrong checkpoint."""

    exit_code = 65


class FileError(OSError):
    """A file or folder cannot be read or written."""

    exit_code = 74


class Preempted(SystemExit):
    """No mistake of anybody's: what runs was asked to stop, and the same command goes on."""

    exit_code = 75

    def __init__(self, message: str = ""):
        super().__init__(message)
        self.code = self.exit_code  # Python ends with it where nobody catches this


def unknown(kind: str, name: str, names: Iterable[str]) -> ConfigurationError:
    """The error for a name that is not among `names`, with the nearest one that is."""
    names = sorted(names)
    return ConfigurationError(f"no {kind} {name!r}{nearest(name, names)}; there is {listed(names)}")


def nearest(word: str, words: Iterable[str]) -> str:
    close = get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def listed(names: list[str], most: int = 20) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
