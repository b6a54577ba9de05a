"""Untrusted text and JSON, read within bounds and strictly; nothing in it is run."""

import itertools
import json
import math
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bcsim.errors import InputError, check_value, one_line, percent_encoded
from bcsim.files.opening import open_regular, reading_error
from bcsim.files.paths import shortened

MAX_DEPTH = 64  # of JSON
MAX_CONTAINERS = 1_000_000  # objects and lists of JSON, of which empty ones take 60 bytes, too
MAX_LINE_BYTES = 1 << 20
BYTE_ORDER_MARK = "\ufeff"
SAFETENSORS_ONLY = "bcsim reads safetensors only; where you trust it, save its weights as such"

# First bytes of a file, and its kind. A pickle of protocol 0 begins with what it imports.
_KINDS = (
    (re.compile(rb"PK\x03\x04"), "a zip, as torch.save and numpy.savez write it"),
    (re.compile(rb"\x80[\x01-\x05]|\(?[ci][\w.]+\n[\w.]+\n"), "a pickle"),
    (re.compile(rb"\x89HDF\r\n"), "HDF5"),
    (re.compile(rb"\x93NUMPY"), "a numpy array"),
    (re.compile(rb"\x1f\x8b"), "gzip"),
    (re.compile(rb"RIFF|fLaC|OggS"), "audio"),
    (re.compile(rb"version https://git-lfs"), "a pointer of git lfs; fetch the file itself"),
)
# Categories of characters that a terminal may obey, that end a line, or that are half of one; and
# those that turn the order of what is shown round.
_UNFIT = {"Cc", "Cs", "Zl", "Zp"}
_TURNING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_bytes(path: Path, max_bytes: int, what: str) -> bytes:
    """Read a regular file of moderate size; a pipe or device is refused, not waited for.

    Args:
        path: file to read.
        max_bytes: largest size that is read.
        what: what the file should be ("a profile"), for the message.

    Raises:
        InputError: if it is missing, too large, not a regular file, or cannot be read.
        EnvironmentFault: if the machine cannot read it for now.
    """
    try:
        with open_regular(path, what) as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise reading_error(path, error, what) from error
    if len(content) > max_bytes:
        raise InputError(f"{path}: larger than {max_bytes} bytes; this is not {what}")
    return content


def numbered_lines(file: BinaryIO, path: Path, what: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text in UTF-8 with their ends, counted from 1; see `decode_line`.

    A byte-order mark, which some editors and spreadsheets write, is not part of the first line.
    """
    for number in itertools.count(1):
        content = file.readline(MAX_LINE_BYTES + 1)
        if not content:
            return
        text = decode_line(content, f"{path} line {number}", what)
        yield number, text.removeprefix(BYTE_ORDER_MARK) if number == 1 else text


def decode_line(content: bytes, where: str, what: str) -> str:
    """Return a line of text in UTF-8; the InputError for another one begins with `where`."""
    if len(content) > MAX_LINE_BYTES:
        raise InputError(f"{where}: longer than {MAX_LINE_BYTES} bytes; this is not {what}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text; this is not {what}") from error


def parse_json(text: str | bytes) -> Any:
    """Return what JSON says, more strictly than `json.loads`.

    Raises:
        ValueError: if it is not JSON in UTF-8, or has a key twice, a number that is not finite,
            half a character, more than 64 levels, or a million objects and lists.

    Example:
        >>> parse_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ...
        ValueError: key 'a' is there twice
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    containers = text.count("[") + text.count("{")
    if containers > MAX_CONTAINERS:
        raise ValueError(f"more than {MAX_CONTAINERS} objects and lists")
    try:
        content = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_check_constant, parse_float=_finite
        )
    except RecursionError as error:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from error
    if containers > MAX_DEPTH:  # or it cannot be that deep
        _check_depth(content)
    if _LONE_SURROGATE.search(text):
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    return content


def kind_of(content: bytes) -> str | None:
    r"""Return what a file is that bcsim does not read, from its first bytes, or None if unknown.

    Example:
        >>> kind_of(b"PK\x03\x04 and so on")
        'a zip, as torch.save and numpy.savez write it'
    """
    if content[8:9] == b"{":  # safetensors: what stands before is a length
        return None
    return next((kind for start, kind in _KINDS if start.match(content)), None)


def check_text(name: str, value: Any, several_lines: bool = True) -> None:
    """Check that a text may be written to a file, and shown again.

    No-break spaces, soft hyphens and spaces without width are text like any other.

    Args:
        name: name of the text, for the message.
        value: text to check; nothing else is one.
        several_lines: whether there may be ends of lines and tabs in it.

    Raises:
        ValueError: if it holds control characters, bytes that are no UTF-8, or what turns the
            order of writing round.
    """
    check_value(isinstance(value, str), name, value, "text")
    kept = "\n\t" if several_lines else ""
    is_plain = all(c in kept or _is_plain(c) for c in value)
    check_value(is_plain, name, value, "text without control characters")


def plain(text: str) -> str:
    r"""Return a text with everything percent-encoded that `check_text` refuses on one line.

    Unlike `printable`, it keeps no-break spaces and the like: it is for files, not for terminals.

    Example:
        >>> plain("a\u00a0b"), plain("a\nb")
        ('a\xa0b', 'a%0Ab')
    """
    return "".join(c if _is_plain(c) else percent_encoded(c) for c in text)


def _is_plain(character: str) -> bool:
    return unicodedata.category(character) not in _UNFIT and ord(character) not in _TURNING


def shown(value: object) -> str:
    """Return a value for a message: on one line, without control characters, and not long."""
    return shortened(value) if isinstance(value, str) else shortened(repr(value))


def reason_of(error: BaseException) -> str:
    """Return the message of a library's or the system's error, as `shown` shows it."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
    return shortened(text or type(error).__name__)


def _unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in items:
        if key in content:
            raise ValueError(f"key {shown(key)!r} is there twice")
        content[key] = value
    return content


def _check_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a finite number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{shown(text)} is not a finite number")
    return value


def _check_depth(content: Any) -> None:
    level = [[content]]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
