"""`bcsim fit-response`: pairs of recordings in, a sensor profile out."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from bcsim.audio.read import read_audio
from bcsim.datasets.recordings import read_recordings
from bcsim.dsp.signals import Signal, as_batch
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import sweep_beside
from bcsim.files.failures import FAILURES_NAME, write_failures
from bcsim.files.paths import check_not_input
from bcsim.fitting.estimation import EstimationSettings
from bcsim.fitting.fit import FitResult, check_estimator, fit_pairs
from bcsim.fitting.selection import AUTO
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.recorded_pair import RecordedPair
from bcsim.workflows.fit_report import check_report_packages, report_path, write_fit_report
from bcsim.workflows.presets import find_sensor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FittedSensor:
    """A fit that has been written to a file.

    Args:
        path: of the profile.
        result: the profile, and what was found on each pair.
        failures: files and pairs that were left out, and why.
        report: the page beside it, or None where none was written.
    """

    path: Path
    result: FitResult
    failures: dict[str, str]
    report: Path | None = None


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
) -> FitResult:
    """Fit a sensor to recorded pairs; `.profile.save("NAME.sensor")` keeps it.

    Pairs that cannot be used are left out: files with a warning, others in `.skipped`.

    Args:
        air: recordings of the air microphone: a file or a folder, where files with equal relative
            paths belong together, or samples: (T,), (B, T), or a sequence of such arrays.
        bone: recordings of the sensor, given in the same way.
        sample_rate: sample rate of the fit in Hz, which samples have to have; files are resampled.
        estimator: a registered name, or "auto" for the best on held-out recordings.
        name: name of the sensor.
        source: what was recorded, by whom; goes into the profile.
        licence: licence of the recordings; goes into the profile.
        settings: options of the estimator and of the smoothing.
        prior: sensor of the kind, fitted to other recordings, to start from.
        ambient: ambient noise alone, at both microphones, from which the leakage is measured.
        talkers: CSV of who speaks in which file; without, the first folder tells.

    Raises:
        InputError: if no pair can be used; the message gives the first one's reason.
        UsageError: for an unknown estimator, or an option that it does not have.
    """
    check_estimator(estimator, settings)  # refused before hours of recordings are read
    if isinstance(air, str | Path) and isinstance(bone, str | Path):
        pairs, failures = read_recordings(Path(air), Path(bone), sample_rate, talkers)
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
    noise: tuple[Path, Path] | None = None,
) -> FittedSensor:
    """Fit a sensor and write its profile.

    Args:
        air: file or folder of the air microphone.
        bone: file or folder of the sensor.
        out: NAME.sensor; replaced as a whole if it is there. Pairs that were left out are listed
            in `failures.jsonl` beside it.
        estimator: a registered name, or "auto" for the best on held-out recordings.
        sample_rate: that recordings are brought to, in Hz.
        name: of the sensor; that of the file by default.
        source: what was recorded, by whom.
        licence: of the recordings.
        settings: options of the estimator and of the smoothing.
        report: write NAME.report.html beside it; None does so where the packages are installed
            that draw it, and says so where they are not.
        prior: file or bundled name of a sensor of the kind, to start from.
        talkers: CSV of who speaks in which recording.
        noise: recordings of ambient noise alone, by the air microphone and by the sensor.

    Raises:
        UsageError: if `out` is no .sensor file or an input, or the estimator lacks an option asked
            for.
        InputError: if no pair can be used.
    """
    if out.suffix != ".sensor" or out.is_dir():
        raise UsageError(f"{out}: a sensor's file is called NAME.sensor")
    report = _can_report(report)
    check_estimator(estimator, settings)  # refused before hours of recordings are read
    prior_path = None if prior is None else find_sensor(prior)
    for written in (out, report_path(out)) if report else (out,):
        check_not_input(written, [air, bone, talkers, prior_path, *(noise or ())])
    start = None if prior_path is None else SensorProfile.load(prior_path)
    ambient = None
    if noise is not None:
        at_air, at_bone = (read_audio(path, sample_rate)[0] for path in noise)
        ambient = RecordedPair("ambient noise", at_air, at_bone)
    pairs, failures = read_recordings(air, bone, sample_rate, talkers)
    result = fit_pairs(
        pairs,
        sample_rate,
        estimator=estimator,
        name=name or out.stem,
        source=source,
        licence=licence,
        settings=settings,
        prior=start,
        ambient=ambient,
    )
    failures |= {skipped.name: f"{skipped.name}: {skipped.reason}" for skipped in result.skipped}
    for path in (out, out.with_name(FAILURES_NAME), report_path(out)):
        sweep_beside(path)
    result.profile.save(out)
    write_failures(out.with_name(FAILURES_NAME), f"fit-response {out.name}", failures)
    if report:
        write_fit_report(report_path(out), result)
    return FittedSensor(out, result, failures, report_path(out) if report else None)


def _pairs_of_samples(
    air: Signal | Sequence[Signal], bone: Signal | Sequence[Signal]
) -> list[RecordedPair]:
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


def _can_report(wanted: bool | None) -> bool:
    """Tell whether to write a report.

    Args:
        wanted: None for "if possible".

    Raises:
        UsageError: if it is wanted and a package is missing.
    """
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
