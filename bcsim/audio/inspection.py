"""The inspection of one recording: what its author may not know, and training would suffer from.

A new finding of a recording is a function in `HEADER_CHECKS` or `SAMPLE_CHECKS`; every command that
reads recordings shows it. What is `unusable` is refused wherever a recording is read
(`bcsim.audio.read.AudioFile`).
"""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from bcsim.audio.validation.base import AudioInfo
from bcsim.dsp.lazy_signal import BLOCK
from bcsim.files.findings import Finding

FLAT_TOP = 1e-3  # of half the range: samples so close to the peak count as at it
# Of the samples at the peak, 16 throat pairs and 60 airborne utterances have 0.004 % at most.
CLIPPED_SHARE = 3e-4
# Eight bits have few values near the peak, of a logarithmic code steps of 1/32 of the value.
CLIPPED_SHARE_OF_COARSE = 1e-2
LEAST_FLAT = 5  # samples: a short recording has some there by chance
DC_SHARE = 0.1  # of the standard deviation
DC_LEAST = 1e-3
LEAST_STEPS = 104.0  # at the peak: -50 dBFS in 16 bits
SHORT_S = 0.3  # a syllable
# The burst of a plosive with its vowel takes about as long; no frame that is analysed is shorter.
SHORTEST_S = 0.05
LEAST_RATE_HZ = 16_000
# Telephone speech has 8 kHz and accelerometers 6.6 kHz; below 3 kHz of band, vowels are not told.
LOWEST_RATE_HZ = 6_000
STILL = 2.0**-31  # of full scale: a step of 32 bits, within which all samples of silence lie
BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
EXACT_BITS = 24  # that floating point holds, and the least that lossy codecs are taken for: 16
_COARSE = ("ULAW", "ALAW", "PCM_S8", "PCM_U8")
_LOSSLESS = ("PCM_", "FLOAT", "DOUBLE", "ALAC_")
_CONVERTED = "nothing brings back what is lost; take the original recording where there is one"


class Levels:
    """Peak, offset and flat tops of a recording that is added block by block.

    Attributes:
        count: number of samples.
        high: highest sample.
        low: lowest sample.
    """

    def __init__(self) -> None:
        self.count = 0
        self.high, self.low = -math.inf, math.inf
        self._num_high = self._num_low = 0
        self._sum = self._squares = 0.0

    def add(self, block: NDArray[np.floating]) -> None:
        """Add samples (T,), the next of the recording."""
        if not len(block):
            return
        high, low = float(block.max()), float(block.min())
        near = FLAT_TOP * (max(high, self.high) - min(low, self.low)) / 2
        if high >= self.high - near:
            if high > self.high + near:
                self._num_high = 0
            self.high = max(high, self.high)
            self._num_high += int(np.count_nonzero(block >= self.high - near))
        if low <= self.low + near:
            if low < self.low - near:
                self._num_low = 0
            self.low = min(low, self.low)
            self._num_low += int(np.count_nonzero(block <= self.low + near))
        self.count += len(block)
        self._sum += float(block.sum(dtype=np.float64))
        self._squares += float(np.dot(block, block))

    @property
    def peak(self) -> float:
        """The largest magnitude."""
        return max(self.high, -self.low)

    @property
    def clipped_share(self) -> float:
        """The share of samples at the highest or lowest value, without one of each; 0 of a few."""
        flat = self._num_high + self._num_low - 2
        return flat / self.count if flat >= LEAST_FLAT else 0.0

    @property
    def dc_offset(self) -> float:
        """The mean of the samples if it is worth mentioning, else 0."""
        mean = self._sum / max(self.count, 1)
        deviation = max(self._squares / max(self.count, 1) - mean * mean, 0.0) ** 0.5
        return mean if abs(mean) > max(DC_LEAST, DC_SHARE * deviation) else 0.0


def levels_of(samples: NDArray[np.floating]) -> Levels:
    """Return the levels of a recording (T,) that is in memory.

    Full scale is not needed to see clipping: what was clipped and then turned down has flat tops
    too. But the samples must be at the rate at which they were recorded: a resampler rounds the
    tops off.

    Example:
        >>> levels_of(np.clip(np.sin(np.arange(10_000.0)), -0.9, 0.9)).clipped_share > 0.2
        True
        >>> levels_of(np.random.default_rng(1).standard_normal(10_000)).clipped_share < 3e-4
        True
    """
    levels = Levels()
    for start in range(0, len(samples), BLOCK):
        levels.add(samples[start : start + BLOCK])
    return levels


def inspect(levels: Levels, info: AudioInfo | None = None) -> tuple[Finding, ...]:
    """Return what is to be said about a recording.

    Args:
        levels: levels of all of its samples.
        info: facts of its header; None for samples that come from no file.
    """
    found = () if info is None else inspect_header(info)
    return (*found, *(finding for check in SAMPLE_CHECKS for finding in check(levels, info)))


def inspect_header(info: AudioInfo) -> tuple[Finding, ...]:
    """Return what is to be said about a recording by the facts of its header alone."""
    return tuple(finding for check in HEADER_CHECKS for finding in check(info))


def refusal_of(findings: Iterable[Finding]) -> str | None:
    """Return why a recording cannot be used, with the remedy; None where it can be."""
    for finding in findings:
        if finding.severity == "unusable":
            return f"{finding.text}; {finding.remedy}"
    return None


def _silent(levels: Levels, info: AudioInfo | None) -> Iterator[Finding]:
    if levels.count and levels.high - levels.low < STILL:
        text = "holds nothing but digital silence"
        if levels.peak >= STILL:
            text = f"stands still: every sample is {levels.high:.3g}"
        yield Finding("silent", "unusable", text, "leave it out, or record it again")


def _lossy(info: AudioInfo) -> Iterator[Finding]:
    if not info.codec.startswith(_LOSSLESS):
        text = f"is of a lossy codec ({info.codec})"
        yield Finding("lossy", "warning", text, _CONVERTED)


def _coarse(info: AudioInfo) -> Iterator[Finding]:
    if BITS.get(info.codec, 16) <= 8:
        text = f"has {BITS[info.codec]} bits, whose noise is heard"
        yield Finding("coarse", "warning", text, _CONVERTED)


def _narrow(info: AudioInfo) -> Iterator[Finding]:
    if info.sample_rate < LEAST_RATE_HZ:
        text = f"is at {info.sample_rate} Hz: it holds nothing above {info.sample_rate / 2:g} Hz"
        remedy = "record at 16 kHz or more"
        if info.sample_rate >= LOWEST_RATE_HZ:
            yield Finding("narrow", "warning", text, remedy)
        else:
            remedy = f"{remedy}, {LOWEST_RATE_HZ} Hz at the least"
            yield Finding("narrow", "unusable", text, remedy)


def _short(info: AudioInfo) -> Iterator[Finding]:
    if info.duration_s < SHORT_S:
        text = f"lasts {1e3 * info.duration_s:.4g} ms, less than a syllable"
        remedy = "leave it out, or join it with what comes next"
        if info.duration_s >= SHORTEST_S:
            yield Finding("short", "warning", text, remedy)
        else:
            text = f"lasts {1e3 * info.duration_s:.4g} ms, less than {1e3 * SHORTEST_S:g} ms"
            yield Finding("short", "unusable", text, remedy)


def _quiet(levels: Levels, info: AudioInfo | None) -> Iterator[Finding]:
    bits = EXACT_BITS if info is None else _bits_of(info.codec)
    if 0 < levels.peak * 2 ** (bits - 1) < LEAST_STEPS:
        text = (
            f"peaks at {20 * math.log10(levels.peak):.0f} dBFS, which is "
            f"{levels.peak * 2 ** (bits - 1):.2g} steps of {bits} bits"
        )
        yield Finding("quiet", "warning", text, "turn the gain up and record it again")


def _clipped(levels: Levels, info: AudioInfo | None) -> Iterator[Finding]:
    is_coarse = info is not None and info.codec in _COARSE
    least = CLIPPED_SHARE_OF_COARSE if is_coarse else CLIPPED_SHARE
    steps = LEAST_STEPS if info is None else levels.peak * 2 ** (_bits_of(info.codec) - 1)
    # Of a few steps, many samples are at the highest.
    if levels.clipped_share > least and steps >= LEAST_STEPS:
        share = f"{100 * levels.clipped_share:.2g} % of its samples lie at its peak"
        text = f"is clipped: {share} of {levels.peak:.3g}"
        yield Finding("clipping", "warning", text, "turn the gain down and record it again")


def _dc(levels: Levels, info: AudioInfo | None) -> Iterator[Finding]:
    if levels.dc_offset:
        text = f"has a DC offset of {levels.dc_offset:+.3f} of full scale"
        remedy = "a fit takes it out; elsewhere it stays: filter it out where that matters"
        yield Finding("dc", "warning", text, remedy)


def _bits_of(codec: str) -> int:
    """Return the bits of a codec's finest step; of coarse and lossy ones those they came from."""
    return EXACT_BITS if codec in ("FLOAT", "DOUBLE") else max(16, BITS.get(codec, 16))


HEADER_CHECKS: tuple[Callable[[AudioInfo], Iterator[Finding]], ...] = (
    *(_lossy, _coarse, _narrow, _short),
)
SAMPLE_CHECKS: tuple[Callable[[Levels, AudioInfo | None], Iterator[Finding]], ...] = (
    *(_silent, _quiet, _clipped, _dc),
)
