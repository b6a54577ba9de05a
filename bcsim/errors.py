"""The errors that bcsim raises on purpose, and the exit code that each one gives on a command line.

Every message is one line that names the thing, the value and the remedy. Whatever else escapes
is a defect in bcsim.
"""

import difflib
from collections.abc import Iterable


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line."""
    return " ".join(str(error).split())


class BcsimError(ValueError):
    """Something that the caller can mend; the message says what and how."""

    exit_code = 1


class UsageError(BcsimError):
    """The request makes no sense as it stands: a missing folder, an unknown key, a foreign file."""

    exit_code = 2


class InputError(UsageError):
    """A file that was handed in cannot be used."""


class PartialFailure(BcsimError):
    """The work is done, apart from items that are named in `failures.jsonl`."""

    exit_code = 3


class EnvironmentFault(BcsimError):
    """The machine is in the way: no space, no permission, a lock that somebody else holds."""

    exit_code = 5


class DivergedError(BcsimError):
    """Training produced a loss that is not finite."""

    exit_code = 6


def did_you_mean(unknown: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'? (known: ...)` for an unknown name.

    Example:
        >>> did_you_mean("sensor_nois", ["gain", "sensor_noise"])
        "; did you mean 'sensor_noise'? (known: gain, sensor_noise)"
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(unknown, names, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "; it is none of those known"
    return f"{hint} (known: {', '.join(names)})"
