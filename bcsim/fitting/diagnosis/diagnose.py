"""What is wrong with pairs of recordings, before anything is fitted to them.

`examine` looks at one pair, `diagnose` also at how the pairs differ. `fit_pairs` leaves out the
pairs that `examine` finds unusable.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from bcsim.audio.inspection import inspect, levels_of
from bcsim.dsp.band_edge import recorded_band_hz
from bcsim.dsp.spectra import CrossSpectra, fractional_octave_smooth
from bcsim.files.findings import SEVERITIES, Finding
from bcsim.fitting.alignment.align import align
from bcsim.fitting.alignment.timing import Timing, measure_timing, synchronised_channels
from bcsim.fitting.diagnosis.defects import dropouts
from bcsim.fitting.diagnosis.recognition import recognise
from bcsim.fitting.pairs import AlignedPair, NoiseFloor, UnusablePair, check_pair
from bcsim.progress import track
from bcsim.sensors.recorded_pair import RecordedPair

MAX_DROPOUTS = 3  # that are named one by one, and so are jumps
DC_REMEDY = "nothing: it is taken out before fitting"
JUMP_REMEDY = "nothing: the parts between are joined; record with larger buffers"
OFFSET_S = 0.008  # of a single pair, a delay is known to some milliseconds
NOISY_DB = -12.0  # noise to speech; the worst of 16 throat pairs has -29
RUMBLE_HZ = 150.0
RUMBLE_DB = -20.0  # re speech, from which on rumble is mentioned
RUMBLE_OVER_REST = 4.0  # of the power of the noise above it
LOW_COHERENCE = 0.2  # in the best third-octave; the worst of 16 throat pairs has 0.35


@dataclass(frozen=True, eq=False)
class PairDiagnosis:
    """All that was noticed about one pair.

    Args:
        name: name of the pair.
        findings: findings, the most severe first.
        delay_s: delay of bone at the start of the pair; None, as the next two, if it is unusable.
        drift_ppm: growth of bone's delay, in microseconds a second.
        coherence: coherence of air and bone in the best third-octave.
    """

    name: str
    findings: tuple[Finding, ...]
    delay_s: float | None = None
    drift_ppm: float | None = None
    coherence: float | None = None

    @property
    def verdict(self) -> str:
        """Return `ok`, `warning` or `unusable`: the severest of the findings."""
        return self.findings[0].severity if self.findings else "ok"


@dataclass(frozen=True, eq=False)
class Examination:
    """What one pair says by itself: findings in no order, and how its recorders kept time."""

    findings: tuple[Finding, ...]
    timing: Timing | None  # None for a pair that did not pass `check_pair`

    @property
    def refusal(self) -> Finding | None:
        """Return the first finding that makes the pair unusable."""
        return next((f for f in self.findings if f.severity == "unusable"), None)


def diagnose(pairs: Sequence[RecordedPair], sample_rate: int) -> list[PairDiagnosis]:
    """Examine pairs of one sensor, each for itself and against the others.

    Args:
        pairs: pairs at one sample rate, best the one at which they were recorded.
        sample_rate: in Hz.

    Returns:
        One diagnosis a pair, in the order given.
    """
    examined = [examine(pair, sample_rate) for pair in track(pairs, len(pairs), "examining")]
    usable, timings = [], []
    for pair, result in zip(pairs, examined, strict=True):
        if result.timing is not None and result.refusal is None:
            usable.append(pair)
            timings.append(result.timing)
    aligned = iter(align(usable, sample_rate, timings)[0] if usable else [])
    return [
        PairDiagnosis(pair.name, result.findings)
        if result.refusal is not None
        else diagnosis_of(result.findings, next(aligned), len(usable))
        for pair, result in zip(pairs, examined, strict=True)
    ]


def examine(pair: RecordedPair, sample_rate: int) -> Examination:
    """Examine one recorded pair by itself."""
    try:
        check_pair(pair, sample_rate)
    except UnusablePair as error:
        remedy = "record it again, or leave it out"
        return Examination((Finding(error.kind, "unusable", error.text, remedy),), None)
    timing = measure_timing(pair, sample_rate)
    refusal = recognise(pair, timing, sample_rate)
    if refusal is not None:  # what else is wrong may follow from it
        return Examination((refusal,), timing)
    findings = [
        *_jumps(timing),
        *_dropouts(pair, timing, sample_rate),
        *_channel_findings(pair, sample_rate),
    ]
    return Examination(tuple(findings), timing)


def diagnosis_of(own: Iterable[Finding], pair: AlignedPair, num_pairs: int) -> PairDiagnosis:
    """Return the diagnosis of a pair among others.

    Args:
        own: findings of `examine` on the pair.
        pair: the pair as it was aligned with the others.
        num_pairs: number of all aligned pairs.
    """
    coherence = _best_coherence(pair.spectra)
    findings = [*own, *_relative_findings(pair, num_pairs, coherence)]
    if any(finding.kind == "dropout" for finding in findings):
        # Where air is missing, speech of bone looks like noise in a pause.
        findings = [finding for finding in findings if finding.kind != "noisy"]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return PairDiagnosis(pair.name, tuple(findings), pair.delay_s, pair.drift_ppm, coherence)


def _jumps(timing: Timing) -> Iterator[Finding]:
    if timing.doubted_s:
        yield Finding(
            "unsure",
            "warning",
            f"{timing.doubted_s:.1f} s are left out: the delay is another there, with too little "
            "speech to tell why",
            "nothing; a buffer may have been lost: leave 2.5 s of speech at either end",
        )
    if len(timing.jumps) > MAX_DROPOUTS:
        sizes_ms = [1e3 * abs(jump.size_s) for jump in timing.jumps]
        text = (
            f"the delay jumps {len(sizes_ms)} times, by {min(sizes_ms):.1f} to "
            f"{max(sizes_ms):.1f} ms: buffers were lost"
        )
        yield Finding("jump", "warning", text, JUMP_REMEDY, time_s=timing.jumps[0].time_s)
        return
    for jump in timing.jumps:
        yield Finding(
            "jump",
            "warning",
            f"the delay jumps by {jump}: "
            f"a buffer was lost in {'air' if jump.size_s > 0 else 'bone'}",
            JUMP_REMEDY,
            time_s=jump.time_s,
        )


def _dropouts(pair: RecordedPair, timing: Timing, sample_rate: int) -> Iterator[Finding]:
    air, bone, place = synchronised_channels(pair, timing)
    for role, own, other in (("air", air, bone), ("bone", bone, air)):
        found = dropouts(own, other, sample_rate)
        for segment in found[:MAX_DROPOUTS]:
            start_s = float(place(round(segment.start_s * sample_rate))) / sample_rate
            text = f"{role} is missing for {segment.seconds:.2f} s at {start_s:.2f} s of air"
            remedy = "cut it out, or record the pair again"
            yield Finding("dropout", "warning", text, remedy, role, start_s)
        if len(found) > MAX_DROPOUTS:
            lost_s = sum(segment.seconds for segment in found)
            text = f"{role} is missing {len(found)} times, {lost_s:.1f} s in all"
            remedy = "check the recorder and record the pair again"
            yield Finding("dropout", "warning", text, remedy, role)


def _channel_findings(pair: RecordedPair, sample_rate: int) -> Iterator[Finding]:
    for role, samples in (("air", pair.air), ("bone", pair.bone)):
        for found in inspect(levels_of(samples)):
            remedy = DC_REMEDY if found.kind == "dc" else found.remedy
            yield replace(found, text=f"{role} {found.text}", remedy=remedy, channel=role)
        edge_hz = recorded_band_hz(samples, sample_rate)
        if edge_hz is not None:
            text = (
                f"{role} holds nothing above {edge_hz / 1000:.1f} kHz: it was once at a lower "
                "sample rate, or went through a codec"
            )
            remedy = "take the original file; nothing is fitted above"
            yield Finding("band", "warning", text, remedy, role)


def _relative_findings(pair: AlignedPair, num_pairs: int, coherence: float) -> Iterator[Finding]:
    if abs(pair.delay_s) > OFFSET_S:
        later = "after" if pair.delay_s > 0 else "before"
        yield Finding(
            "offset",
            "warning",
            f"bone comes {1e3 * abs(pair.delay_s):.1f} ms {later} air at the start",
            "nothing: the offset is taken out; start the recorders together to avoid it",
        )
    if pair.drift_ppm:
        yield Finding(
            "drift",
            "warning",
            f"the recorders' clocks differ by {pair.drift_ppm:+.0f} ppm "
            f"({1e-3 * abs(pair.drift_ppm) * pair.seconds:.2f} ms over the pair)",
            "nothing: bone is resampled; one recorder for both channels would avoid it",
        )
    if pair.left_out_s > pair.seconds:
        whole_s = pair.seconds + pair.left_out_s
        text = f"only {pair.seconds:.1f} of {whole_s:.1f} s can be used, beside so many jumps"
        yield Finding("jump", "warning", text, "record it again with larger buffers")
    if pair.inverted:
        text = f"its polarity is opposite to that of most of the {num_pairs} pairs"
        yield Finding("inverted", "warning", text, "nothing: it is turned round; check the wiring")
    yield from _rumble(pair)
    _, noise = _below_and_above(pair.noise, pair.sample_rate)
    noise_db = 10 * math.log10(max(noise, 1e-20))
    if pair.noise.from_pauses and noise_db > NOISY_DB:
        text = f"the sensor's noise is only {-noise_db:.0f} dB under its speech"
        yield Finding("noisy", "warning", text, "speak louder, or raise the sensor's gain", "bone")
    if coherence < LOW_COHERENCE:
        yield Finding(
            "incoherent",
            "warning",
            f"air and bone share little: the coherence is {coherence:.2f} in the best third-octave",
            "check how the sensor sits, and record in a quieter place",
        )


def _rumble(pair: AlignedPair) -> Iterator[Finding]:
    for role, floor in (("air", pair.air_noise), ("bone", pair.noise)):
        rumble, rest = _below_and_above(floor, pair.sample_rate)
        rumble_db = 10 * math.log10(max(rumble, 1e-20))
        if floor.from_pauses and rumble_db > RUMBLE_DB and rumble > RUMBLE_OVER_REST * rest:
            where = f"{abs(rumble_db):.0f} dB {'over' if rumble_db > 0 else 'under'} speech"
            yield Finding(
                "rumble",
                "warning",
                f"{role} has rumble below {RUMBLE_HZ:.0f} Hz, {where}",
                "nothing: speech is told from pauses above it; it is part of the sensor's noise "
                "unless a high-pass takes it out before the fit",
                role,
            )


def _below_and_above(floor: NoiseFloor, sample_rate: int) -> tuple[float, float]:
    """Return the power of a noise floor below 150 Hz and above, re active speech."""
    grid = torch.linspace(0, sample_rate / 2, len(floor.psd), dtype=torch.float64)
    low = grid < RUMBLE_HZ
    per_bin = float(grid[1])
    return float(floor.psd[low].sum()) * per_bin, float(floor.psd[~low].sum()) * per_bin


def _best_coherence(spectra: CrossSpectra) -> float:
    """Return the coherence of the best third-octave, without what chance gives on average."""
    return float(fractional_octave_smooth(spectra.unbiased_coherence, 3)[4:-4].max())
