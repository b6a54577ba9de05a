"""Recognition of recordings that are no pair: other speech, one channel twice, swapped roles."""

import itertools
import math

import torch
from torch import Tensor

from bcsim.dsp.activity import is_active, loud_power, speech_power_of
from bcsim.dsp.band_edge import BELOW, band_edge_hz
from bcsim.dsp.lazy_signal import LazySignal, Samples, mean, mean_square, part_of
from bcsim.dsp.spectra import CrossSpectra, cross_spectra, density_to_power, spectra_at
from bcsim.files.findings import Finding
from bcsim.fitting.alignment.consensus import advanced, peak_delay
from bcsim.fitting.alignment.envelopes import MAX_RATE
from bcsim.fitting.alignment.timing import Timing, synchronised_channels
from bcsim.fitting.alignment.tracking import coarse_lag
from bcsim.fitting.noise import estimate_noise_floor
from bcsim.fitting.pairs import frame_size
from bcsim.sensors.recorded_pair import RecordedPair

# Unrelated recordings. On 16 throat pairs the evidence is 17 or more and the likelihood rate 954
# or more a second; on all 240 wrong pairings of them they are 6.9 and 374 at most.
RELATED_EVIDENCE = 11.0
RELATED_RATE = 600.0
LARGEST_DRIFT = MAX_RATE + 0.001  # that clocks can have, and an error of the measurement
# Rates that recordings are made and saved at, and how exactly lengths tell that one is wrong.
USUAL_RATES_HZ = (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
SAME_RATIO = 0.001
HALVES_AGREE_S = 0.010
HALVES_EVIDENCE = 4.0
SILENT = 1e-5  # of a channel's own level: rounding, which the evidence takes for sound
STEADY_DB = 6.0  # a channel whose level moves no more holds no speech
# Swapped roles. Treble of bone less treble of air: -8.8 dB or less on 16 throat pairs.
TREBLE_HZ, BASS_HZ = (2200.0, 7000.0), (160.0, 900.0)
SWAPPED_DB = 3.0
STEADY_FRAMES = 2048  # at most, from which the steady noise of a band is taken
OVER_NOISE = 2.0  # of power, from which on treble of bone is that of speech
LOUD_DB = 15.0  # under the 98th percentile: frames of speech, even over rumble that is as loud
# Identical recordings. The gain of a throat microphone differs by 5 dB or more between the bands.
COPY_RANGE_HZ = (100.0, 7000.0)
STRONG_DB = 25.0  # under the strongest third-octave of air
COPY_DB = 1.0
COPY_COHERENCE = 0.8
COPY_AVERAGES = 80.0  # over the chance of coherence, from which on a copy shows in a band
COPY_PART = 0.5  # of the coherence that a noisy copy has in weak bands
TELEPHONE_HZ = 3400.0  # below it, a copy has all bands


def recognise(pair: RecordedPair, timing: Timing, sample_rate: int) -> Finding | None:
    """Return why recordings that passed `check_pair` are no pair, or None if they are one."""
    found = _unrelated(pair, timing, sample_rate)
    if found is not None:
        return found
    air, bone, _ = synchronised_channels(pair, timing)
    for role, part, whole in (("air", air, pair.air), ("bone", bone, pair.bone)):
        if _deviation(part) < SILENT * _deviation(LazySignal.of(whole)):
            text = f"{role} is silent wherever the other channel has sound"
            remedy = "check that the two files belong together"
            return Finding("silent", "unusable", text, remedy, role)
    spectra = _spectra(air, bone, sample_rate)
    return _copy(spectra, sample_rate) or _swapped(spectra, air, bone, sample_rate)


def _unrelated(pair: RecordedPair, timing: Timing, sample_rate: int) -> Finding | None:
    is_likely = timing.evidence > RELATED_EVIDENCE or timing.likelihood_rate > RELATED_RATE
    if is_likely and abs(timing.slope) < LARGEST_DRIFT:
        return None
    air, bone, _ = synchronised_channels(pair, timing)
    half = len(air) // 2
    lags = [
        coarse_lag(part_of(air, *part), part_of(bone, *part), sample_rate)[0]
        for part in ((0, half), (half, len(air)))
        if half > 0.5 * sample_rate
    ]
    near = HALVES_AGREE_S * sample_rate
    agree = timing.evidence > HALVES_EVIDENCE and all(abs(lag) < near for lag in lags)
    if agree and abs(timing.slope) < LARGEST_DRIFT:
        return None
    for role, samples in (("air", pair.air), ("bone", pair.bone)):
        if _level_range_db(LazySignal.of(samples), sample_rate) < STEADY_DB:
            text = f"{role} holds no speech, only noise of a steady level"
            remedy = "check the cable and the gain, and record it again"
            return Finding("silent", "unusable", text, remedy, role)
    return Finding(
        "unrelated",
        "unusable",
        "air and bone hold different speech: no lag explains one by the other "
        f"(evidence {timing.evidence:.1f}, related recordings exceed {RELATED_EVIDENCE:.0f})",
        _told_by_lengths(pair) or "check that the two files belong together",
    )


def _told_by_lengths(pair: RecordedPair) -> str | None:
    """Return what to do about a channel whose length tells that its rate is a wrong one, or None.

    Samples that were taken at one rate and saved at another last as much longer as that is lower.
    """
    ratio = len(pair.bone) / len(pair.air)
    if max(ratio, 1 / ratio) < 1 + MAX_RATE:
        return None
    for taken_hz, saved_hz in itertools.permutations(USUAL_RATES_HZ, 2):
        if abs(ratio * saved_hz / taken_hz - 1) < SAME_RATIO:
            return (
                f"bone lasts {ratio:.3f} times as long as air, as if {taken_hz} Hz had been saved "
                f"as {saved_hz} Hz, or the like: check the sample rates of the two files"
            )
    return None


def _deviation(signal: Samples) -> float:
    """Return the standard deviation of a signal (T,)."""
    return mean_square(signal, mean(signal)) ** 0.5


def _level_range_db(signal: Samples, sample_rate: int) -> float:
    size = frame_size(sample_rate)
    power = speech_power_of(signal, sample_rate, size, size // 2)
    low, high = torch.quantile(power, torch.tensor([0.05, 0.95], dtype=power.dtype)).tolist()
    return 10 * math.log10(high / low) if low > 0 else math.inf


def _spectra(air: Samples, bone: Samples, sample_rate: int) -> CrossSpectra:
    """Return the spectra of the frames in which either channel speaks.

    Either, so that nothing depends on which of them is called air.
    """
    num_fft = frame_size(sample_rate)
    hop = num_fft // 4
    powers = [speech_power_of(x, sample_rate, num_fft, hop) for x in (air, bone)]
    active = is_active(torch.stack(powers)).any(dim=0)
    return cross_spectra(air, bone, num_fft, hop, active)


def _thirds(band_hz: tuple[float, float], spectra: CrossSpectra, sample_rate: int) -> list[slice]:
    """Return the third-octaves of a band, as slices of bins."""
    per_hz = (len(spectra.xx) - 1) / (sample_rate / 2)
    high = min(band_hz[1], 0.44 * sample_rate)
    bands, low = [], band_hz[0]
    while low * 2 ** (1 / 3) <= high * 1.001:
        bands.append(slice(round(low * per_hz), round(low * 2 ** (1 / 3) * per_hz)))
        low *= 2 ** (1 / 3)
    return bands


def _copy(spectra: CrossSpectra, sample_rate: int) -> Finding | None:
    """Recognise a channel that is the other, whatever its gain, sign, delay and word length."""
    cross = torch.where(spectra.xx > 0, spectra.xy, 0.0)
    shifts_s = [peak_delay(sign * cross, sample_rate, 0.003)[0] for sign in (1, -1)]
    bands = _thirds(COPY_RANGE_HZ, spectra, sample_rate)
    power = torch.stack([spectra.xx[band].mean() for band in bands])
    strong = power > 10 ** (-STRONG_DB / 10) * power.max()
    xx, yy = (
        torch.stack([values[band].sum() for band in bands]) for values in (spectra.xx, spectra.yy)
    )
    bins = torch.tensor([band.stop - band.start for band in bands])
    per_hz = (len(spectra.xx) - 1) / (sample_rate / 2)
    is_low = torch.tensor([band.stop <= TELEPHONE_HZ * per_hz for band in bands])
    best_db = math.inf
    for shift_s in shifts_s:
        turned = advanced(spectra, shift_s, 1, sample_rate)
        cross = torch.stack([turned.xy[band].sum() for band in bands])
        coherence = cross.abs().square() / (xx * yy).clamp(min=1e-300)
        gain_db = 20 * (cross.abs() / xx.clamp(min=1e-300)).clamp(min=1e-30).log10()
        if not bool((coherence[strong] > COPY_COHERENCE).all()) or int(strong.sum()) <= 3:
            continue
        # Speech may be strong in the bass alone, which some sensors pass evenly. Weak bands of a
        # copy have its gain, too, under whatever noise; those of a sensor are missing.
        gain = cross[strong].abs().sum() / xx[strong].sum()
        of_copy = gain.square() * xx / yy.clamp(min=1e-300)  # its coherence, in noise
        would_show = is_low & (of_copy > COPY_AVERAGES / (spectra.num_averages * bins))
        if not bool((would_show & (coherence < COPY_PART * of_copy)).any()):
            best_db = min(best_db, float(gain_db[strong].std()))
    if best_db > COPY_DB:
        return None
    return Finding(
        "identical",
        "unusable",
        "air and bone are the same recording: one is the other times a constant, "
        f"to within {best_db:.2f} dB at all frequencies",
        "check the files: one of the channels was saved twice",
    )


def _swapped(
    spectra: CrossSpectra, air: Samples, bone: Samples, sample_rate: int
) -> Finding | None:
    """Recognise swapped roles: the body passes less treble than air does."""
    num_fft = frame_size(sample_rate)
    # Treble that one channel lacks since it was once at a lower rate tells nothing of its role.
    edges_hz = [band_edge_hz(power, sample_rate) for power in (spectra.xx, spectra.yy)]
    whole_hz = [BELOW[1] * edge_hz for edge_hz in edges_hz if edge_hz is not None]
    top_hz = min([TREBLE_HZ[1], *whole_hz])
    ranges = ((TREBLE_HZ[0], top_hz), BASS_HZ)
    if top_hz < TREBLE_HZ[0] * 2 ** (2 / 3):  # a single third-octave may be one of a talker's
        return None
    # The channel with less noise tells where the pauses of both are, whichever it is called.
    clearer = max((air, bone), key=lambda channel: _level_range_db(channel, sample_rate))
    hop = max(num_fft // 2, len(air) // STEADY_FRAMES)
    powers = torch.stack([speech_power_of(x, sample_rate, num_fft, hop) for x in (air, bone)])
    loud = (powers > loud_power(powers) * 10 ** (-LOUD_DB / 10)).any(dim=0)
    tilts_db = []
    for power, channel in ((spectra.xx, air), (spectra.yy, bone)):
        noise = estimate_noise_floor(clearer, channel, sample_rate, num_fft).psd
        noise = noise * density_to_power(sample_rate, num_fft)
        tilt = 0.0
        for band_hz, sign in zip(ranges, (1, -1), strict=True):
            bands = _thirds(band_hz, spectra, sample_rate)
            total, known = (
                torch.stack([values[band].mean() for band in bands]) for values in (power, noise)
            )
            # Where nobody pauses, or pauses were muted, what never falls below some power in
            # speech is noise as well.
            known = torch.maximum(known, _least_power(channel, loud, num_fft, bands))
            # Treble that is barely above the sensor's noise is no treble of its speech.
            least = OVER_NOISE if channel is bone and sign > 0 else 1.0
            speech = torch.where(total > least * known, total - known, 0.0).maximum(0.05 * total)
            tilt += sign * float(speech.clamp(min=1e-30).log10().mean())
        tilts_db.append(10 * tilt)
    excess_db = tilts_db[1] - tilts_db[0]
    if not excess_db > SWAPPED_DB:
        return None
    return Finding(
        "swapped",
        "unusable",
        f"bone has {excess_db:.1f} dB more treble relative to its bass than air has, "
        "where a body-conduction sensor has less: the roles are swapped",
        "exchange the two recordings",
    )


def _least_power(channel: Samples, loud: Tensor, num_fft: int, bands: list[slice]) -> Tensor:
    """Return the power that each band of bins has in all but a tenth of the loud frames.

    Args:
        channel: (T,), signal of the channel.
        loud: (frames,) of bool, frames of `num_fft` samples with loud speech of either channel.
        num_fft: frame length in samples.
        bands: bands, as slices of bins.
    """
    hop = max(num_fft // 2, len(channel) // STEADY_FRAMES)
    power = spectra_at(channel, torch.nonzero(loud)[:, 0] * hop, num_fft).abs().square()
    by_band = torch.stack([power[:, band].mean(dim=1) for band in bands])
    return torch.quantile(by_band, 0.1, dim=1)
