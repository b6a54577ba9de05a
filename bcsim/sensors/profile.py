"""`SensorProfile`: all that bcsim knows about one sensor, in one shareable file.

The file is safetensors: arrays as float64, and the facts as JSON in the header. It is read as
hostile input: size-capped before parsing, no pickle, unknown or repeated keys refused, values
checked by the constructors that everybody else uses.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from bcsim.errors import InputError
from bcsim.files import write_bytes
from bcsim.sensors.speech import SPEECH_RESPONSES, Residual, SpeechResponse
from bcsim.sensors.transfer_function import TransferFunction

SCHEMA = 2
MAX_BYTES = 2**23
MAX_COMPONENTS = 8
MAX_GAIN = 1e6  # 120 dB: more is no sensor
_METADATA_KEY = "bcsim_sensor"


@dataclass(frozen=True)
class LowpassEquivalent:
    """The low-pass nearest to a response: a second-order section, run forward and backward.

    Args:
        cutoff_hz: of the section, below half the sample rate.
        q: quality factor of the section.
        gain_db: in the pass band.
    """

    cutoff_hz: float
    q: float
    gain_db: float


@dataclass(frozen=True)
class Provenance:
    """Where a profile comes from.

    Args:
        estimator: registered name of the estimator.
        num_pairs: pairs that were used.
        num_talkers: different talkers among them; 0 where the pairs do not say.
        seconds: of pairs.
        active_seconds: of speech therein.
        pause_seconds: of pauses therein, from which the noise floor was taken.
        bcsim_version: that fitted it.
        source: what was recorded, by whom.
        licence: under which the recordings, hence the profile, may be passed on.
        scores: what was measured on held-out recordings, by name.
        learning: LSD on held-out recordings, in dB, by what it was fitted to: "all", and where it
            was measured "half the seconds" and "half the talkers".
        spread: what the spread was measured between: "talkers", "utterances", or "prior" where it
            was taken from another sensor of the kind.
        prior: the sensor whose speech-dependent part was the starting point, or empty.
    """

    estimator: str
    num_pairs: int
    num_talkers: int
    seconds: float
    active_seconds: float
    pause_seconds: float
    bcsim_version: str
    source: str = ""
    licence: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    learning: Mapping[str, float] = field(default_factory=dict)
    spread: str = "utterances"
    prior: str = ""


@dataclass(frozen=True, eq=False)
class SensorProfile:
    """One sensor, as fitted.

    A rendering is: air with the gains of the speech-dependent part, filtered with the response,
    plus noise of the profile's PSD, the whole at the profile's level. Delay and polarity stand
    apart, so that pairs can be made without delay.

    Args:
        name: what the sensor is called.
        sample_rate: in Hz; every array is on the grid of `transfer_function`.
        transfer_function: response with overall delay and polarity taken out; its magnitude
            includes the level (bone relative to air).
        magnitude_interval_db: (2, F), 95 % interval of the response's magnitude, in dB relative to
            it; (0, F) where nothing is known of it.
        coherence_ceiling: (F,), what the noise of the two channels alone would leave of the
            coherence; the gap is the speech dependence.
        spread_db: (F,), standard deviation over talkers of the response's shape.
        spread_components_db: (K, F), K up to 8, smooth. A plausible new response differs from
            the mean by `sum_k z_k component_k`, in dB, with z ~ N(0, 1).
        noise_psd: (F,), one-sided, in 1/Hz, relative to the power of active bone speech: its
            integral is the noise-to-speech power ratio.
        noise_level_std_db: standard deviation of the noise level over recordings.
        level_db: active level of bone relative to that of air, mean over utterances.
        level_std_db: its standard deviation over utterances.
        delay_s: of bone relative to air; negative where bone leads.
        delay_std_s: its standard deviation over recordings.
        leakage_db: (F,), ambient noise at the sensor relative to the air microphone, in dB, or
            None where it was not measured.
        speech: the speech-dependent part, or None for a sensor that is a fixed filter.
        polarity: +1, or -1 where the sensor inverts.
        lowpass: the nearest low-pass.
        usable_band_hz: where coherence exceeds 0.5; (0, 0) if nowhere.
        provenance: where it comes from.

    Raises:
        ValueError: if shapes or values cannot be those of a sensor.
    """

    name: str
    sample_rate: int
    transfer_function: TransferFunction
    spread_db: NDArray[np.float64]
    spread_components_db: NDArray[np.float64]
    noise_psd: NDArray[np.float64]
    noise_level_std_db: float
    level_db: float
    level_std_db: float
    delay_s: float
    polarity: int
    lowpass: LowpassEquivalent
    usable_band_hz: tuple[float, float]
    provenance: Provenance
    coherence_ceiling: NDArray[np.float64]
    magnitude_interval_db: NDArray[np.float64]
    delay_std_s: float = 0.0
    leakage_db: NDArray[np.float64] | None = None
    speech: SpeechResponse | None = None

    def __post_init__(self) -> None:
        bins = len(self.transfer_function.frequencies_hz)
        components = self.spread_components_db
        _require(0 < len(self.name) <= 200, "name", self.name, "1 to 200 characters")
        same_rate = self.sample_rate == self.transfer_function.sample_rate
        _require(same_rate, "sample_rate", self.sample_rate, "that of the response")
        _require(1000 <= self.sample_rate <= 384_000, "sample_rate", self.sample_rate, "audio")
        peak = float(np.abs(self.transfer_function.response).max())
        _require(peak <= MAX_GAIN, "response", peak, f"at most {MAX_GAIN:g}")
        shapes = {
            "spread_db": (self.spread_db, (bins,)),
            "noise_psd": (self.noise_psd, (bins,)),
            "spread_components_db": (components, (len(components), bins)),
            "coherence_ceiling": (self.coherence_ceiling, (bins,)),
        }
        interval = self.magnitude_interval_db
        shapes["magnitude_interval_db"] = (interval, (2 if len(interval) else 0, bins))
        if self.leakage_db is not None:
            shapes["leakage_db"] = (self.leakage_db, (bins,))
        for name, (values, shape) in shapes.items():
            _require(values.shape == shape, f"shape of {name}", values.shape, str(shape))
            _require(bool(np.isfinite(values).all()), name, "not finite", "finite numbers")
        _require(len(components) <= MAX_COMPONENTS, "spread_components_db", len(components), "8")
        _require(bool((self.noise_psd >= 0).all()), "noise_psd", "negative", "0 or more")
        _require(bool((self.spread_db >= 0).all()), "spread_db", "negative", "0 or more")
        ceiling = self.coherence_ceiling
        _require(bool(((ceiling >= 0) & (ceiling <= 1)).all()), "coherence_ceiling", "", "0 to 1")
        if self.speech is not None:
            rate = self.speech.sample_rate
            _require(rate == self.sample_rate, "sample_rate of speech", rate, "the sensor's")
        for name in _NUMBERS:
            value = getattr(self, name)
            _require(math.isfinite(value), name, value, "a finite number")
        for name in ("noise_level_std_db", "level_std_db", "delay_std_s"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(abs(self.delay_s) <= 10, "delay_s", self.delay_s, "within 10 s")
        _require(self.polarity in (1, -1), "polarity", self.polarity, "1 or -1")
        low, high = self.usable_band_hz
        _require(0 <= low <= high <= self.sample_rate / 2, "usable_band_hz", (low, high), "ordered")
        cutoff_hz, q = self.lowpass.cutoff_hz, self.lowpass.q
        _require(0 < cutoff_hz < self.sample_rate / 2, "lowpass.cutoff_hz", cutoff_hz, "in band")
        _require(0 < q < 1000, "lowpass.q", q, "positive")
        _require(math.isfinite(self.lowpass.gain_db), "lowpass.gain_db", "not finite", "finite")

    def impulse_response(self) -> tuple[NDArray[np.float64], int]:
        """Return the taps (2 (F - 1),) with polarity, without delay, and the index of time zero."""
        taps, centre = self.transfer_function.impulse_response()
        return self.polarity * taps, centre

    def noise_to_speech_db(self) -> float:
        """Return the noise power relative to that of active bone speech, not below -200 dB."""
        power = np.trapezoid(self.noise_psd, self.transfer_function.frequencies_hz)
        return 10 * math.log10(max(float(power), 1e-20))

    def to_bytes(self) -> bytes:
        """Return the file's content; equal profiles give equal bytes."""
        tensors = {
            "coherence": self.transfer_function.coherence,
            "noise_psd": self.noise_psd,
            "response": np.stack(
                [self.transfer_function.response.real, self.transfer_function.response.imag]
            ),
            "spread_components_db": self.spread_components_db,
            "spread_db": self.spread_db,
            "coherence_ceiling": self.coherence_ceiling,
            "magnitude_interval_db": self.magnitude_interval_db,
        }
        if self.leakage_db is not None:
            tensors["leakage_db"] = self.leakage_db
        facts = {
            "schema": SCHEMA,
            "speech": None if self.speech is None else _speech_facts(self.speech),
            "num_averages": self.transfer_function.num_averages,
            "lowpass": dataclasses.asdict(self.lowpass),
            "provenance": {
                **dataclasses.asdict(self.provenance),
                "scores": dict(self.provenance.scores),
                "learning": dict(self.provenance.learning),
            },
            **{name: getattr(self, name) for name in _PLAIN_FACTS},
        }
        text = json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False)
        # One metadata key: safetensors keeps the order of tensors, not that of metadata.
        contiguous = {
            name: np.ascontiguousarray(values, dtype="<f8") for name, values in tensors.items()
        }
        if self.speech is not None:
            contiguous |= _speech_tensors(self.speech)
        return safetensors.numpy.save(contiguous, metadata={_METADATA_KEY: text})

    def save(self, path: Path) -> None:
        """Write the profile, whole or not at all; equal profiles give equal bytes.

        Raises:
            InputError: if it would exceed 8 MiB.
            EnvironmentFault: if the disk is full or forbidden.
        """
        content = self.to_bytes()
        if len(content) > MAX_BYTES:
            raise InputError(f"{path}: {len(content)} bytes exceed the {MAX_BYTES} of a profile")
        write_bytes(Path(path), content)

    @classmethod
    def load(cls, path: Path) -> "SensorProfile":
        """Read a profile, trusting nothing.

        Raises:
            InputError: if the file is missing, too large, damaged, of another schema, or holds
                what no sensor can be; the message names the file and the remedy.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such sensor file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES} bytes; this is no sensor profile")
        try:
            return cls.from_bytes(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            RecursionError,
            OverflowError,
            safetensors.SafetensorError,
        ) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{path}: not a sensor profile ({reason}); fit it again with bcsim fit-response"
            ) from error

    @classmethod
    def from_bytes(cls, content: bytes) -> "SensorProfile":
        """Return the profile that `to_bytes` gave.

        Raises:
            InputError: for another schema.
            ValueError, TypeError, KeyError, SafetensorError: for anything else amiss.
        """
        facts = _read_facts(content)
        tensors = safetensors.numpy.load(content)
        if facts.get("schema") != SCHEMA:
            raise InputError(
                f"schema {facts.get('schema')!r}, this bcsim reads {SCHEMA}; "
                "fit the sensor again, or install the bcsim that wrote it"
            )
        _require_keys(
            "facts",
            facts,
            {"schema", "num_averages", "lowpass", "provenance", "speech"} | set(_PLAIN_FACTS),
        )
        speech = _read_speech(facts["speech"], tensors, facts["sample_rate"])
        leakage_db = tensors.pop("leakage_db", None)
        _require_keys("tensors", tensors, set(_TENSORS))
        if leakage_db is not None:
            _require(leakage_db.dtype == np.float64, "leakage_db", leakage_db.dtype, "float64")
        for name, values in tensors.items():
            _require(values.dtype == np.float64, f"type of {name}", values.dtype, "float64")
        response = tensors["response"]
        _require(
            response.ndim == 2 and len(response) == 2, "shape of response", response.shape, "(2, F)"
        )
        for name in _TEXTS:
            _require(isinstance(facts[name], str), name, facts[name], "text")
        for name in _INTEGERS:
            _require(type(facts[name]) is int, name, facts[name], "an integer")
        for name in _NUMBERS:
            facts[name] = _number(name, facts[name])
        low, high = facts["usable_band_hz"]
        transfer_function = TransferFunction(
            frequencies_hz=np.linspace(0, facts["sample_rate"] / 2, response.shape[1]),
            response=response[0] + 1j * response[1],
            coherence=tensors["coherence"],
            num_averages=_number("num_averages", facts["num_averages"]),
        )
        return cls(
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
            **{name: facts[name] for name in (*_TEXTS, *_INTEGERS, *_NUMBERS)},
        )


_TENSORS = (
    "coherence", "coherence_ceiling", "magnitude_interval_db", "noise_psd", "response",
    "spread_components_db", "spread_db",
)  # fmt: skip
_TEXTS = ("name",)
_INTEGERS = ("sample_rate", "polarity")
_NUMBERS = ("noise_level_std_db", "level_db", "level_std_db", "delay_s", "delay_std_s")
_PLAIN_FACTS = (*_TEXTS, *_INTEGERS, *_NUMBERS, "usable_band_hz")


_SPEECH = "speech."  # before the names of its tensors
_RESIDUAL = "residual.factor_db"


def _speech_facts(speech: SpeechResponse) -> dict[str, Any]:
    residual = speech.residual
    kind = SPEECH_RESPONSES.name_of(type(speech))
    facts: dict[str, Any] = {"kind": kind, "level_db": speech.level_db}
    if residual is not None:
        facts |= {"memory": residual.memory, "rise_db": residual.rise_db}
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
        _require(not arrays, "speech", sorted(arrays), "described in the header")
        return None
    _require(isinstance(facts, dict), "speech", facts, "a mapping")
    for name, values in arrays.items():
        known = values.dtype in (np.float32, np.float64)
        _require(known, f"type of speech.{name}", values.dtype, "float32 or float64")
    factor_db = arrays.pop(_RESIDUAL, None)
    _require_keys(
        "speech", facts, {"kind", "level_db"} | (set() if factor_db is None else _RESIDUAL_FACTS)
    )
    residual = None
    if factor_db is not None:
        memory, rise_db = (_number(name, facts[name]) for name in ("memory", "rise_db"))
        residual = Residual(factor_db.astype(np.float64), memory, rise_db)
    kind = facts["kind"]
    _require(isinstance(kind, str) and kind in SPEECH_RESPONSES, "speech.kind", kind, "known")
    _require(type(sample_rate) is int, "sample_rate", sample_rate, "an integer")
    _require(1000 <= sample_rate <= 384_000, "sample_rate", sample_rate, "audio")
    level_db = _number("speech.level_db", facts["level_db"])
    common = {"sample_rate": sample_rate, "level_db": level_db, "residual": residual}
    speech = SPEECH_RESPONSES[kind].from_arrays(common, arrays)
    _require_keys("speech tensors", arrays, set(speech.arrays()))
    return speech


_RESIDUAL_FACTS = {"memory", "rise_db"}


def _read_facts(content: bytes) -> dict[str, Any]:
    """Return the facts from a safetensors header, whose JSON is read strictly."""
    length = int.from_bytes(content[:8], "little")
    _require(len(content) >= 8 and length <= len(content) - 8, "header", "cut short", "whole")
    header = _strict_json(content[8 : 8 + length].decode("utf-8"))
    metadata = header["__metadata__"]
    _require_keys("metadata", metadata, {_METADATA_KEY})
    facts = _strict_json(metadata[_METADATA_KEY])
    _require(isinstance(facts, dict), "facts", type(facts).__name__, "a mapping")
    return facts


def _strict_json(text: str) -> Any:
    """Parse JSON, refusing repeated keys and NaN, which `json.loads` lets through."""

    def unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in items]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"key {key!r} is there twice")
        return dict(items)

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a finite number")

    return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)


def _facts_of(kind: type, facts: Any) -> Any:
    """Build one of the flat dataclasses above from JSON, every field present and of its type."""
    name = kind.__name__.lower()
    _require(isinstance(facts, dict), name, facts, "a mapping")
    kinds = {item.name: item.type for item in dataclasses.fields(kind)}
    _require_keys(name, facts, set(kinds))
    for key, value in facts.items():
        if kinds[key] is float:
            facts[key] = _number(f"{name}.{key}", value)
        elif kinds[key] in (str, int):
            _require(type(value) is kinds[key], f"{name}.{key}", value, "text or an integer")
        else:
            _require(isinstance(value, dict), f"{name}.{key}", value, "a mapping")
            facts[key] = {label: _number(label, number) for label, number in value.items()}
    return kind(**facts)


def _number(name: str, value: Any) -> float:
    is_number = isinstance(value, float) or type(value) is int
    _require(is_number and math.isfinite(value), name, value, "a finite number")
    return float(value)


def _require_keys(what: str, mapping: Mapping[str, Any], expected: set[str]) -> None:
    missing, unknown = expected - set(mapping), set(mapping) - expected
    if missing or unknown:
        found = [f"lacks {name!r}" for name in sorted(missing)]
        found += [f"has unknown {name!r}" for name in sorted(unknown)]
        raise ValueError(f"{what} {', '.join(found[:3])}")


def _require(condition: bool, name: str, value: object, wanted: str) -> None:
    if not condition:
        raise ValueError(f"{name} is {str(value)[:80]!r}, not {wanted}")
