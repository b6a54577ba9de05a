"""The headers of a tar file from a stranger, read in a time that grows with their length alone.

`tarfile` searches an extended header anew for every record, and takes minutes for 200 kB of it. It
also ends at a damaged header as if the file ended there. It still reads the fields of a header.
"""

import tarfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

MAX_HEADER_BYTES = 1 << 16  # of an extended header, which holds a name and a few facts
MAX_MEMBERS = 500_000
_BLOCK = tarfile.BLOCKSIZE
_PAX_TYPES = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
_MAX_DIGITS = 20  # of the length of a record
_EXTENDED, _MORE = 482, 504  # places of the flag that more of a sparse map follows

Read = Callable[[int, int], bytes]  # bytes from an offset on, at most so many


class Member(NamedTuple):
    """A regular file within a tar file: its name, and where its content lies.

    Args:
        name: name of the member, with forward slashes.
        offset: place of the content's first byte in the tar file.
        size: number of bytes of the content.
    """

    name: str
    offset: int
    size: int


def tar_members(read: Read, num_bytes: int) -> Iterator[Member]:
    """Yield the regular files of a tar file that is not packed, those with holes left out.

    Args:
        read: returns bytes of the file from an offset on, at most so many.
        num_bytes: size of the file.

    Raises:
        tarfile.TarError: if a header is damaged, too long, or tells of more than the file holds.
        ValueError: if a number in an extended header is none.
    """
    place = count = 0
    common: dict[str, str] = {}
    told: dict[str, str] = {}
    while (header := _next_header(read, place)) is not None:
        count += 1
        if count > MAX_MEMBERS:
            raise tarfile.ReadError(f"more than {MAX_MEMBERS} members; divide it")
        place += _BLOCK
        if header.type in _PAX_TYPES | {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}:
            content = _extended(read, place, header.size)
            if header.type == tarfile.XGLTYPE:
                common |= _pax_records(content)
            elif header.type in _PAX_TYPES:
                told |= _pax_records(content)
            elif header.type == tarfile.GNUTYPE_LONGNAME:
                told["path"] = content.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            place += _whole_blocks(header.size)
            continue
        facts, told = common | told, {}
        size = int(facts.get("size", header.size))
        has_content = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
        if header.type == tarfile.GNUTYPE_SPARSE:
            place = _behind_sparse_map(read, place)
        if not 0 <= size <= num_bytes - place and has_content:
            raise tarfile.ReadError(f"a member of {size} bytes where {num_bytes - place} are left")
        has_holes = header.issparse() or any(key.startswith("GNU.sparse") for key in facts)
        if header.isreg() and not has_holes:
            yield Member(facts.get("path", header.name), place, size)
        place += _whole_blocks(size) if has_content else 0


def _next_header(read: Read, place: int) -> tarfile.TarInfo | None:
    """Return the header at a place, or None at the end of the file."""
    block = read(place, _BLOCK)
    if not block and place:
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        if place and block.count(0) == _BLOCK:  # as an archive ends
            return None
        raise tarfile.ReadError(f"at byte {place}: {error}") from error


def _extended(read: Read, place: int, size: int) -> bytes:
    if not 0 <= size <= MAX_HEADER_BYTES:
        raise tarfile.ReadError(f"a header of {size} bytes; at most {MAX_HEADER_BYTES} are read")
    content = read(place, size)
    if len(content) < size:
        raise tarfile.ReadError("a header that is cut short")
    return content


def _pax_records(content: bytes) -> dict[str, str]:
    """Return the records `LENGTH KEY=VALUE` of an extended header, each looked at once."""
    records: dict[str, str] = {}
    place = 0
    while place < len(content) and content[place]:
        space = content.find(b" ", place, place + _MAX_DIGITS)
        digits = content[place:space]
        if space < 0 or not digits.isdigit():
            raise tarfile.ReadError("an extended header without the length of a record")
        end = place + int(digits)
        record = content[space + 1 : end]
        if end > len(content) or not record.endswith(b"\n"):
            raise tarfile.ReadError("an extended header with a record of another length")
        key, _, value = record[:-1].partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        place = end
    return records


def _behind_sparse_map(read: Read, place: int) -> int:
    """Return the place behind the blocks that go on with the map of a file with holes."""
    block, flag = read(place - _BLOCK, _BLOCK), _EXTENDED
    while len(block) == _BLOCK:
        if not block[flag]:
            return place
        block, flag, place = read(place, _BLOCK), _MORE, place + _BLOCK
    raise tarfile.ReadError("a map of holes that is cut short")


def _whole_blocks(num_bytes: int) -> int:
    return -(-num_bytes // _BLOCK) * _BLOCK
