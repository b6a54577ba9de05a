"""`bcsim export-response`: a sensor's response as a filter that other programs read."""

import io
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
        sensor: profile of the sensor.
        filter: coefficients of the filter, and how well they fit.
    """

    sensor: SensorProfile
    filter: ResponseFilter

    def facts(self) -> dict[str, Any]:
        """Return what the JSON file holds; the coefficients lack the delay: it may be negative."""
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
        sensor: file, or name of a bundled sensor.
        out: NAME.json (coefficients and facts), NAME.wav (taps at 24 bits, for convolvers) or
            NAME.npy (float64: taps, or sections in scipy's form); replaced if it is there.
        kind: kind of the filter.
        size: number of taps, or order of an iir; see `response_filter`.

    Raises:
        UsageError: for another suffix, a kind that the file cannot hold, a size that is not
            possible, taps beyond the full scale of a WAV file, or the sensor's own file as `out`.
        InputError: if there is no such sensor.
    """
    suffix = out.suffix.lower()
    if suffix not in (".json", ".wav", ".npy") or out.is_dir():
        raise UsageError(f"{out}: a filter is written to NAME.json, NAME.wav or NAME.npy")
    if kind not in KINDS:
        raise UsageError(f"kind is {kind!r}; known: {', '.join(KINDS)}")
    if kind == "iir" and suffix == ".wav":
        raise UsageError(f"{out}: a WAV file holds taps; write the sections of an iir to .json")
    path = find_sensor(sensor)
    check_not_input(out, [path])
    profile = SensorProfile.load(path)
    designed = response_filter(profile.transfer_function, kind, size, profile.polarity)
    exported = ExportedResponse(profile, designed)
    sweep_beside(out)
    if suffix == ".json":
        write_json(out, exported.facts())
    elif suffix == ".wav":
        _write_wav(out, designed)
    else:
        content = io.BytesIO()
        np.save(content, designed.coefficients, allow_pickle=False)
        write_bytes(out, content.getvalue())
    return exported


def _write_wav(path: Path, designed: ResponseFilter) -> None:
    # Fixed point, for a floating-point WAV carries the time of day, and equal filters would
    # give unequal files; 24 bits leave an error 140 dB under full scale.
    peak = float(np.abs(designed.coefficients).max())
    if peak >= 1:
        raise UsageError(
            f"{path}: a tap of {peak:.2f} exceeds full scale; write it to .json or .npy"
        )
    write_audio(path, designed.coefficients, designed.sample_rate, subtype="PCM_24")
