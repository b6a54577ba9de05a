"""`bcsim fit-response`: pairs of recordings in, a sensor profile out."""

from dataclasses import dataclass
from pathlib import Path

from bcsim.data.failures import FAILURES_NAME, write_failures
from bcsim.data.recordings import read_recordings
from bcsim.errors import UsageError
from bcsim.sensors.fit import FitResult, fit_sensor


@dataclass(frozen=True)
class FittedSensor:
    """A fit that has been written to a file.

    Args:
        path: of the profile.
        result: the profile, and what was found on each pair.
        failures: files and pairs that were left out, and why.
    """

    path: Path
    result: FitResult
    failures: dict[str, str]


def fit_response(
    air: Path,
    bone: Path,
    out: Path,
    estimator: str = "power-ratio",
    sample_rate: int = 16_000,
    name: str | None = None,
    source: str = "",
    licence: str = "",
) -> FittedSensor:
    """Fit a sensor and write its profile.

    Args:
        air: file or folder of the air microphone.
        bone: file or folder of the sensor.
        out: NAME.sensor; replaced as a whole if it is there. Pairs that were left out are listed
            in `failures.jsonl` beside it.
        estimator: a registered name.
        sample_rate: that recordings are brought to, in Hz.
        name: of the sensor; that of the file by default.
        source: what was recorded, by whom.
        licence: of the recordings.

    Raises:
        UsageError: if `out` is no .sensor file.
        InputError: if no pair can be used.
    """
    if out.suffix != ".sensor" or out.is_dir():
        raise UsageError(f"{out}: a sensor's file is called NAME.sensor")
    recordings = read_recordings(air, bone, sample_rate)
    result = fit_sensor(recordings.pairs, sample_rate, estimator, name or out.stem, source, licence)
    failures = dict(recordings.failures)
    failures |= {skipped.name: f"{skipped.name}: {skipped.reason}" for skipped in result.skipped}
    result.profile.save(out)
    write_failures(out.with_name(FAILURES_NAME), f"fit-response {out.name}", failures)
    return FittedSensor(out, result, failures)
