"""The format of a sensor's file: the fields of a `SensorProfile` to bytes and back.

The file is safetensors: arrays as float64, and the facts as JSON in the header. It is read as
untrusted input: no pickle, unknown or repeated keys refused, values checked by the constructors
that everybody else uses.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from bcsim.errors import InputError, check_value
from bcsim.files.text import check_text, parse_json, shown
from bcsim.sensors.provenance import LowpassEquivalent, Provenance
from bcsim.sensors.responses.base import SPEECH_RESPONSES, SpeechResponse
from bcsim.sensors.responses.residual import Calibration, Residual
from bcsim.sensors.transfer_function import TransferFunction

SCHEMA = 2
NUMBERS = ("noise_level_std_db", "level_db", "level_std_db", "delay_s", "delay_std_s")
_METADATA_KEY = "bcsim_sensor"
_TENSORS = (
    "coherence", "coherence_ceiling", "magnitude_interval_db", "noise_psd", "response",
    "spread_components_db", "spread_db",
)  # fmt: skip
_INTEGERS = ("sample_rate", "polarity")
_PLAIN_FACTS = ("name", *_INTEGERS, *NUMBERS, "usable_band_hz")
_MAX_TENSORS = 64
_SPEECH = "speech."  # before the names of its tensors
_RESIDUAL = "residual.factor_db"
_CALIBRATION = {"residual.slope": "slope", "residual.mean_db": "mean_db"}
_RESIDUAL_FACTS = {"memory", "rise_db"}


def encode(fields: Mapping[str, Any]) -> bytes:
    """Return the file's content for all fields of a `SensorProfile`, by name."""
    transfer_function: TransferFunction = fields["transfer_function"]
    provenance: Provenance = fields["provenance"]
    speech: SpeechResponse | None = fields["speech"]
    response = transfer_function.response
    arrays = {name: fields[name] for name in _TENSORS if name in fields}
    arrays |= {
        "response": np.stack([response.real, response.imag]),
        "coherence": transfer_function.coherence,
    }
    if fields["leakage_db"] is not None:
        arrays["leakage_db"] = fields["leakage_db"]
    tensors = {name: np.ascontiguousarray(values, "<f8") for name, values in arrays.items()}
    if speech is not None:
        for name, values in {**speech.arrays(), **_residual_arrays(speech.residual)}.items():
            tensors[_SPEECH + name] = np.ascontiguousarray(values)
    facts = {
        "schema": SCHEMA,
        "speech": None if speech is None else _speech_facts(speech),
        "num_averages": transfer_function.num_averages,
        "lowpass": dataclasses.asdict(fields["lowpass"]),
        "provenance": {
            **dataclasses.asdict(provenance),
            "scores": dict(provenance.scores),
            "learning": dict(provenance.learning),
            "findings": dict(provenance.findings),
        },
        **{name: fields[name] for name in _PLAIN_FACTS},
    }
    if not provenance.findings:  # as in profiles from before there were any
        del facts["provenance"]["findings"]
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False)
    # One metadata key: safetensors keeps the order of tensors, not that of metadata.
    return safetensors.numpy.save(tensors, metadata={_METADATA_KEY: text})


def decode(content: bytes) -> dict[str, Any]:
    """Return the fields of the `SensorProfile` whose file holds these bytes.

    Raises:
        InputError: for another schema.
        ValueError, TypeError, KeyError, SafetensorError: for anything else amiss.
    """
    facts = _read_facts(content)
    arrays = safetensors.numpy.load(content)
    speech = _read_speech(facts["speech"], arrays, facts["sample_rate"])
    leakage_db = arrays.pop("leakage_db", None)
    _check_keys("tensors", arrays, set(_TENSORS))
    if leakage_db is not None:
        arrays["leakage_db"] = leakage_db
    for name, values in arrays.items():
        check_value(values.dtype == np.float64, f"type of {name}", values.dtype, "float64")
    response, coherence = arrays.pop("response"), arrays.pop("coherence")
    is_complex = response.ndim == 2 and len(response) == 2
    check_value(is_complex, "shape of response", response.shape, "(2, F)")
    low, high = facts["usable_band_hz"]
    return {
        **arrays,
        **{name: facts[name] for name in ("name", *_INTEGERS)},
        **{name: _number(name, facts[name]) for name in NUMBERS},
        "transfer_function": TransferFunction(
            frequencies_hz=np.linspace(0, facts["sample_rate"] / 2, response.shape[1]),
            response=response[0] + 1j * response[1],
            coherence=coherence,
            num_averages=_number("num_averages", facts["num_averages"]),
        ),
        "speech": speech,
        "lowpass": _facts_of(LowpassEquivalent, facts["lowpass"]),
        "provenance": _facts_of(Provenance, facts["provenance"]),
        "usable_band_hz": (_number("usable_band_hz", low), _number("usable_band_hz", high)),
    }


def _speech_facts(speech: SpeechResponse) -> dict[str, Any]:
    residual, kind = speech.residual, SPEECH_RESPONSES.name_of(type(speech))
    facts: dict[str, Any] = {"kind": kind, "level_db": speech.level_db}
    if residual is not None:
        facts |= {"memory": residual.ar_coefficient, "rise_db": residual.level_correction_db}
    return facts


def _residual_arrays(residual: Residual | None) -> dict[str, NDArray[np.float64]]:
    """Return the arrays of a residual by name; none of a calibration that was not measured."""
    if residual is None:
        return {}
    calibration = residual.calibration
    arrays = (
        {}
        if calibration is None
        else {name: getattr(calibration, field) for name, field in _CALIBRATION.items()}
    )
    return {_RESIDUAL: residual.factor_db, **arrays}


def _read_calibration(arrays: dict[str, NDArray[Any]]) -> Calibration | None:
    """Build the calibration of a residual, and take its arrays out of `arrays`."""
    found = {
        field: arrays.pop(name).astype(np.float64)
        for name, field in _CALIBRATION.items()
        if name in arrays
    }
    return Calibration(**found) if found else None


def _read_speech(
    facts: Any, tensors: dict[str, NDArray[Any]], sample_rate: int
) -> SpeechResponse | None:
    """Build the speech-dependent part, and take its arrays out of `tensors`."""
    names = [name for name in tensors if name.startswith(_SPEECH)]
    arrays = {name.removeprefix(_SPEECH): tensors.pop(name) for name in names}
    if facts is None:
        check_value(not arrays, "speech", sorted(arrays), "described in the header")
        return None
    check_value(isinstance(facts, dict), "speech", facts, "a mapping")
    for name, values in arrays.items():
        known = values.dtype in (np.float32, np.float64)
        check_value(known, f"type of speech.{name}", values.dtype, "float32 or float64")
    factor_db = arrays.pop(_RESIDUAL, None)
    _check_keys(
        "speech", facts, {"kind", "level_db"} | (set() if factor_db is None else _RESIDUAL_FACTS)
    )
    residual = None
    if factor_db is not None:
        residual = Residual(
            factor_db=factor_db.astype(np.float64),
            ar_coefficient=_number("memory", facts["memory"]),
            level_correction_db=_number("rise_db", facts["rise_db"]),
            calibration=_read_calibration(arrays),
        )
    kind = facts["kind"]
    check_value(isinstance(kind, str) and kind in SPEECH_RESPONSES, "speech.kind", kind, "known")
    check_value(1000 <= sample_rate <= 384_000, "sample_rate", sample_rate, "audio")
    level_db = _number("speech.level_db", facts["level_db"])
    common = {"sample_rate": sample_rate, "level_db": level_db, "residual": residual}
    speech = SPEECH_RESPONSES[kind].from_arrays(common, arrays)
    _check_keys("speech tensors", arrays, set(speech.arrays()))
    return speech


def _read_facts(content: bytes) -> dict[str, Any]:
    """Return the facts from a safetensors header, whose JSON is read strictly."""
    length = int.from_bytes(content[:8], "little")
    check_value(len(content) >= 8 and length <= len(content) - 8, "header", "cut short", "whole")
    header = parse_json(content[8 : 8 + length])
    check_value(
        len(header) <= _MAX_TENSORS, "number of tensors", len(header), f"{_MAX_TENSORS} at most"
    )
    metadata = header["__metadata__"]
    _check_keys("metadata", metadata, {_METADATA_KEY})
    facts = parse_json(metadata[_METADATA_KEY])
    check_value(isinstance(facts, dict), "facts", type(facts).__name__, "a mapping")
    if facts.get("schema") != SCHEMA:
        raise InputError(
            f"schema {shown(facts.get('schema'))}, this bcsim reads {SCHEMA}; "
            "fit the sensor again, or install the bcsim that wrote it"
        )
    nested = {"schema", "num_averages", "lowpass", "provenance", "speech"}
    _check_keys("facts", facts, nested | set(_PLAIN_FACTS))
    check_text("name", facts["name"], several_lines=False)
    for name in _INTEGERS:
        check_value(type(facts[name]) is int, name, facts[name], "an integer")
    return facts


def _facts_of(kind: type, facts: Any) -> Any:
    """Build a dataclass from JSON in which every field is of its type, and none is missing.

    Findings may be missing.
    """
    name = kind.__name__.lower()
    check_value(isinstance(facts, dict), name, facts, "a mapping")
    kinds = {item.name: item.type for item in dataclasses.fields(kind)}
    _check_keys(name, facts, set(kinds) - ({"findings"} - facts.keys()))
    for key, value in facts.items():
        if kinds[key] is float:
            facts[key] = _number(f"{name}.{key}", value)
        elif kinds[key] is int:
            check_value(type(value) is int, f"{name}.{key}", value, "an integer")
        elif kinds[key] is str:
            check_text(f"{name}.{key}", value)
        else:
            check_value(isinstance(value, dict), f"{name}.{key}", value, "a mapping")
            for label in value:
                check_text(f"{name}.{key}", label)
            facts[key] = {label: _number(label, number) for label, number in value.items()}
            if key == "findings":
                is_count = all(type(number) is int and number > 0 for number in value.values())
                check_value(is_count, f"{name}.{key}", value, "numbers of pairs")
                facts[key] = dict(value)
    return kind(**facts)


def _number(name: str, value: Any) -> float:
    is_number = isinstance(value, float) or type(value) is int
    check_value(is_number and math.isfinite(value), name, value, "a finite number")
    return float(value)


def _check_keys(what: str, mapping: Mapping[str, Any], expected: set[str]) -> None:
    missing, unknown = expected - set(mapping), set(mapping) - expected
    if missing or unknown:
        found = [f"lacks {name!r}" for name in sorted(missing)]
        found += [f"has unknown '{shown(name)}'" for name in sorted(unknown)]
        raise ValueError(f"{what} {', '.join(found[:3])}")
