"""The sensor's own noise, from the pauses of the speech."""

import math

import torch
from torch import Tensor

from bcsim.dsp.activity import loud_power
from bcsim.dsp.spectra import frame_power, median_to_mean, stft, window_power
from bcsim.fitting.pairs import NoiseFloor

PAUSE_BELOW_DB = 45.0  # of the air level, under its 98th percentile
QUIET_BELOW_DB = 25.0  # what will do where no frame is that quiet
QUIETEST_PART = 0.25  # of the frames that will do
MIN_FRAMES = 6


def estimate_noise_floor(air: Tensor, signal: Tensor, sample_rate: int, num_fft: int) -> NoiseFloor:
    """Estimate the noise of a channel from frames in which the talker is silent.

    The median over frames ignores the odd click or breath. The power of Gaussian noise in a bin
    is exponentially distributed, whose median is ln 2 = 0.693 of its mean (less at the two ends
    of the spectrum, where the bin is real); the quotient brings the median back to the mean.

    Args:
        air: (T,), which decides where the pauses are: 45 dB under the 98th percentile.
        signal: (T,), whose noise is wanted; aligned with air.
        sample_rate: in Hz.
        num_fft: frame length; the hop is half of it.

    Returns:
        The noise floor. With fewer than 6 frames of pauses, the quietest quarter of those 25 dB
        under the 98th percentile has to do; without such frames the density is 0, for all that
        is recorded may be speech.
    """
    hop = num_fft // 2
    air_power = frame_power(air[None], num_fft, hop)[0]
    # Frames of digital silence are padding, not a pause: no sensor is as quiet as that.
    recorded = frame_power(signal[None], num_fft, hop)[0] > 0
    loud = loud_power(air_power)
    chosen = (air_power <= loud * 10 ** (-PAUSE_BELOW_DB / 10)) & recorded
    from_pauses = int(chosen.sum()) >= MIN_FRAMES
    if not from_pauses:
        quiet = (air_power <= loud * 10 ** (-QUIET_BELOW_DB / 10)) & recorded
        count = max(MIN_FRAMES, math.ceil(QUIETEST_PART * int(quiet.sum())))
        if int(quiet.sum()) < MIN_FRAMES:
            return NoiseFloor(signal.new_zeros(num_fft // 2 + 1), 0.0, from_pauses=False)
        limit = air_power[quiet].sort().values[count - 1]
        chosen = quiet & (air_power <= limit)
    frames = stft(signal[None], num_fft, hop)[0, chosen]
    power = torch.quantile(frames.abs().square(), 0.5, dim=0) / median_to_mean(len(frames))
    power[[0, -1]] *= math.log(2) / _MEDIAN_OF_ONE_DEGREE
    seconds = len(frames) * hop / sample_rate if from_pauses else 0.0
    return NoiseFloor(2 * power / (sample_rate * window_power(num_fft)), seconds, from_pauses)


_MEDIAN_OF_ONE_DEGREE = 0.454936  # of a chi-square variable with one degree of freedom
