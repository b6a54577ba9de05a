"""Mutations that know what a file is made of: blocks, lengths, numbers, JSON, packed streams.

Flipped bits seldom get past a check sum or a parser; these do.
"""

import gzip
import io
import json
import re
import struct
import tarfile
from collections.abc import Callable
from typing import Any

import numpy as np

Random = np.random.Generator
_LONGEST = 4 << 20  # bytes of a mutant that is grown
_LENGTHS = (0, 1, 2**15 - 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 9, 2**32 - 1)
_NUMBERS = (
    b"0", b"-1", b"-0", b"1e308", b"-1e308", b"1e-320", b"1e999", b"NaN", b".nan", b"-.inf",
    b"0x7f",
    b"9007199254740993", b"1" + 30 * b"0", b"1" + 5000 * b"0", b"0.5", b"true", b"null", b'"1"',
)  # fmt: skip
_VALUES = (
    None, True, False, 0, -1, 0.5, 1e308, 5e-324, 2**53 + 1, -(2**63), 10**30, float("nan"),
    float("inf"), "", "x", "\0", "\ud800", "../../x", "/dev/zero", "1", "x" * 70_000, [], {}, [[]],
    [None], [0] * 5000, {"": None}, {"x": 1},
)  # fmt: skip
_ENDS = (b"\r", b"\0", b"\xff", b"\xc2\x85", b"\xef\xbb\xbf", b" ")
_MEMBERS = ("/etc/x", "../x.air.flac", "k.air.flac/x", "k", ".air.flac", "k." * 2000, "K.json")
_TYPES = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, b"S", b"V")
_NUMBER = re.compile(rb"(?<![\w.])-?\d+(\.\d+)?([eE][+-]?\d+)?(?![\w.])")


def restructure(content: bytes, other: bytes, rng: Random) -> bytes:
    """Return a file with one part of its structure changed.

    Args:
        content: the file.
        other: another file, to splice with.
        rng: decides what is changed.
    """
    mutant = _CHANGES[int(rng.integers(len(_CHANGES)))](content, other, rng)
    return mutant[:_LONGEST]


def _cut(content: bytes, rng: Random) -> tuple[bytes, bytes, bytes]:
    """Return what is before, in and after some block."""
    first, end = sorted(int(place) for place in rng.integers(len(content) + 1, size=2))
    return content[:first], content[first:end], content[end:]


def _repeated(content: bytes, _other: bytes, rng: Random) -> bytes:
    before, block, after = _cut(content, rng)
    times = int(rng.choice([2, 3, 100, 10_000]))
    return before + block * min(times, _LONGEST // (len(block) + 1) + 1) + after


def _swapped(content: bytes, _other: bytes, rng: Random) -> bytes:
    places = sorted(int(place) for place in rng.integers(len(content) + 1, size=4))
    a, b, c, d = places
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def _spliced(content: bytes, other: bytes, rng: Random) -> bytes:
    before, _, _ = _cut(content, rng)
    _, block, after = _cut(other, rng)
    return [before + after, content + other, before + block + content[len(before) :]][
        int(rng.integers(3))
    ]


def _other_length(content: bytes, other: bytes, rng: Random) -> bytes:
    """Change what may well be a length or a count: a small number in four or eight bytes."""
    places: list[tuple[int, str]] = []
    for form in ("<I", ">I", "<Q", "<H"):
        size = struct.calcsize(form)
        for place in range(0, min(len(content), 4096) - size + 1, 2):
            (value,) = struct.unpack_from(form, content, place)
            if 0 < value <= 4 * len(content):
                places.append((place, form))
    if not places:
        return _swapped(content, other, rng)
    place, form = places[int(rng.integers(len(places)))]
    size = struct.calcsize(form)
    (value,) = struct.unpack_from(form, content, place)
    near = (value - 1, value + 1, 2 * value, 0)
    told = [*_LENGTHS, *near][int(rng.integers(len(_LENGTHS) + len(near)))] & (1 << 8 * size) - 1
    return content[:place] + struct.pack(form, told) + content[place + size :]


def _other_number(content: bytes, other: bytes, rng: Random) -> bytes:
    found = list(_NUMBER.finditer(content[:65_536]))
    if not found:
        return _other_length(content, other, rng)
    match = found[int(rng.integers(len(found)))]
    number = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
    return content[: match.start()] + number + content[match.end() :]


def _other_lines(content: bytes, other: bytes, rng: Random) -> bytes:
    lines = content.split(b"\n")
    first, second = (int(place) for place in rng.integers(len(lines), size=2))
    turn = int(rng.integers(6))
    if turn == 0:
        lines[first:first] = [lines[second]] * int(rng.choice([1, 100, 20_000]))
    elif turn == 1:
        lines[first], lines[second] = lines[second], lines[first]
    elif turn == 2:
        lines[first] = lines[first] * int(rng.choice([2, 1000]))
    elif turn == 3:
        lines[first] += _ENDS[int(rng.integers(len(_ENDS)))]
    elif turn == 4:
        lines[first] = b" " * int(rng.integers(1, 9)) + lines[first]
    else:
        lines[first] = other.split(b"\n")[0][:5000]
    return b"\n".join(lines)[:_LONGEST]


def _other_json(content: bytes, other: bytes, rng: Random) -> bytes:
    """Change a value, its type, a key or the depth of JSON, of one line of it or of a header."""
    size = int.from_bytes(content[:8], "little")
    if content[8:9] == b"{" and size <= len(content) - 8:  # safetensors
        header = _changed(content[8 : 8 + size], rng)
        if header is not None:
            return len(header).to_bytes(8, "little") + header + content[8 + size :]
    whole = _changed(content, rng)
    if whole is not None:
        return whole
    lines = content.split(b"\n")
    place = int(rng.integers(len(lines)))
    line = _changed(lines[place], rng)
    if line is None:
        return _other_number(content, other, rng)
    return b"\n".join([*lines[:place], line, *lines[place + 1 :]])


def _changed(text: bytes, rng: Random) -> bytes | None:
    """Return JSON with a place changed, or None for what is no object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    places = list(_places(found))
    texts = [place for place in places if _is_json(place[0][place[1]])]
    if texts and rng.integers(3):  # JSON within a string of JSON, such as a profile's facts
        holder, key = texts[int(rng.integers(len(texts)))]
        said = _changed(holder[key].encode(), rng)
        holder[key] = said and said.decode()
    elif places:
        holder, key = places[int(rng.integers(len(places)))]
        return _with_other_value(found, holder, key, rng)
    return json.dumps(found).encode()


def _with_other_value(found: Any, holder: Any, key: Any, rng: Random) -> bytes:
    """Return JSON with the value, the key or the depth of one place changed."""
    turn = int(rng.integers(6))
    if turn == 0:
        del holder[key]
    elif turn == 1 and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    elif turn == 2:
        holder[key] = [holder[key]]
    elif turn == 3:
        depth = int(rng.choice([10, 200, 100_000]))
        holder[key] = "the depth"
        return json.dumps(found).replace('"the depth"', "[" * depth + "]" * depth).encode()
    elif turn == 4:
        said = json.dumps(found)
        return f"{said[:-1]}, {said[1:]}".encode()  # every key twice
    else:
        holder[key] = _VALUES[int(rng.integers(len(_VALUES)))]
    return json.dumps(found).encode()


def _is_json(value: object) -> bool:
    return isinstance(value, str) and value.startswith("{")


def _places(found: Any) -> Any:
    """Yield every object or list with each of its keys."""
    if isinstance(found, dict | list):
        keys = list(found) if isinstance(found, dict) else range(min(len(found), 50))
        for key in keys:
            yield found, key
            yield from _places(found[key])


def _repacked(content: bytes, other: bytes, rng: Random) -> bytes:
    """Change what a gzip stream holds, or its members, or where it ends."""
    if content[:2] != b"\x1f\x8b":
        return _other_member(content, other, rng)
    held = gzip.decompress(content)
    turn = int(rng.integers(6))
    if turn == 0:
        return gzip.compress(restructure(held, other, rng), mtime=0)
    if turn == 1:
        return content + content[: int(rng.integers(len(content)))]  # a second member, cut off
    if turn == 2:
        return gzip.compress(content, mtime=0)
    if turn == 3:
        return content + bytes(int(rng.integers(1, 100_000)))
    if turn == 4:
        return gzip.compress(held + b"\n" * (64 << 20), mtime=0)  # a bomb
    return content[:-8] + bytes(rng.integers(256, size=8, dtype=np.uint8))  # another CRC and size


def _other_member(content: bytes, other: bytes, rng: Random) -> bytes:
    """Change what a tar holds; its check sums are right."""
    if content[257:262] != b"ustar":
        return _other_json(content, other, rng)
    written = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(content)) as tar,
        tarfile.open(fileobj=written, mode="w", format=tar.format) as out,
    ):
        members = [(member, tar.extractfile(member)) for member in tar]
        told = [(member, file.read() if file else b"") for member, file in members]
        place = int(rng.integers(len(told)))
        member, held = told[place]
        turn = int(rng.integers(6))
        if turn == 0:
            held = restructure(held, other, rng)
        elif turn == 1:
            member.name = _MEMBERS[int(rng.integers(len(_MEMBERS)))]
        elif turn == 2:
            member.type = _TYPES[int(rng.integers(len(_TYPES)))]
            member.linkname = "k.bone.flac"
        elif turn == 3:
            told *= int(rng.choice([2, 2000 if len(held) < 9999 else 20]))
        elif turn == 4:
            member.pax_headers = {"path": "k.air.flac", "size": str(2 ** int(rng.integers(1, 70)))}
        else:
            told.reverse()
        member.size = len(held)
        told[place] = member, held
        for each, content_of in told:
            out.addfile(each, io.BytesIO(content_of))
    return written.getvalue()


_CHANGES: tuple[Callable[[bytes, bytes, Random], bytes], ...] = (
    _repeated, _swapped, _spliced, _other_length, _other_length, _other_number, _other_number,
    _other_lines, _other_json, _other_json, _other_json, _repacked, _repacked, _other_member,
)  # fmt: skip
