"""The errors that bcsim raises on purpose, and the exit code that each one gives on a command line.

Every message is one line that names the thing, the value and the remedy. Whatever else escapes
is a defect in bcsim.
"""

import difflib
import errno
import urllib.parse
from collections.abc import Iterable

MAX_LINE = 200  # characters
MAX_VALUE = 80  # characters of a value in a message
# In the words of torch, C++ and libsndfile.
_OUT_OF_MEMORY = ("can't allocate memory", "CUDA out of memory", "bad_alloc", "malloc () failed")
_NOT_MAPPED = "failed to map segment"  # in the words of the loader of shared libraries
LEAST_OF_A_NAME = 32  # or a path: shorter ones, and what only looks like one, are left alone


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line."""
    return " ".join(str(error).split())


def fit_line(text: str, width: int = MAX_LINE) -> str:
    r"""Make one line of a text that is safe to show and not too long.

    Control characters are percent-encoded. Of what is too long, the folders of long paths go
    first, then the middle of long names; the beginning, a file's own name and the end, where the
    remedy stands, stay.

    Example:
        >>> fit_line("/home/me/corpora/speech/a\x1b.wav: is empty; delete it", width=40)
        '/home/me/…/a%1B.wav: is empty; delete it'
    """
    text = "".join(c if c.isprintable() else percent_encoded(c) for c in text.strip())
    for shorten in (_without_folders, _without_middle):
        for word in sorted(text.split(), key=len, reverse=True):
            if len(text) > width:
                text = text.replace(word, shorten(word, len(word) - (len(text) - width)))
    return text if len(text) <= width else _without_middle(text, width)


def percent_encoded(character: str) -> str:
    """Return a character, which may stand for a raw byte of a file name, percent-encoded."""
    is_raw_byte = "\udc80" <= character <= "\udcff"  # of a name that is not UTF-8
    return urllib.parse.quote(
        character.encode("utf-8", "surrogateescape" if is_raw_byte else "surrogatepass")
    )


def _without_folders(path: str, size: int) -> str:
    folders, slash, name = path.rpartition("/")
    kept = max(0, size - len(name) - len("…/"))
    long = slash and len(path) > LEAST_OF_A_NAME and kept < len(folders) - 1
    return f"{folders[:kept]}…/{name}" if long else path


def _without_middle(word: str, size: int) -> str:
    size = max(size, LEAST_OF_A_NAME)
    tail = size // 2
    return word if len(word) <= size else f"{word[: size - tail - 1]}…{word[-tail:]}"


class BcsimError(ValueError):
    """An error that the caller can correct; the message says what is wrong and what to do."""

    exit_code = 1


class UsageError(BcsimError):
    """The request makes no sense as it stands: a missing folder, an unknown key."""

    exit_code = 2


class InputError(UsageError):
    """A file or a signal that was handed in cannot be used."""


class PartialFailure(BcsimError):
    """The work is done, apart from items that are named in `failures.jsonl`."""

    exit_code = 3


class EnvironmentFault(BcsimError):
    """The machine is at fault: no space, no permission, a lock that another run holds."""

    exit_code = 5


class DivergedError(BcsimError):
    """Training produced a loss that is not finite."""

    exit_code = 6


def check_that(condition: bool, message: str) -> None:
    """Raise a ValueError with the message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def check_value(condition: bool, name: str, value: object, wanted: str) -> None:
    """Raise a ValueError that names a value and what it should be, unless the condition holds.

    Of a long value, which may come from an untrusted file, the middle is left out.
    """
    if not condition:  # representing an array takes longer than most checks
        raise ValueError(f"{name} is {fit_line(repr(value), MAX_VALUE)}; it wants {wanted}")


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


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error, or one in its chain of causes, says that memory ran out."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OUT_OF_MEMORY):
            return True
        if isinstance(error, ImportError) and _NOT_MAPPED in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
