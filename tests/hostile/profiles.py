"""Sensor profiles: one that is sound, and what strangers may send instead."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.broken_audio import Payload
from tests.hostile.case import ACCEPT, BUNDLED_SENSOR, REJECT, Case, Cases

KEY = "bcsim_sensor"  # of the metadata, where the facts are
Header = dict[str, Any]


def split(content: bytes) -> tuple[Header, Header, bytes]:
    """Return tensors of the header, facts and data of a profile."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    facts = json.loads(header.pop("__metadata__")[KEY])
    return header, facts, content[8 + length :]


def join(header: Header | str, facts: Header | str, data: bytes) -> bytes:
    """Return a profile of these parts; a text is taken as it is."""
    if isinstance(header, str):
        text = header
    else:
        said = facts if isinstance(facts, str) else json.dumps(facts, ensure_ascii=False)
        text = json.dumps({"__metadata__": {KEY: said}, **header}, ensure_ascii=False)
    encoded = text.encode("utf-8", "surrogatepass")
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded + data


def write_profiles(folder: Path, canary: Path) -> list[Case]:
    """Write the cases.

    Args:
        folder: where to.
        canary: file that comes to be if code in one of them is run.
    """
    cases = Cases(folder)
    whole = BUNDLED_SENSOR.read_bytes()
    cases.add("profile_good.sensor", whole, ACCEPT, "the bundled sensor")
    _bytes(cases, whole)
    _facts(cases, whole)
    _json(cases, whole)
    _tensors(cases, whole)
    _other_files(cases, canary)
    return cases.found


def _bytes(cases: Cases, whole: bytes) -> None:
    length = int.from_bytes(whole[:8], "little")
    for size in (0, 1, 7, 8, 9, 100, 8 + length, len(whole) // 2, len(whole) - 1):
        cases.add(f"profile_cut_{size}.sensor", whole[:size], REJECT, "the rest is missing")
    cases.add("profile_bytes_after.sensor", whole + b"\0", REJECT, "a byte too many")
    for name, claimed in (
        ("zero", 0), ("one", 1), ("short", length - 8), ("long", length + 8),
        ("gigabyte", 2**30), ("all", 2**64 - 1),
    ):  # fmt: skip
        content = claimed.to_bytes(8, "little") + whole[8:]
        cases.add(f"profile_header_{name}.sensor", content, REJECT, "its header's length is a lie")
    path = cases.add("profile_100mb_of_zeros.sensor", b"", REJECT, "a hundred megabytes of zeros")
    with path.open("wb") as file:
        file.truncate(100 * 2**20)


def _facts(cases: Cases, whole: bytes) -> None:
    header, _, data = split(whole)

    def add(name: str, change: Callable[[Header], object], why: str, verdict: Any = REJECT) -> None:
        facts = split(whole)[1]
        change(facts)
        cases.add(f"profile_{name}.sensor", join(header, facts, data), verdict, why)

    def put(*keys: str, value: Any) -> Callable[[Header], None]:
        def change(facts: Header) -> None:
            for key in keys[:-1]:
                facts = facts[key]
            facts[keys[-1]] = value

        return change

    for key in ("level_db", "delay_s", "level_std_db", "num_averages"):
        for word, value in (("nan", np.nan), ("inf", np.inf)):
            add(f"{key}_{word}", put(key, value=float(value)), "no number")
    for name, key, value, why in (
        ("rate_negative", "sample_rate", -16_000, "no sensor runs backwards"),
        ("rate_zero", "sample_rate", 0, "no rate"),
        ("rate_huge", "sample_rate", 10**12, "a terahertz"),
        ("rate_float", "sample_rate", 16_000.5, "half a sample"),
        ("rate_text", "sample_rate", "16000", "a text"),
        ("rate_true", "sample_rate", True, "a truth value"),
        ("polarity_3", "polarity", 3, "sensors do not amplify by sign"),
        ("polarity_0", "polarity", 0, "nothing would be left"),
        ("schema_newer", "schema", 99, "of a later bcsim"),
        ("schema_missing", "schema", None, "of no bcsim"),
        ("level_huge", "level_db", 5000.0, "would overflow"),
        ("delay_huge", "delay_s", 1e6, "eleven days late"),
        ("std_negative", "level_std_db", -1.0, "deviations have no sign"),
        ("name_number", "name", 7, "a name is a text"),
        ("name_empty", "name", "", "no name"),
        ("name_long", "name", "x" * 100_000, "a name of 100 kB"),
        ("band_reversed", "usable_band_hz", [3000.0, 100.0], "from high to low"),
        ("band_of_three", "usable_band_hz", [1.0, 2.0, 3.0], "three ends"),
        ("band_text", "usable_band_hz", "ab", "no numbers"),
        ("lowpass_list", "lowpass", [], "no mapping"),
        ("provenance_null", "provenance", None, "no mapping"),
        ("speech_list", "speech", [], "no mapping"),
        ("unknown_key", "taste", "sweet", "a fact that no sensor has"),
    ):
        add(name, put(key, value=value), why)
    add("q_zero", put("lowpass", "q", value=0.0), "a filter without damping is not stable")
    add("q_negative", put("lowpass", "q", value=-0.7), "an unstable filter")
    add("cutoff_above", put("lowpass", "cutoff_hz", value=9000.0), "above half the rate")
    add("cutoff_nan", put("lowpass", "cutoff_hz", value=float("nan")), "no number")
    add("gain_inf", put("lowpass", "gain_db", value=float("inf")), "no number")
    add("memory_2", put("speech", "memory", value=2.0), "a recursion that grows without end")
    add("kind_unknown", put("speech", "kind", value="os.system"), "no such model of speech")
    add("kind_list", put("speech", "kind", value=["a"]), "no such model of speech")
    add("pairs_float", put("provenance", "num_pairs", value=1.5), "one and a half pairs")
    add("scores_text", put("provenance", "scores", value={"lsd": "good"}), "no number")
    add("missing_key", lambda facts: facts.pop("delay_s"), "no delay")
    add("missing_q", lambda facts: facts["lowpass"].pop("q"), "no q")
    for name, text, verdict, why in (
        ("unicode", "Kehlkopf \u00fc\u8a9e\U0001f399", ACCEPT, "a name in any script"),
        ("path", "../../etc/passwd", ACCEPT, "a name is shown, never opened"),
        ("markup", "<script>alert(1)</script>", ACCEPT, "and escaped where it is shown"),
        ("ansi", "\x1b[31mred\x1b[0m\x1b[2J", REJECT, "control characters for a terminal"),
        ("newline", "throat\nError: all is well", REJECT, "two lines"),
    ):
        add(f"name_{name}", put("name", value=text), why, verdict)


def _json(cases: Cases, whole: bytes) -> None:
    header, facts, data = split(whole)
    said = json.dumps(facts)

    def add(name: str, head: Header | str, text: Header | str, why: str) -> None:
        cases.add(f"profile_{name}.sensor", join(head, text, data), REJECT, why)

    add("facts_twice", header, '{"schema": 2, ' + said[1:], "a key stands there twice")
    deep = "[" * 100_000
    add("facts_deep", header, deep, "100,000 brackets")
    add("facts_deep_closed", header, deep + "]" * 100_000, "100,000 brackets, closed")
    add("facts_deep_mapping", header, '{"a":' * 100_000 + "1" + "}" * 100_000, "as mappings")
    add("facts_list", header, "[]", "a list")
    add("facts_text", header, "rm -rf", "no JSON")
    add("facts_empty", header, "", "nothing")
    add("facts_long_number", header, '{"schema": ' + "9" * 10_000 + "}", "ten thousand digits")
    add("facts_python", header, "__import__('os').system('touch canary')", "code is no JSON")
    add("header_deep", deep, "", "a header of brackets")
    add("header_list", "[]", "", "a list")
    add("header_text", "no json at all", "", "no JSON")
    add("header_surrogate", '{"\ud800": 1}', "", "half a character")
    twice = json.dumps({"__metadata__": {KEY: said}, **header})
    first = json.dumps({"coherence": header["coherence"]})[:-1]
    add("tensor_twice", first + ", " + twice[1:], "", "a tensor stands there twice")
    metadata = json.dumps({"__metadata__": {KEY: said}})[1:-1]
    add("metadata_twice", "{" + metadata + ", " + twice[1:], "", "the facts stand there twice")
    more = json.dumps({"__metadata__": {KEY: said, "other": "x"}, **header})
    add("metadata_more", more, "", "metadata that nobody asked for")
    without = json.dumps(header)
    add("metadata_missing", without, "", "no facts")


def _tensors(cases: Cases, whole: bytes) -> None:
    def add(name: str, change: Callable[[Header], object], why: str) -> None:
        header, facts, data = split(whole)
        change(header)
        cases.add(f"profile_{name}.sensor", join(header, facts, data), REJECT, why)

    add("tensor_huge", lambda h: h["noise_psd"].update(shape=[2**40]), "eight terabytes")
    add("tensor_overflow", lambda h: h["noise_psd"].update(shape=[2**33, 2**33]), "overflows")
    add("tensor_negative", lambda h: h["noise_psd"].update(shape=[-513]), "a negative shape")
    add("tensor_dtype", lambda h: h["noise_psd"].update(dtype="I64"), "whole numbers")
    add("tensor_dtype_unknown", lambda h: h["noise_psd"].update(dtype="PICKLE"), "no such type")
    add("tensor_flat", lambda h: h["response"].update(shape=[1026]), "neither real nor imaginary")
    add("tensor_transposed", lambda h: h["response"].update(shape=[513, 2]), "turned")
    add("tensor_empty", lambda h: h["noise_psd"].update(shape=[0], data_offsets=[0, 0]), "empty")
    add("tensor_missing", lambda h: h.pop("noise_psd"), "no noise")
    add("tensor_unknown", lambda h: h.update(taste=h.pop("noise_psd")), "another tensor")
    add(
        "tensor_overlaps",
        lambda h: h["noise_psd"].update(data_offsets=h["coherence"]["data_offsets"]),
        "two tensors in one place",
    )
    add(
        "tensor_beyond",
        lambda h: h["noise_psd"].update(data_offsets=[2**40, 2**40 + 513 * 8]),
        "behind the end",
    )
    for tensor, value, name in (
        ("response", np.nan, "response_nan"),
        ("response", np.inf, "response_inf"),
        ("response", 1e200, "response_huge"),
        ("noise_psd", np.nan, "noise_nan"),
        ("noise_psd", -1.0, "noise_negative"),
        ("noise_psd", 1e100, "noise_huge"),
        ("coherence", 1.5, "coherence_above_1"),
        ("coherence", -0.1, "coherence_negative"),
        ("spread_components_db", 1e6, "spread_huge"),
        ("spread_db", np.nan, "spread_nan"),
        ("speech.residual.factor_db", np.nan, "residual_nan"),
    ):
        header, facts, data = split(whole)
        start = header[tensor]["data_offsets"][0]
        edited = bytearray(data)
        edited[start + 80 : start + 88] = np.float64(value).tobytes()
        content = join(header, facts, bytes(edited))
        cases.add(f"profile_{name}.sensor", content, REJECT, f"{tensor} holds {value}")
    header, facts, data = split(whole)
    start = header["speech.weight_0"]["data_offsets"][0]
    edited = bytearray(data)
    edited[start : start + 4] = np.float32(np.nan).tobytes()
    content = join(header, facts, bytes(edited))
    cases.add("profile_weight_nan.sensor", content, REJECT, "a weight is no number")


def _other_files(cases: Cases, canary: Path) -> None:
    arrays = io.BytesIO()
    np.savez(arrays, response=np.zeros(3))
    objects = io.BytesIO()
    np.savez(objects, response=np.array([Payload(canary)], dtype=object))
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("response.npy", b"\0" * 50_000_000)
    for name, content in (
        ("npz", arrays.getvalue()),
        ("npz_objects", objects.getvalue()),
        ("npz_bomb", bomb.getvalue()),
        ("pickle", pickle.dumps(Payload(canary))),
        ("yaml", f"!!python/object/apply:os.system ['touch {canary}']\n".encode()),
        ("json", b'{"schema": 2, "name": "x"}'),
        ("text", b"throat sensor, low-pass at 800 Hz\n"),
    ):
        cases.add(f"profile_{name}.sensor", content, REJECT, f"a {name} is no profile")
