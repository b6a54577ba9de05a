"""`bcsim export-response`: a sensor's response as a filter that other programs read."""

import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bcsim.audio.write import encode_audio
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import sweep_beside, to_json, write_bytes
from bcsim.files.outputs import check_output_file
from bcsim.files.text import parse_json, read_bytes
from bcsim.sensors.filters.export import KINDS, Kind, ResponseFilter, response_filter
from bcsim.sensors.profile import SensorProfile
from bcsim.workflows.presets import find_sensor

MAX_FILTER_BYTES = 1 << 22  # 8192 taps in JSON are a twentieth of it


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
    sensor: str,
    out: Path,
    kind: Kind = "minimum-phase",
    size: int | None = None,
    overwrite: bool = False,
) -> ExportedResponse:
    """Write the filter of a sensor.

    Args:
        sensor: file, or name of a bundled sensor.
        out: NAME.json (coefficients and facts), NAME.wav (taps at 24 bits, for convolvers) or
            NAME.npy (float64: taps, or sections in scipy's form).
        kind: kind of the filter.
        size: number of taps, or order of an iir; see `response_filter`.
        overwrite: whether another file may be replaced, not only one with the very same content.

    Raises:
        UsageError: if something else is there already; for another suffix, a kind that the file
            cannot hold, a size that is not possible, taps beyond the full scale of a WAV file, or
            the sensor's own file as `out`.
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
    check_output_file(out, [path], lambda _: True)  # what is there is looked at below
    profile = SensorProfile.load(path)
    designed = response_filter(profile.transfer_function, kind, size, profile.polarity)
    exported = ExportedResponse(profile, designed)
    if suffix == ".json":
        content = to_json(exported.facts()).encode("utf-8")
    elif suffix == ".wav":
        content = _wav(out, designed)
    else:
        array = io.BytesIO()
        np.save(array, designed.coefficients, allow_pickle=False)
        content = array.getvalue()
    check_output_file(out, [path], partial(_is_own, content), overwrite)
    sweep_beside(out)
    write_bytes(out, content)
    return exported


def _is_own(content: bytes, path: Path) -> bool:
    """Tell whether a file was written here: audio and arrays that are not the same tell nothing."""
    try:
        there = read_bytes(path, MAX_FILTER_BYTES, "a filter")
    except InputError:  # no regular file, such as a pipe, or larger than any filter
        return False
    if there == content:
        return True
    try:
        facts = parse_json(there)
    except ValueError:
        return False
    return isinstance(facts, dict) and {"sensor", "polarity", "sensor_delay_ms"} <= facts.keys()


def _wav(path: Path, designed: ResponseFilter) -> bytes:
    # Fixed point, for a floating-point WAV carries the time of day, and equal filters would
    # give unequal files; 24 bits leave an error 140 dB under full scale.
    peak = float(np.abs(designed.coefficients).max())
    if peak >= 1:
        raise UsageError(
            f"{path}: a tap of {peak:.2f} exceeds full scale; write it to .json or .npy"
        )
    return encode_audio(path, designed.coefficients, designed.sample_rate, subtype="PCM_24")
