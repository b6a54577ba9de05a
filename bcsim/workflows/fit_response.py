"""`bcsim fit-response`: pairs of recordings in, a sensor profile out."""

import itertools
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from bcsim.audio.unchanging import read_pair
from bcsim.datasets.pairing import ROLES
from bcsim.datasets.recordings import channels_of, read_recordings
from bcsim.dsp.activity import active_frames, active_rms
from bcsim.dsp.signals import Signal, as_batch, check_rate
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import sweep_beside
from bcsim.files.failures import FAILURES_NAME, write_failures
from bcsim.files.outputs import check_output_file
from bcsim.fitting.estimation import EstimationSettings
from bcsim.fitting.fit import FitResult, check_estimator, fit_pairs
from bcsim.fitting.pairs import AlignedPair
from bcsim.fitting.selection import AUTO
from bcsim.fitting.simulation import simulate
from bcsim.reports.fit import Example, fit_page
from bcsim.reports.html import check_report_packages, is_page, write_page
from bcsim.sensors.profile import SensorProfile, check_labels
from bcsim.sensors.recorded_pair import RecordedPair
from bcsim.workers.heap import give_heap_back, give_large_arrays_back
from bcsim.workflows.presets import find_sensor

MAX_EXAMPLES, MAX_EXAMPLES_S = 64, 600.0  # simulated for the long-term spectra of a report
LISTENING_S = 4.0  # about the duration of a sentence

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FittedSensor:
    """A fit that has been written to a file.

    Args:
        path: path of the profile.
        result: the profile, and what was found on each pair.
        failures: files and pairs that were left out, and why.
        report: path of the report beside the profile, or None where none was written.
    """

    path: Path
    result: FitResult
    failures: dict[str, str]
    report: Path | None


def fit_sensor(
    air: str | Path | Signal | Sequence[Signal],
    bone: str | Path | Signal | Sequence[Signal],
    *,
    sample_rate: int = 16_000,
    estimator: str = AUTO,
    name: str = "sensor",
    source: str = "",
    licence: str = "",
    settings: EstimationSettings | None = None,
    prior: SensorProfile | None = None,
    ambient: RecordedPair | None = None,
    talkers: Path | None = None,
    channels: Mapping[str, str] | None = None,
) -> FitResult:
    """Fit a sensor to recorded pairs; `.profile.save("NAME.sensor")` keeps it.

    Pairs that cannot be used are left out: files that cannot be read with a warning, others are
    listed in `.skipped`.

    Args:
        air: recordings of the air microphone: a file or a folder, where files with equal relative
            paths belong together, or samples: (T,), (B, T), or a sequence of such arrays.
        bone: recordings of the sensor, given in the same way.
        sample_rate: sample rate of the fit in Hz, which samples have to have; files are resampled.
        estimator: a registered name, or "auto" for the best on held-out recordings.
        name: name of the sensor.
        source: what was recorded, by whom; goes into the profile.
        licence: licence of the recordings; goes into the profile.
        settings: options of the estimator, of the smoothing, and a high-pass.
        prior: sensor of the kind, fitted to other recordings, to start from.
        ambient: ambient noise alone, at both microphones, from which the leakage is measured.
        talkers: table of who speaks in which file; without, the first folder tells.
        channels: channel of "air" and "bone", where files have several: "1", "left", "z",
            "strongest".

    Raises:
        InputError: if no pair can be used; the message gives the first one's reason.
        UsageError: for an unknown estimator, or an option that it does not have.
    """
    check_rate(sample_rate)
    check_labels(name, source, licence)
    check_estimator(estimator, settings)  # before hours of recordings are read
    if ambient is not None:
        for role, signal in (("air", ambient.air), ("bone", ambient.bone)):
            as_batch(signal, f"{role} of ambient")
    if isinstance(air, str | Path) and isinstance(bone, str | Path):
        pairs, failures = read_recordings(Path(air), Path(bone), sample_rate, talkers, channels)
        for reason in failures.values():
            log.warning("left out: %s", reason)
    elif isinstance(air, str | Path) or isinstance(bone, str | Path):
        raise UsageError("air and bone are given in different ways; give both as files, or samples")
    else:
        pairs = _pairs_of_samples(air, bone)
    return fit_pairs(
        pairs,
        sample_rate,
        estimator=estimator,
        name=name,
        source=source,
        licence=licence,
        settings=settings,
        prior=prior,
        ambient=ambient,
    )


def fit_response(
    air: Path,
    bone: Path,
    out: Path,
    *,
    estimator: str = AUTO,
    sample_rate: int = 16_000,
    name: str | None = None,
    source: str = "",
    licence: str = "",
    settings: EstimationSettings | None = None,
    report: bool | None = False,
    prior: str | None = None,
    talkers: Path | None = None,
    channels: Mapping[str, str] | None = None,
    noise: tuple[Path, Path] | None = None,
    cross_validate: bool = True,
    overwrite: bool = False,
) -> FittedSensor:
    """Fit a sensor to recordings and write its profile, and perhaps a report.

    Args:
        air: file or folder of the air microphone.
        bone: file or folder of the sensor.
        out: NAME.sensor; an earlier sensor there is replaced as a whole. Pairs that were left out
            are listed in `failures.jsonl` beside it.
        estimator: a registered name, or "auto" for the best on held-out recordings.
        sample_rate: sample rate of the fit in Hz; recordings are resampled.
        name: name of the sensor; by default that of the file.
        source: what was recorded, by whom.
        licence: licence of the recordings.
        settings: options of the estimator, of the smoothing, and a high-pass.
        report: whether to write NAME.report.html, too; None where the packages that draw it are
            installed, with a warning where they are not.
        prior: file or bundled name of a sensor of the kind, to start from.
        talkers: table of who speaks in which recording.
        channels: channel of "air" and "bone", where files have several.
        noise: recordings of ambient noise alone, by the air microphone and by the sensor.
        cross_validate: whether to try the fit on recordings that it has not seen (`fit_pairs`).
        overwrite: whether files that bcsim did not write may be replaced.

    Raises:
        UsageError: if `out` is no .sensor file, an input or somebody else's, a text cannot be kept,
            a report is asked for and cannot be drawn, or the estimator lacks an option asked for.
        InputError: if no pair can be used.
    """
    if out.suffix != ".sensor":
        raise UsageError(f"{out}: a sensor's file is called NAME.sensor")
    name = name or out.stem
    check_labels(name, source, licence)  # before hours of recordings are read, as what follows
    page = out.with_name(f"{out.stem}.report.html")
    report = _can_report(report)
    check_estimator(estimator, settings)  # before hours of recordings are read
    prior_path = None if prior is None else find_sensor(prior)
    inputs = [air, bone, talkers, prior_path, *(noise or ())]
    check_output_file(out, inputs, _is_sensor, overwrite)
    check_output_file(out.with_name(FAILURES_NAME), inputs, lambda _: True)  # lines are added
    if report:
        check_output_file(page, inputs, is_page, overwrite)
    start = None if prior_path is None else SensorProfile.load(prior_path)
    ambient = None
    if noise is not None:
        chosen = channels_of(air, bone, channels)
        read = read_pair(dict(zip(ROLES, noise, strict=True)), sample_rate, chosen)
        ambient = RecordedPair("ambient noise", read["air"].samples, read["bone"].samples)
    give_large_arrays_back()
    pairs, failures = read_recordings(air, bone, sample_rate, talkers, channels)
    result = fit_pairs(
        pairs,
        sample_rate,
        estimator=estimator,
        name=name,
        source=source,
        licence=licence,
        settings=settings,
        prior=start,
        ambient=ambient,
        cross_validate=cross_validate,
    )
    files = {pair.name: pair.in_files for pair in pairs}
    failures |= {
        skipped.name: f"{skipped.name}: {skipped.reason}{files[skipped.name]}"
        for skipped in result.skipped
    }
    for path in (out, out.with_name(FAILURES_NAME), page):
        sweep_beside(path)
    result.profile.save(out)
    write_failures(out.with_name(FAILURES_NAME), f"fit-response {out.name}", failures)
    give_heap_back()
    if report:
        fitted = [(pair, result.profile) for pair in result.pairs]
        write_page(page, fit_page(result, examples_of(result.predictions or fitted)))
    return FittedSensor(out, result, failures, page if report else None)


def examples_of(pairs: Sequence[tuple[AlignedPair, SensorProfile]]) -> list[Example]:
    """Simulate recordings, with the residual of the speech-dependent part drawn.

    Args:
        pairs: aligned pairs, each with the sensor that is to simulate it.

    Returns:
        At most 64, or those of ten minutes; for listening first: a sentence of each talker, then
        the others.
    """
    chosen = sorted(pairs, key=lambda item: abs(item[0].seconds - LISTENING_S))
    # By the number of a recording among those of its talker; sorting keeps the order of equals.
    numbers: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)
    chosen.sort(key=lambda item: next(numbers[_group(item[0])]))
    ends_s = itertools.accumulate(pair.seconds for pair, _ in chosen)
    count = sum(end_s <= MAX_EXAMPLES_S for end_s in ends_s)
    return [_example(*item) for item in chosen[: min(max(count, 1), MAX_EXAMPLES)]]


def _group(pair: AlignedPair) -> str:
    return pair.name if pair.talker is None else pair.talker


def _example(pair: AlignedPair, sensor: SensorProfile) -> Example:
    air, bone = pair.air[:], pair.bone[:]
    simulated = simulate(sensor, air, pair.name, within_clip=True)
    active = active_frames(air[None], pair.sample_rate)
    have, want = (
        float(active_rms(signal[None], active, pair.sample_rate)) for signal in (simulated, bone)
    )
    gain = want / have if have > 0 else 1.0
    return Example(  # in single precision, which takes half of the memory
        name=pair.name,
        air=air.float().numpy(),
        bone=bone.float().numpy(),
        simulated=(gain * simulated).float().numpy(),
    )


def _pairs_of_samples(
    air: Signal | Sequence[Signal], bone: Signal | Sequence[Signal]
) -> list[RecordedPair]:
    """Pair the rows of arrays (T,) or (B, T), which are named by their number."""
    signals = []
    for role, given in (("air", air), ("bone", bone)):
        arrays = [given] if isinstance(given, Tensor | np.ndarray) else given
        signals.append([row.detach().cpu().numpy() for a in arrays for row in as_batch(a, role)])
    if len(signals[0]) != len(signals[1]):
        raise InputError(f"{len(signals[0])} signals of air, {len(signals[1])} of bone")
    return [
        RecordedPair(str(number), air, bone)
        for number, (air, bone) in enumerate(zip(*signals, strict=True))
    ]


def _is_sensor(path: Path) -> bool:
    try:
        SensorProfile.load(path)
    except InputError:
        return False
    return True


def _can_report(wanted: bool | None) -> bool:
    """Tell whether to write a report; None wants one where the packages are installed."""
    if wanted is False:
        return False
    try:
        check_report_packages()
    except (UsageError, ImportError) as error:  # missing, or there and broken
        if wanted:
            raise
        log.warning("no report: %s", error)
        return False
    return True
