"""Reading and writing `SensorProfile` files.

The file is safetensors: arrays as float64, and the facts as JSON in the header. It is read as
hostile input: size-capped before parsing, no pickle, unknown or repeated keys refused, values
checked by the constructors that everybody else uses.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from bcsim.errors import InputError, fit_line, one_line
from bcsim.files.atomic import write_bytes
from bcsim.files.text import kind_of, parse_json, read_bytes, shown
from bcsim.sensors.profile import (
    MAX_BYTES,
    NUMBERS,
    SCHEMA,
    LowpassEquivalent,
    Provenance,
    SensorProfile,
    check_value,
)
from bcsim.sensors.responses.base import SPEECH_RESPONSES, SpeechResponse
from bcsim.sensors.responses.residual import Residual
from bcsim.sensors.transfer_function import TransferFunction

MAX_REASON = 100  # characters
_METADATA_KEY = "bcsim_sensor"
_TENSORS = (
    "coherence", "coherence_ceiling", "magnitude_interval_db", "noise_psd", "response",
    "spread_components_db", "spread_db",
)  # fmt: skip
_TEXTS = ("name",)
_INTEGERS = ("sample_rate", "polarity")
_PLAIN_FACTS = (*_TEXTS, *_INTEGERS, *NUMBERS, "usable_band_hz")
_SPEECH = "speech."  # before the names of its tensors
_RESIDUAL = "residual.factor_db"
_RESIDUAL_FACTS = {"memory", "rise_db"}


def to_bytes(profile: SensorProfile) -> bytes:
    """Return the file's content; equal profiles give equal bytes."""
    tensors = {
        "coherence": profile.transfer_function.coherence,
        "noise_psd": profile.noise_psd,
        "response": np.stack(
            [profile.transfer_function.response.real, profile.transfer_function.response.imag]
        ),
        "spread_components_db": profile.spread_components_db,
        "spread_db": profile.spread_db,
        "coherence_ceiling": profile.coherence_ceiling,
        "magnitude_interval_db": profile.magnitude_interval_db,
    }
    if profile.leakage_db is not None:
        tensors["leakage_db"] = profile.leakage_db
    _check_text("name", profile.name)
    facts = {
        "schema": SCHEMA,
        "speech": None if profile.speech is None else _speech_facts(profile.speech),
        "num_averages": profile.transfer_function.num_averages,
        "lowpass": dataclasses.asdict(profile.lowpass),
        "provenance": {
            **dataclasses.asdict(profile.provenance),
            "scores": dict(profile.provenance.scores),
            "learning": dict(profile.provenance.learning),
        },
        **{name: getattr(profile, name) for name in _PLAIN_FACTS},
    }
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False)
    # One metadata key: safetensors keeps the order of tensors, not that of metadata.
    contiguous = {
        name: np.ascontiguousarray(values, dtype="<f8") for name, values in tensors.items()
    }
    if profile.speech is not None:
        contiguous |= _speech_tensors(profile.speech)
    return safetensors.numpy.save(contiguous, metadata={_METADATA_KEY: text})


def save(profile: SensorProfile, path: Path) -> None:
    """Write the profile, whole or not at all; equal profiles give equal bytes.

    Raises:
        InputError: if it would exceed 8 MiB.
        EnvironmentFault: if the disk is full or forbidden.
    """
    content = to_bytes(profile)
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: {len(content)} bytes exceed the {MAX_BYTES} of a profile")
    write_bytes(Path(path), content)


def load(path: Path) -> SensorProfile:
    """Read a profile, trusting nothing.

    Raises:
        InputError: if the file is missing, too large, damaged, of another schema, or holds
            what no sensor can be; the message names the file and the remedy.
    """
    path = Path(path)
    content = read_bytes(path, MAX_BYTES, "a sensor profile")
    try:
        return from_bytes(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        OverflowError,
        safetensors.SafetensorError,
    ) as error:
        reason = kind_of(content) or fit_line(one_line(error), MAX_REASON)
        raise InputError(
            f"{path}: not a sensor profile ({reason}); fit it again with bcsim fit-response"
        ) from error


def from_bytes(content: bytes) -> SensorProfile:
    """Return the profile that `to_bytes` gave.

    Raises:
        InputError: for another schema.
        ValueError, TypeError, KeyError, SafetensorError: for anything else amiss.
    """
    facts = _read_facts(content)
    tensors = safetensors.numpy.load(content)
    if facts.get("schema") != SCHEMA:
        raise InputError(
            f"schema {shown(facts.get('schema'))}, this bcsim reads {SCHEMA}; "
            "fit the sensor again, or install the bcsim that wrote it"
        )
    _check_keys(
        "facts",
        facts,
        {"schema", "num_averages", "lowpass", "provenance", "speech"} | set(_PLAIN_FACTS),
    )
    speech = _read_speech(facts["speech"], tensors, facts["sample_rate"])
    leakage_db = tensors.pop("leakage_db", None)
    _check_keys("tensors", tensors, set(_TENSORS))
    if leakage_db is not None:
        check_value(leakage_db.dtype == np.float64, "leakage_db", leakage_db.dtype, "float64")
    for name, values in tensors.items():
        check_value(values.dtype == np.float64, f"type of {name}", values.dtype, "float64")
    response = tensors["response"]
    check_value(
        response.ndim == 2 and len(response) == 2, "shape of response", response.shape, "(2, F)"
    )
    for name in _TEXTS:
        _check_text(name, facts[name])
        check_value("\n" not in facts[name], name, facts[name], "one line")
    for name in _INTEGERS:
        check_value(type(facts[name]) is int, name, facts[name], "an integer")
    for name in NUMBERS:
        facts[name] = _number(name, facts[name])
    low, high = facts["usable_band_hz"]
    transfer_function = TransferFunction(
        frequencies_hz=np.linspace(0, facts["sample_rate"] / 2, response.shape[1]),
        response=response[0] + 1j * response[1],
        coherence=tensors["coherence"],
        num_averages=_number("num_averages", facts["num_averages"]),
    )
    return SensorProfile(
        transfer_function=transfer_function,
        spread_db=tensors["spread_db"],
        spread_components_db=tensors["spread_components_db"],
        noise_psd=tensors["noise_psd"],
        coherence_ceiling=tensors["coherence_ceiling"],
        magnitude_interval_db=tensors["magnitude_interval_db"],
        leakage_db=leakage_db,
        speech=speech,
        lowpass=_facts_of(LowpassEquivalent, facts["lowpass"]),
        provenance=_facts_of(Provenance, facts["provenance"]),
        usable_band_hz=(_number("usable_band_hz", low), _number("usable_band_hz", high)),
        **{name: facts[name] for name in (*_TEXTS, *_INTEGERS, *NUMBERS)},
    )


def _speech_facts(speech: SpeechResponse) -> dict[str, Any]:
    residual = speech.residual
    kind = SPEECH_RESPONSES.name_of(type(speech))
    facts: dict[str, Any] = {"kind": kind, "level_db": speech.level_db}
    if residual is not None:
        facts |= {"memory": residual.ar_coefficient, "rise_db": residual.level_correction_db}
    return facts


def _speech_tensors(speech: SpeechResponse) -> dict[str, NDArray[Any]]:
    arrays = dict(speech.arrays())
    if speech.residual is not None:
        arrays[_RESIDUAL] = speech.residual.factor_db
    return {_SPEECH + name: np.ascontiguousarray(values) for name, values in arrays.items()}


def _read_speech(
    facts: Any, tensors: dict[str, NDArray[Any]], sample_rate: Any
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
        memory, rise_db = (_number(name, facts[name]) for name in ("memory", "rise_db"))
        residual = Residual(factor_db.astype(np.float64), memory, rise_db)
    kind = facts["kind"]
    check_value(isinstance(kind, str) and kind in SPEECH_RESPONSES, "speech.kind", kind, "known")
    check_value(type(sample_rate) is int, "sample_rate", sample_rate, "an integer")
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
    metadata = header["__metadata__"]
    _check_keys("metadata", metadata, {_METADATA_KEY})
    facts = parse_json(metadata[_METADATA_KEY])
    check_value(isinstance(facts, dict), "facts", type(facts).__name__, "a mapping")
    return facts


def _facts_of(kind: type, facts: Any) -> Any:
    """Build one of the flat dataclasses above from JSON, every field present and of its type."""
    name = kind.__name__.lower()
    check_value(isinstance(facts, dict), name, facts, "a mapping")
    kinds = {item.name: item.type for item in dataclasses.fields(kind)}
    _check_keys(name, facts, set(kinds))
    for key, value in facts.items():
        if kinds[key] is float:
            facts[key] = _number(f"{name}.{key}", value)
        elif kinds[key] is int:
            check_value(type(value) is int, f"{name}.{key}", value, "an integer")
        elif kinds[key] is str:
            _check_text(f"{name}.{key}", value)
        else:
            check_value(isinstance(value, dict), f"{name}.{key}", value, "a mapping")
            for label in value:
                _check_text(f"{name}.{key}", label)
            facts[key] = {label: _number(label, number) for label, number in value.items()}
    return kind(**facts)


def _check_text(name: str, value: Any) -> None:
    """Refuse what a terminal might take for a command."""
    check_value(isinstance(value, str), name, value, "text")
    is_plain = all(c.isprintable() or c in "\n\t" for c in value)
    check_value(is_plain, name, value, "text without control characters")


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
