"""Checks of the frames that spectral losses cut signals into."""

from torch import Tensor


def check_frames(fft_size: int, hop_size: int, win_length: int) -> None:
    """Refuse sizes that make no frames.

    Raises:
        ValueError: unless 0 < hop <= window <= fft size.
    """
    if not 0 < hop_size <= win_length <= fft_size:
        raise ValueError(
            f"fft size {fft_size}, hop {hop_size}, window {win_length}; "
            "it wants 0 < hop <= window <= fft size"
        )


def check_length(signal: Tensor, min_samples: int, fft_size: int) -> None:
    """Refuse a signal that cannot be reflected at its ends as far as its frames reach.

    Raises:
        ValueError: if it has fewer than `min_samples` samples.
    """
    if signal.shape[-1] < min_samples:
        raise ValueError(
            f"{signal.shape[-1]} samples are too few for an STFT of {fft_size}; "
            "use longer crops or a smaller fft size"
        )
