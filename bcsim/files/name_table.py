"""Many names in little memory."""

from array import array
from collections.abc import Iterator

_LEAST = 64


class NameTable:
    """Names in the order in which they were added, each once.

    Each takes its bytes in UTF-8 and at most 28 more, an eighth of what a dict takes.

    Example:
        >>> names = NameTable()
        >>> [names.add(name) for name in ("a", "b", "a")], names.place("b"), names.place("c")
        ([0, 1, 0], 1, None)
    """

    def __init__(self) -> None:
        self._text = bytearray()
        self._ends = array("Q", [0])
        self._slots = array("I", bytes(4 * _LEAST))  # place and 1 of a name by its hash, or 0

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __contains__(self, name: str) -> bool:
        return self.place(name) is not None

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, place: int) -> str:
        return self._key(place).decode("utf-8", "surrogatepass")

    def place(self, name: str) -> int | None:
        """Return how many names were added before this one, or None if it was not."""
        found = self._slots[self._slot(name.encode("utf-8", "surrogatepass"))]
        return found - 1 if found else None

    def add(self, name: str) -> int:
        """Return the place of a name, which is added if it is not there."""
        key = name.encode("utf-8", "surrogatepass")
        slot = self._slot(key)
        if not self._slots[slot]:
            self._text += key
            self._ends.append(len(self._text))
            self._slots[slot] = len(self)
            if 2 * len(self) > len(self._slots):
                self._grow()
            return len(self) - 1
        return self._slots[slot] - 1

    def _key(self, place: int) -> bytes:
        return bytes(self._text[self._ends[place] : self._ends[place + 1]])

    def _slot(self, key: bytes) -> int:
        """Return where a name is, or would be."""
        last = len(self._slots) - 1
        slot = hash(key) & last  # salted: nobody can make names that collide
        while self._slots[slot] and self._key(self._slots[slot] - 1) != key:
            slot = (slot + 1) & last
        return slot

    def _grow(self) -> None:
        last = 2 * len(self._slots) - 1
        self._slots = array("I", bytes(4 * (last + 1)))
        for place in range(len(self)):
            slot = hash(self._key(place)) & last
            while self._slots[slot]:
                slot = (slot + 1) & last
            self._slots[slot] = place + 1
