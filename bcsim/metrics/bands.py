"""Errors of the level, band by band: where in frequency a simulation goes wrong."""

import torch
from torch import Tensor

from bcsim.metrics.comparison import Comparison
from bcsim.metrics.ltas import CENTRES_HZ


def band_errors(pair: Comparison) -> tuple[Tensor, Tensor]:
    """Compare the levels of the third-octaves at `CENTRES_HZ`, active frame by active frame.

    Levels are floored 80 dB under the real signal's loudest band and frame, as in the other
    distances, so that digital silence counts as faint rather than as infinitely far off.

    Returns:
        Mean of the estimate's level less the real one's, (19,), and root of the mean square of
        that difference, bias included, (19,), both in dB and NaN where there is no signal.
    """
    centres = torch.tensor(CENTRES_HZ, dtype=torch.float64)
    nothing = torch.full_like(centres, torch.nan)
    if pair.is_void:
        return nothing, nothing
    frequencies = pair.frequencies_hz
    edges = 2 ** (1 / 6)
    inside = (frequencies >= centres[:, None] / edges) & (frequencies < centres[:, None] * edges)
    estimate, real = (power[pair.active] @ inside.double().T for power in pair.powers)
    floor = max(float(real.max()) * 1e-8, torch.finfo(torch.float64).tiny)
    error_db = 10 * (estimate.clamp(min=floor) / real.clamp(min=floor)).log10()
    known = centres * edges <= pair.top_hz
    bias_db, rms_db = error_db.mean(dim=0), error_db.square().mean(dim=0).sqrt()
    return torch.where(known, bias_db, nothing), torch.where(known, rms_db, nothing)
