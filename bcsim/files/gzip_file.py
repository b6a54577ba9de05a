"""Files that gzip packed, expanded as they are read, within bounds."""

import io
import zlib
from typing import Any, BinaryIO

from bcsim.errors import InputError

MAX_MEMBERS = 100_000  # parts, each packed by itself, of which an empty one takes 20 bytes
ERRORS = (OSError, EOFError, zlib.error)  # that reading a damaged file raises
_FORMAT = 16 + zlib.MAX_WBITS  # for zlib: gzip, and no other
_BLOCK_BYTES = 1 << 13  # read at a time; what is behind the end of a member is copied each time


def expanded(file: BinaryIO, name: object) -> io.BufferedReader:
    """Return a packed file as it reads expanded; it does not close the packed one.

    Args:
        file: packed file, open for reading at its beginning.
        name: name of the file, for messages.

    Raises:
        InputError: when it is read, if it has more than `MAX_MEMBERS` members.
    """
    return io.BufferedReader(_Members(file, name), 1 << 16)


class _Members(io.RawIOBase):
    """The members of a packed file, expanded one after the other."""

    def __init__(self, file: BinaryIO, name: object) -> None:
        self._file, self._name = file, name
        self._packed = b""  # what was read and not expanded yet
        self._member: Any = None  # None between two members
        self._num_members = 0
        self._position = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        content = b""
        while not content:
            self._packed = self._packed or self._file.read(_BLOCK_BYTES)
            is_end = not self._packed
            if self._member is None:
                if self._num_members:  # zeros may fill the rest of a block, as tapes have them
                    self._packed = self._packed.lstrip(b"\0")
                if is_end:
                    return 0
                if not self._packed:
                    continue
                self._begin()
            member: Any = self._member
            content = member.decompress(self._packed, len(buffer))
            if member.eof:
                self._packed, self._member = member.unused_data, None
            elif is_end and not content:
                raise EOFError("it ends in the middle")
            else:
                self._packed = member.unconsumed_tail
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def _begin(self) -> None:
        self._num_members += 1
        if self._num_members > MAX_MEMBERS:
            raise InputError(
                f"{self._name}: packed in more than {MAX_MEMBERS} parts; expand it, and pack it as "
                "a whole"
            )
        self._member = zlib.decompressobj(_FORMAT)
