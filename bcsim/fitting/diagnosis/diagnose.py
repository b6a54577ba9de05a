"""What is wrong with pairs of recordings, before anything is fitted to them.

`examine` looks at one pair, `diagnose` also at how the pairs differ. What is `unusable` here is
refused by `fit_pairs`, which asks `examine` too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bcsim.dsp.spectra import CrossSpectra, fractional_octave_smooth
from bcsim.fitting.alignment.align import align
from bcsim.fitting.alignment.timing import Timing, measure_timing, synchronised_channels
from bcsim.fitting.diagnosis.defects import CLIPPED_SHARE, clipped_share, dc_offset, dropouts
from bcsim.fitting.diagnosis.findings import Finding
from bcsim.fitting.diagnosis.recognition import recognise
from bcsim.fitting.pairs import AlignedPair, UnusablePair, check_pair
from bcsim.progress import track
from bcsim.sensors.recorded_pair import RecordedPair

MAX_DROPOUTS = 3  # that are named one by one
OFFSET_S = 0.008  # of a single pair, a delay is known to some milliseconds
NOISY_DB = -12.0  # noise to speech; the worst of 16 throat pairs has -29
LOW_COHERENCE = 0.2  # in the best third-octave; the worst of 16 throat pairs has 0.35


@dataclass(frozen=True, eq=False)
class PairDiagnosis:
    """All that was noticed about one pair.

    Args:
        name: of the pair.
        findings: the worst first.
        delay_s: of bone, at the middle; None for a pair that is unusable, as the next two.
        drift_ppm: of bone's delay.
        coherence: in the best third-octave.
    """

    name: str
    findings: tuple[Finding, ...]
    delay_s: float | None = None
    drift_ppm: float | None = None
    coherence: float | None = None

    @property
    def verdict(self) -> str:
        """Return `ok`, `warning` or `unusable`: the severest of the findings."""
        severities = {finding.severity for finding in self.findings}
        return next((s for s in ("unusable", "warning") if s in severities), "ok")


@dataclass(frozen=True, eq=False)
class Examination:
    """What one pair says by itself.

    Args:
        findings: in no order.
        timing: of its recorders; None where there is nothing to be timed.
    """

    findings: tuple[Finding, ...]
    timing: Timing | None

    @property
    def refusal(self) -> Finding | None:
        """Return the first finding that makes the pair unusable."""
        return next((f for f in self.findings if f.severity == "unusable"), None)


def diagnose(pairs: Sequence[RecordedPair], sample_rate: int) -> list[PairDiagnosis]:
    """Examine pairs of one sensor, each for itself and against the others.

    Args:
        pairs: at one sample rate, best the one at which they were recorded.
        sample_rate: in Hz.

    Returns:
        One diagnosis a pair, in the order given.
    """
    examined = [examine(pair, sample_rate) for pair in track(pairs, len(pairs), "examining")]
    usable = [
        (pair, result.timing)
        for pair, result in zip(pairs, examined, strict=True)
        if result.refusal is None and result.timing is not None
    ]
    aligned: dict[int, AlignedPair] = {}
    if usable:
        found, _ = align(
            [pair for pair, _ in usable], sample_rate, [timing for _, timing in usable]
        )
        aligned = {id(pair): result for (pair, _), result in zip(usable, found, strict=True)}
    diagnoses = []
    for pair, result in zip(pairs, examined, strict=True):
        findings = list(result.findings)
        aligned_pair = aligned.get(id(pair))
        if aligned_pair is None:
            diagnoses.append(PairDiagnosis(pair.name, _worst_first(findings)))
            continue
        findings += _relative_findings(aligned_pair, len(aligned))
        if any(finding.kind == "dropout" for finding in findings):
            # Where air is missing, speech of bone looks like noise in a pause.
            findings = [finding for finding in findings if finding.kind != "noisy"]
        diagnoses.append(
            PairDiagnosis(
                pair.name,
                _worst_first(findings),
                delay_s=aligned_pair.delay_s,
                drift_ppm=aligned_pair.drift_ppm,
                coherence=_best_coherence(aligned_pair.spectra),
            )
        )
    return diagnoses


def examine(pair: RecordedPair, sample_rate: int) -> Examination:
    """Examine one pair by itself.

    Args:
        pair: as recorded.
        sample_rate: in Hz.
    """
    try:
        check_pair(pair, sample_rate)
    except UnusablePair as error:
        text = str(error).removeprefix(f"{pair.name}: ")
        remedy = "record it again, or leave it out"
        return Examination((Finding(error.kind, "unusable", text, remedy),), None)
    timing = measure_timing(pair, sample_rate)
    refusal = recognise(pair, timing, sample_rate)
    if refusal is not None:  # what else is wrong may follow from it
        return Examination((refusal,), timing)
    findings = [*_jumps(timing), *_dropouts(pair, timing, sample_rate), *_channel_findings(pair)]
    return Examination(tuple(findings), timing)


def _worst_first(findings: list[Finding]) -> tuple[Finding, ...]:
    order = ("unusable", "warning", "note")
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def _jumps(timing: Timing) -> list[Finding]:
    return [
        Finding(
            "jump",
            "warning",
            f"the delay jumps by {1e3 * jump.size_s:+.1f} ms at {jump.time_s:.2f} s: "
            f"a buffer was lost in {'air' if jump.size_s > 0 else 'bone'}",
            "only the longest part between jumps is used; record with larger buffers",
            time_s=jump.time_s,
        )
        for jump in timing.jumps
    ]


def _dropouts(pair: RecordedPair, timing: Timing, sample_rate: int) -> list[Finding]:
    air, bone, first = synchronised_channels(pair, timing)
    findings = []
    for role, own, other in (("air", air, bone), ("bone", bone, air)):
        found = dropouts(own.numpy(), other.numpy(), sample_rate)
        for segment in found[:MAX_DROPOUTS]:
            start_s = first / sample_rate + segment.start_s
            findings.append(
                Finding(
                    "dropout",
                    "warning",
                    f"{role} is missing for {segment.seconds:.2f} s at {start_s:.2f} s of air",
                    "cut it out, or record the pair again",
                    channel=role,
                    time_s=start_s,
                )
            )
        if len(found) > MAX_DROPOUTS:
            lost_s = sum(segment.seconds for segment in found)
            findings.append(
                Finding(
                    "dropout",
                    "warning",
                    f"{role} is missing {len(found)} times, {lost_s:.1f} s in all",
                    "check the recorder and record the pair again",
                    channel=role,
                )
            )
    return findings


def _channel_findings(pair: RecordedPair) -> list[Finding]:
    findings = []
    for role, samples in (("air", pair.air), ("bone", pair.bone)):
        share = clipped_share(samples)
        if share > CLIPPED_SHARE:
            findings.append(
                Finding(
                    "clipping",
                    "warning",
                    f"{role} is clipped: {100 * share:.2g} % of its samples lie at its peak of "
                    f"{np.abs(samples).max():.3g}",
                    "turn the gain down and record it again",
                    channel=role,
                )
            )
        mean = dc_offset(samples)
        if mean:
            findings.append(
                Finding(
                    "dc",
                    "warning",
                    f"{role} has a DC offset of {mean:+.3f} of full scale",
                    "nothing: it is taken out before fitting",
                    channel=role,
                )
            )
    return findings


def _relative_findings(pair: AlignedPair, num_pairs: int) -> list[Finding]:
    findings = []
    if abs(pair.start_delay_s) > OFFSET_S and not pair.jumps:
        later = "after" if pair.start_delay_s > 0 else "before"
        findings.append(
            Finding(
                "offset",
                "warning",
                f"bone comes {1e3 * abs(pair.start_delay_s):.1f} ms {later} air at the start",
                "nothing: the offset is taken out; start the recorders together to avoid it",
            )
        )
    if pair.drift_ppm:
        findings.append(
            Finding(
                "drift",
                "warning",
                f"the recorders' clocks differ by {pair.drift_ppm:+.0f} ppm "
                f"({1e-3 * abs(pair.drift_ppm) * pair.seconds:.2f} ms over the pair)",
                "nothing: bone is resampled; one recorder for both channels would avoid it",
            )
        )
    if pair.inverted:
        findings.append(
            Finding(
                "inverted",
                "warning",
                f"its polarity is opposite to that of most of the {num_pairs} pairs",
                "nothing: it is turned round; check the wiring",
            )
        )
    noise_db = 10 * math.log10(
        max(float(pair.noise.psd.sum()) * pair.sample_rate / pair.num_fft, 1e-20)
    )
    if noise_db > NOISY_DB:
        findings.append(
            Finding(
                "noisy",
                "warning",
                f"the sensor's noise is only {-noise_db:.0f} dB under its speech",
                "speak louder, or raise the sensor's gain",
                channel="bone",
            )
        )
    coherence = _best_coherence(pair.spectra)
    if coherence < LOW_COHERENCE:
        findings.append(
            Finding(
                "incoherent",
                "warning",
                f"air and bone share little: the coherence is {coherence:.2f} in the best "
                "third-octave",
                "check how the sensor sits, and record in a quieter place",
            )
        )
    return findings


def _best_coherence(spectra: CrossSpectra) -> float:
    """Return the highest third-octave of the coherence, less what chance gives on average."""
    count = max(spectra.num_averages, 2.0)
    coherence = ((count * spectra.coherence - 1) / (count - 1)).clamp(min=0)
    smooth = fractional_octave_smooth(coherence, 3)
    return float(smooth[4:-4].max())
