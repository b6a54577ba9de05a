"""Mean magnitude ratio over the frames where both channels carry speech."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bcsim.dsp.spectra import fill_gaps, spectra_at
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.fitting.estimators.base import (
    Average,
    Estimator,
    check_average,
    pool,
    transfer_function,
    with_phase_of,
)  # fmt: skip
from bcsim.fitting.pairs import AlignedPair
from bcsim.sensors.transfer_function import TransferFunction


@ESTIMATORS.register("frequency-response-curve")
@dataclass(frozen=True)
class FrequencyResponseCurve(Estimator):
    r"""Mean of :math:`|Y|/|X|` over the time-frequency points where both are loud.

    "Loud" is above Otsu's threshold of the channel's level in dB, as for VibVoice (He et al. 2023,
    doi 10.1145/3581791.3596832). Bins that are never selected take the curve of their neighbours.
    Phase is that of H1. The mean of a ratio overshoots the ratio of means.

    Args:
        average: average of the ratios; their median overshoots less, and ignores clicks.
    """

    average: Average = "mean"

    def __post_init__(self) -> None:
        check_average(self.average)

    def estimate(self, pairs: Sequence[AlignedPair]) -> TransferFunction:
        parts = [loud_ratios(pair) for pair in pairs]
        count = torch.stack([(~part.isnan()).sum(dim=0) for part in parts]).sum(dim=0)
        if self.average == "median":
            curve = torch.cat(parts).nanmedian(dim=0).values
        else:
            curve = torch.stack([part.nansum(dim=0) for part in parts]).sum(dim=0) / count
        spectra, _ = pool(pairs)
        curve = fill_gaps(curve.nan_to_num(), count > 0)
        return transfer_function(pairs, with_phase_of(curve, spectra.xy), spectra)


def loud_ratios(pair: AlignedPair) -> Tensor:
    """Return |Y|/|X| of the active frames, (frames, F); NaN where either channel is quiet."""
    air, bone = (
        spectra_at(x, torch.nonzero(pair.active)[:, 0] * (pair.num_fft // 4), pair.num_fft).abs()
        for x in (pair.air, pair.bone)
    )
    both = (air > loudness_threshold(air)) & (bone > loudness_threshold(bone))
    return torch.where(both, bone / torch.where(both, air, 1.0), torch.nan)


def loudness_threshold(magnitude: Tensor) -> float:
    """Return the magnitude that separates loud from quiet: Otsu's threshold of the level in dB.

    Otsu's method (1979, doi 10.1109/TSMC.1979.4310076) takes the threshold that leaves the
    greatest variance between the two classes. Levels are counted in 256 steps from 100 dB below
    the maximum.
    """
    top = float(magnitude.max())
    if top <= 0:
        return 0.0
    level_db = 20 * torch.log10((magnitude / top).clamp(min=1e-5))
    steps = 256
    counts = torch.histc(level_db, steps, min=-100, max=0)
    centres = torch.linspace(-100, 0, steps + 1, dtype=counts.dtype)
    centres = (centres[1:] + centres[:-1]) / 2
    below = counts.cumsum(0)
    above = below[-1] - below
    sums = (counts * centres).cumsum(0)
    mean_below = sums / below.clamp(min=1)
    mean_above = (sums[-1] - sums) / above.clamp(min=1)
    between = below * above * (mean_above - mean_below).square()
    step = int(between.argmax())
    return top * 10 ** ((-100 + (step + 1) * 100 / steps) / 20)
