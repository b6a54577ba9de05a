"""What must not vary from run to run: torch's own random numbers, and its order of summing."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bcsim.rng import MAX_SEED, stream


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: sums of floats depend on how they are split."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def torch_stream(
    seed: int, *names: str | int, device: torch.device | None = None
) -> Iterator[None]:
    """Let torch draw the numbers of `seed` and `names`, and leave its generators as they were.

    Args:
        seed: root seed of the run.
        names: names of what the numbers are for.
        device: CUDA device whose generator is seeded as well.

    Example:
        >>> with torch_stream(1, "weights"):
        ...     a = torch.rand(3)
        >>> with torch_stream(1, "weights"):
        ...     bool((torch.rand(3) == a).all())
        True
    """
    drawn = int(stream(seed, *names).integers(MAX_SEED))
    on_cuda = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        # Not torch.manual_seed, which would seed every device there is.
        torch.default_generator.manual_seed(drawn)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(drawn)
        yield
