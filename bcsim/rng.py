"""Randomness by name: the one place where generators are made.

What an item draws depends on the root seed and on the names it is asked for under, never on the
batch, the worker, the order or what else was drawn before. Philox is counter-based and gives the
same numbers on every machine; the key is a hash of the names, so streams are independent.
"""

import hashlib
from numbers import Integral

import numpy as np

from bcsim.errors import UsageError

MAX_SEED = 2**53  # a drawn seed has to survive JSON, whose integers are exact up to here


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the generator that belongs to `seed` and `names`.

    Raises:
        UsageError: if the seed is no whole number.

    Example:
        >>> a = stream(1, "speaker/clip", "gain").uniform()
        >>> a == stream(1, "speaker/clip", "gain").uniform()
        True
        >>> a == stream(1, "speaker/clip", "noise").uniform()
        False
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise UsageError(f"seed is {seed!r}; it wants a whole number")
    # The unit separator cannot be mistaken for part of a name's repr: ("a", "b") is not ("ab",).
    text = "\x1f".join([repr(int(seed)), *(repr(name) for name in names)])
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
