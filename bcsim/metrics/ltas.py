"""Distance of the long-term average spectra."""

import math
from functools import partial

import torch
from torch import Tensor

from bcsim.dsp.spectra import frame_power, stft
from bcsim.metrics import METRICS
from bcsim.metrics.base import Metric
from bcsim.metrics.comparison import FLOOR_DB, SAMPLE_RATE, Comparison

NUM_FFT, HOP = 1024, 256
CENTRES_HZ = [1000 * 2 ** (k / 3) for k in range(-10, 9)]  # 99 to 6350 Hz


@METRICS.register("ltas")
@partial(
    Metric,
    label="LTAS",
    better="lower",
    worst=FLOOR_DB,
    unit="dB",
    note="long-term spectrum, rms over third-octaves",
    headline="LTAS",
    simulation=8,
)
def ltas(pair: Comparison) -> float:
    """Return the rms difference of the long-term spectra over 19 third-octaves, in dB.

    The power of active frames in the bands from 99 to 6350 Hz; a frame of 1024 samples is active
    where one of the frames of 512 within it is.
    """
    if len(pair.real) < NUM_FFT:
        return math.nan
    centres = [hz for hz in CENTRES_HZ if hz * 2 ** (1 / 6) <= pair.top_hz]
    estimate, real = (
        _band_levels_db(signal, pair.active, centres) for signal in (pair.estimate, pair.real)
    )
    floor = float(real.max()) - FLOOR_DB
    difference = estimate.clamp(min=floor) - real.clamp(min=floor)
    return float(difference.square().mean().sqrt())


def _band_levels_db(signal: Tensor, active: Tensor, centres: list[float]) -> Tensor:
    num_frames = frame_power(signal[None], NUM_FFT, HOP).shape[1]
    # Frame t of 1024 samples holds the frames t, t + 1 and t + 2 of 512 samples.
    within = torch.stack([active[k : k + num_frames] for k in range(3)]).any(dim=0)
    density = stft(signal[None], NUM_FFT, HOP)[0, within].abs().square().mean(dim=0)
    frequencies = torch.linspace(0, SAMPLE_RATE / 2, len(density), dtype=torch.float64)
    bands = [
        density[(frequencies >= hz * 2 ** (-1 / 6)) & (frequencies < hz * 2 ** (1 / 6))].sum()
        for hz in centres
    ]
    return 10 * torch.stack(bands).clamp(min=1e-300).log10()
