"""Memory that was freed, and that the C library would keep.

Arrays of up to 32 MB come from a heap that shrinks at its end only: small arrays that stay hold
what lies before them, 400 MB of it once an hour of recordings has been examined. Where the library
is not glibc, nothing happens.
"""

import ctypes

LARGE_BYTES = 1 << 22  # of an array with pages of its own; those of a training step are smaller
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def give_large_arrays_back() -> None:
    """Let the memory of every large array go back to the system when it is freed, from now on."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 4 * LARGE_BYTES)  # else each step would move the heap's end


def give_heap_back() -> None:
    """Give all whole pages of the heap that hold nothing back to the system, now."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
