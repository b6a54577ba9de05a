"""Errors of the level, band by band: where in frequency a simulation goes wrong."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bcsim.metrics.comparison import Comparison
from bcsim.metrics.ltas import CENTRES_HZ


@dataclass(frozen=True, eq=False)
class BandErrors:
    """Errors of the levels of third-octaves over active frames, NaN where there is no signal.

    Args:
        centres_hz: (B,), 99 to 6350 Hz.
        bias_db: (B,), mean of the estimate's level less the real one's.
        rms_db: (B,), root of the mean square of that difference; bias included.
    """

    centres_hz: Tensor
    bias_db: Tensor
    rms_db: Tensor


def band_errors(pair: Comparison) -> BandErrors:
    """Compare the levels of 19 third-octaves, frame by frame.

    Levels are floored 80 dB under the real signal's loudest band and frame, as in the other
    distances, so that digital silence counts as faint rather than as infinitely far off.
    """
    centres = torch.tensor(CENTRES_HZ, dtype=torch.float64)
    nothing = torch.full_like(centres, torch.nan)
    if pair.is_void:
        return BandErrors(centres, nothing, nothing)
    frequencies = pair.frequencies_hz
    edges = 2 ** (1 / 6)
    inside = (frequencies >= centres[:, None] / edges) & (frequencies < centres[:, None] * edges)
    estimate, real = (power[pair.active] @ inside.double().T for power in pair.powers)
    floor = max(float(real.max()) * 1e-8, torch.finfo(torch.float64).tiny)
    error_db = 10 * (estimate.clamp(min=floor) / real.clamp(min=floor)).log10()
    known = centres * edges <= pair.top_hz
    return BandErrors(
        centres,
        torch.where(known, error_db.mean(dim=0), nothing),
        torch.where(known, error_db.square().mean(dim=0).sqrt(), nothing),
    )
