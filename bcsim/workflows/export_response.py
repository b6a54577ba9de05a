"""`bcsim export-response`: a sensor's response as a filter that other programs read."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bcsim.audio.write import write_audio
from bcsim.errors import UsageError
from bcsim.files.atomic import sweep_beside, write_bytes, write_json
from bcsim.files.paths import check_not_input
from bcsim.sensors.filters.export import KINDS, Kind, ResponseFilter, response_filter
from bcsim.sensors.profile import SensorProfile
from bcsim.workflows.presets import find_sensor


@dataclass(frozen=True, eq=False)
class ExportedResponse:
    """A filter that was written to a file.

    Args:
        path: path of the file.
        sensor: profile of the sensor.
        filter: coefficients of the filter, and how well they fit.
    """

    path: Path
    sensor: SensorProfile
    filter: ResponseFilter

    def facts(self) -> dict[str, Any]:
        """Return what the JSON file holds.

        Polarity and level are in the coefficients; the sensor's delay is not, for it may be
        negative.
        """
        return {
            "sensor": self.sensor.name,
            **self.filter.facts(),
            "polarity": self.sensor.polarity,
            "sensor_delay_ms": round(1000 * self.sensor.delay_s, 4),
            "source": self.sensor.provenance.source,
            "licence": self.sensor.provenance.licence,
        }


def export_response(
    sensor: str, out: Path, kind: Kind = "minimum-phase", size: int | None = None
) -> ExportedResponse:
    """Write the filter of a sensor.

    Args:
        sensor: file, or name of a bundled one.
        out: NAME.json (coefficients and facts), NAME.wav (taps at 24 bits, for convolvers) or
            NAME.npy (float64: taps, or sections in scipy's form); replaced if it is there.
        kind: of the filter.
        size: number of taps, or order of an iir; see `response_filter`.

    Raises:
        UsageError: for another suffix, a kind that the file cannot hold, a size that is not
            possible, taps beyond the full scale of a WAV file, or the sensor's own file as `out`.
        InputError: if there is no such sensor.
    """
    write = _WRITERS.get(out.suffix.lower())
    if write is None or out.is_dir():
        raise UsageError(f"{out}: a filter is written to NAME.json, NAME.wav or NAME.npy")
    if kind not in KINDS:
        raise UsageError(f"kind is {kind!r}; known: {', '.join(KINDS)}")
    if kind == "iir" and out.suffix.lower() == ".wav":
        raise UsageError(f"{out}: a WAV file holds taps; write the sections of an iir to .json")
    path = find_sensor(sensor)
    check_not_input(out, [path])
    profile = SensorProfile.load(path)
    designed = response_filter(profile.transfer_function, kind, size, profile.polarity)
    exported = ExportedResponse(out, profile, designed)
    sweep_beside(out)
    write(exported)
    return exported


def _write_json(exported: ExportedResponse) -> None:
    write_json(exported.path, exported.facts())


def _write_wav(exported: ExportedResponse) -> None:
    # Fixed point, for a floating-point WAV carries the time of day, and equal filters would
    # give unequal files; 24 bits leave an error 140 dB under full scale.
    taps = exported.filter.coefficients
    peak = float(np.abs(taps).max())
    if peak >= 1:
        raise UsageError(
            f"{exported.path}: a tap of {peak:.2f} exceeds full scale; write it to .json or .npy"
        )
    write_audio(exported.path, taps, exported.filter.sample_rate, subtype="PCM_24")


def _write_npy(exported: ExportedResponse) -> None:
    content = io.BytesIO()
    np.save(content, exported.filter.coefficients, allow_pickle=False)
    write_bytes(exported.path, content.getvalue())


_WRITERS: dict[str, Callable[[ExportedResponse], None]] = {
    ".json": _write_json,
    ".wav": _write_wav,
    ".npy": _write_npy,
}
