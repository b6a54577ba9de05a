"""The sensor's own noise: of one recording, from the pauses of its speech, and over several."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from bcsim.dsp.activity import loud_power, speech_power_of
from bcsim.dsp.lazy_signal import Samples, of_frames
from bcsim.dsp.spectra import (
    density_to_power,
    fractional_octave_smooth,
    frame_power,
    median_to_mean,
    spectra_at,
)
from bcsim.fitting.pairs import AlignedPair, NoiseFloor

PAUSE_BELOW_DB = 45.0  # of the air level above 300 Hz, under its 98th percentile
# In a noisy room no frame is that quiet. There a pause is where the level stays for long at its
# lowest: speech, however faint, moves by more from one tenth of a second to the next.
STEADY_S = 0.4
STEADY_DB = 5.0  # range of the level of frames of 64 ms in steady noise
QUIET_BELOW_DB = 25.0  # of a pause at least; without any, what is so quiet will do
QUIETEST_PART = 0.25  # of the frames that will do
MIN_FRAMES = 6
MOST_FRAMES = 8192  # of pauses that are held at once; of more, evenly spread ones
_BLOCK = 1024  # frames that are transformed at a time
MEDIAN_OF_ONE_DEGREE = 0.454936  # of a chi-square variable with one degree of freedom
NOISE_SMOOTHING = 12  # parts of an octave
LEVEL_RANGE_DB = 60.0  # under the strongest bin: what is fainter is no part of the level
SILENT_PSD = 1e-20  # 1/Hz: what a floor of digital silence counts as


def estimate_noise_floor(
    air: Samples, signal: Samples, sample_rate: int, num_fft: int
) -> NoiseFloor:
    """Estimate the noise of a channel from frames in which the talker is silent.

    The median over frames ignores the odd click or breath. The power of Gaussian noise in a bin
    is exponentially distributed, whose median is ln 2 = 0.693 of its mean (less at the two ends
    of the spectrum, where the bin is real); the quotient brings the median back to the mean.

    Args:
        air: (T,), signal in which pauses are sought.
        signal: (T,), signal whose noise is estimated, aligned with air.
        sample_rate: in Hz.
        num_fft: frame length in samples; the hop is half of it.

    Returns:
        The noise floor. With fewer than 6 frames of pauses, the quietest quarter of those 25 dB
        under the 98th percentile has to do; without such frames the density is 0, for all that
        is recorded may be speech.
    """
    hop = num_fft // 2
    air_power = speech_power_of(air, sample_rate, num_fft, hop)
    # Frames of digital silence are padding, not a pause: no sensor is as quiet as that.
    recorded = of_frames(signal, num_fft, hop, lambda x: frame_power(x, num_fft, hop))[0] > 0
    loud = loud_power(air_power)
    chosen = (air_power <= loud * 10 ** (-PAUSE_BELOW_DB / 10)) & recorded
    if int(chosen.sum()) < MIN_FRAMES:
        chosen = _steady(air_power, recorded, float(loud), math.ceil(STEADY_S * sample_rate / hop))
    from_pauses = int(chosen.sum()) >= MIN_FRAMES
    if not from_pauses:
        quiet = (air_power <= loud * 10 ** (-QUIET_BELOW_DB / 10)) & recorded
        count = max(MIN_FRAMES, math.ceil(QUIETEST_PART * int(quiet.sum())))
        if int(quiet.sum()) < MIN_FRAMES:
            return NoiseFloor(signal[:0].new_zeros(num_fft // 2 + 1), 0.0, from_pauses=False)
        limit = air_power[quiet].sort().values[count - 1]
        chosen = quiet & (air_power <= limit)
    starts = torch.nonzero(chosen)[:, 0] * hop
    kept = starts[:: -(-len(starts) // MOST_FRAMES)]
    powers = signal[:0].new_empty(num_fft // 2 + 1, len(kept))  # a row a bin
    for part, columns in zip(kept.split(_BLOCK), powers.split(_BLOCK, dim=1), strict=True):
        columns.copy_(spectra_at(signal, part, num_fft).abs().square().T)
    medians = [torch.quantile(rows, 0.5, dim=1) for rows in powers.split(64)]
    power = torch.cat(medians) / median_to_mean(len(kept))
    power[[0, -1]] *= math.log(2) / MEDIAN_OF_ONE_DEGREE
    seconds = len(starts) * hop / sample_rate if from_pauses else 0.0
    return NoiseFloor(power / density_to_power(sample_rate, num_fft), seconds, from_pauses)


def _steady(air_power: Tensor, recorded: Tensor, loud: float, num_frames: int) -> Tensor:
    """Tell which frames lie in runs of `num_frames` or more where air stays at its lowest level.

    Args:
        air_power: (frames,), power of air above 300 Hz.
        recorded: (frames,) of bool, frames that are no digital silence.
        loud: power of loud frames.
        num_frames: least number of consecutive frames.
    """
    nothing = torch.zeros_like(recorded)
    if len(air_power) < num_frames:
        return nothing
    power = torch.where(recorded, air_power, torch.inf)
    runs = power.unfold(0, num_frames, 1)
    quietest = runs[runs.amax(dim=1).argmin()]
    top = float(quietest.min()) * 10 ** (STEADY_DB / 10)
    if not top <= loud * 10 ** (-QUIET_BELOW_DB / 10) or float(quietest.max()) > top:
        return nothing
    steady = pad((runs.amax(dim=1) <= top).to(power), (num_frames - 1, num_frames - 1))
    return steady.unfold(0, num_frames, 1).amax(dim=1) > 0


def pooled_noise(
    pairs: Sequence[AlignedPair], prior_psd: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], float]:
    """Return the typical noise PSD (F,) and the deviation of its level in dB.

    Noise levels lie tens of dB apart, so the typical floor is the mean in dB over recordings with
    pauses. Where none has any, the prior's floor stands; without a prior, recordings with quiet
    moments say that the floor is no higher than these, and it is taken to be the lower of that and
    of what is expected (`_expected_noise_psd`). Where nothing is quiet, nothing is known: 0.
    The prior is the noise PSD of another sensor of the kind.
    """
    known = [pair.noise for pair in pairs if bool((pair.noise.psd > 0).any())]
    paused = [noise for noise in known if noise.from_pauses]
    if not paused and prior_psd is not None and len(prior_psd) == len(pairs[0].noise.psd):
        return prior_psd, 0.0
    if not known:
        return np.zeros_like(pairs[0].noise.psd.numpy()), 0.0
    measured = [noise.psd for noise in paused or known]
    smooth = fractional_octave_smooth(torch.stack(measured), NOISE_SMOOTHING, min_bins=3)
    density_db = 10 * smooth.clamp(min=SILENT_PSD).log10()
    typical = (10 ** (density_db.mean(0) / 10)).numpy()
    if not paused:
        grid = np.linspace(0, pairs[0].sample_rate / 2, len(typical))
        return np.minimum(typical, _expected_noise_psd(grid)), 0.0
    # What is far below the strongest part is rounding, in files that were padded or resampled.
    least_db = density_db.amax(dim=1, keepdim=True) - LEVEL_RANGE_DB
    return typical, deviation(density_db.maximum(least_db).mean(dim=1).numpy())


def _expected_noise_psd(frequencies_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean noise floor of 31 throat microphone recordings, (F,), re active bone speech.

    -76 dB/Hz up to 315 Hz, falling to -96 dB/Hz at 4 kHz and above: about -45 dB in all.
    """
    octaves = np.log2(np.maximum(frequencies_hz, 1.0))
    return 10 ** (np.interp(octaves, np.log2([315.0, 4000.0]), [-76.0, -96.0]) / 10)


def with_noise(pair: AlignedPair, typical_psd: NDArray[np.float64]) -> AlignedPair:
    """Return the pair with the sensor's typical noise where nothing is known of its own."""
    if bool((pair.noise.psd > 0).any()):
        return pair
    return replace(pair, noise=replace(pair.noise, psd=torch.from_numpy(typical_psd)))


def deviation(values: NDArray[np.floating]) -> float:
    """Return the standard deviation of a sample; 0 of a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
