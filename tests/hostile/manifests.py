"""Datasets whose manifest lies, or whose files are not those that were written."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np

from bcsim.datasets.manifest import PairRow
from tests.hostile.case import ACCEPT, RATE, REJECT, Case, Verdict, encode, speech

OPTIONAL = {field.name for field in fields(PairRow) if field.default is not MISSING}
Row = dict[str, Any]
Lines = Callable[[list[Row]], bytes]


def lines_of(dataset: Path) -> list[Row]:
    """Return the rows of the training split."""
    return [json.loads(line) for line in _manifest(dataset).read_text("utf-8").splitlines()]


def _manifest(dataset: Path) -> Path:
    return dataset / "train/metadata.jsonl"


def _text(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write_manifests(folder: Path, dataset: Path) -> list[Case]:
    """Write datasets whose manifest cannot be believed, or is odd; reading them must tell.

    Args:
        folder: where to; every case is a dataset.
        dataset: that `synthesize` wrote, with two pairs or more in its training split.
    """
    outside = folder / "outside"
    outside.mkdir(parents=True)
    (outside / "decoy.flac").write_bytes(encode(speech(), "FLAC"))
    rows = lines_of(dataset)
    made = []

    def add(name: str, content: bytes, why: str, verdict: Verdict = REJECT) -> Path:
        copy = folder / name
        shutil.copytree(dataset, copy)
        _manifest(copy).write_bytes(content)
        made.append(Case(name, copy, verdict, why))
        return copy

    def with_value(key: str, value: Any) -> bytes:
        return _text([{**rows[0], key: value}, *rows[1:]])

    add("manifest_good", _text(rows), "as it was written", ACCEPT)
    add("manifest_blank_line", _text(rows) + b"\n", "a blank line behind the last", ACCEPT)
    for name, path in _escapes(outside).items():
        for key in ("bone_file_name", "air_file_name"):
            add(f"manifest_path_{name}_{key[:4]}", with_value(key, path), "leaves the dataset")
    for name, value in (("dots", "../../../evil"), ("absolute", "/etc/evil"), ("nul", "a\0b")):
        add(f"manifest_id_{name}", with_value("id", value), "an id is a path as well")
    for name, (key, value) in _VALUES.items():
        add(f"manifest_{name}", with_value(key, value), f"{key} cannot be that")
    for key in rows[0]:
        without = {name: value for name, value in rows[0].items() if name != key}
        if key not in OPTIONAL:
            add(f"manifest_without_{key}", _text([without, *rows[1:]]), f"{key} is missing")
    for name, change in _BYTES.items():
        add(f"manifest_{name}", change(rows), "no manifest of ours")

    # Links: the path is honest, and the file is not there where it says.
    linked = add("manifest_symlink_out", _text(rows), "a link leads out of the dataset")
    _relink(linked / "train" / rows[0]["bone_file_name"], outside / "decoy.flac")
    folder_link = add("manifest_symlink_folder", _text(rows), "a folder is a link to outside")
    shutil.move(folder_link / "train/bone", outside / "bone")
    (folder_link / "train/bone").symlink_to(outside / "bone")
    loop = add("manifest_symlink_loop", _text(rows), "a link to itself")
    bone = loop / "train" / rows[0]["bone_file_name"]
    _relink(bone, Path(bone.name))
    device = add("manifest_symlink_zero", _text(rows), "a device without an end")
    _relink(device / "train" / rows[0]["air_file_name"], Path("/dev/zero"))
    pipe = add("manifest_fifo", _text(rows), "a pipe in place of a file")
    (pipe / "train" / rows[0]["air_file_name"]).unlink()
    os.mkfifo(pipe / "train" / rows[0]["air_file_name"])
    missing = add("manifest_missing_file", _text(rows), "a file is gone")
    (missing / "train" / rows[0]["bone_file_name"]).unlink()
    gone = add("manifest_missing", b"", "there is no manifest")
    _manifest(gone).unlink()
    return made


def _relink(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def _escapes(outside: Path) -> dict[str, str]:
    decoy = outside / "decoy.flac"
    return {
        "dots": "../../outside/decoy.flac",
        "inner_dots": "bone/../../../outside/decoy.flac",
        "absolute": str(decoy),
        "two_slashes": f"/{decoy}",
        "backslash": "..\\..\\outside\\decoy.flac",
        "drive": "C:decoy.flac",
        "drive_slash": "C:/decoy.flac",
        "nul": "bone/a.flac\0.wav",
        "url": "https://example.invalid/a.flac",
        "file_url": f"file://{decoy}",
        "newline": "bone/a\nb.flac",
        "ansi": "bone/\x1b[2J.flac",
        "empty": "",
        "folder": "bone",
        "dot": ".",
        "proc": "/proc/self/environ",
        "home": "~/a.flac",
        "long": "a/" * 5000 + "b.flac",
    }


_VALUES: dict[str, tuple[str, Any]] = {
    "duration_negative": ("duration_s", -1.0),
    "duration_nan": ("duration_s", float("nan")),
    "duration_inf": ("duration_s", float("inf")),
    "duration_zero": ("duration_s", 0.0),
    "duration_year": ("duration_s", 3e7),
    "duration_huge": ("duration_s", 1e300),
    "duration_text": ("duration_s", "0.3"),
    "duration_null": ("duration_s", None),
    "rate_other": ("sample_rate", 8000),
    "rate_zero": ("sample_rate", 0),
    "rate_negative": ("sample_rate", -RATE),
    "rate_text": ("sample_rate", "16000"),
    "rate_true": ("sample_rate", True),
    "speaker_list": ("speaker", ["a"]),
    "file_number": ("bone_file_name", 7),
    "file_null": ("bone_file_name", None),
    "unknown_key": ("taste", "sweet"),
    "drawn_list": ("drawn", []),
    "seed_text": ("seed", "0"),
}


def _deep(rows: list[Row]) -> bytes:
    return _text(rows[1:]) + b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"


_BYTES: dict[str, Lines] = {
    "empty": lambda rows: b"",
    "blank": lambda rows: b"\n\n\n",
    "duplicate_id": lambda rows: _text([*rows, rows[0]]),
    "torn": lambda rows: _text(rows)[:-40],
    "torn_at_start": lambda rows: _text(rows)[10:],
    "twice_a_key": lambda rows: b'{"id": "x", ' + _text(rows)[1:],
    "giant_line": lambda rows: _text([{**rows[0], "speaker": "x" * 10_000_000}, *rows[1:]]),
    "giant_junk": lambda rows: _text(rows) + b"x" * 10_000_000,
    "deep": _deep,
    "not_utf8": lambda rows: _text(rows) + b"\xff\xfe{}\n",
    "utf16": lambda rows: _text(rows).decode().encode("utf-16"),
    "nul_bytes": lambda rows: b"\0" * 4096,
    "nul_within": lambda rows: _text(rows) + b"\0\0\0\0",
    "list": lambda rows: b"[]\n",
    "text": lambda rows: b"air.wav bone.wav\n",
    "csv": lambda rows: b"id,bone_file_name,air_file_name\nx,bone/x.flac,air/x.flac\n",
    "null": lambda rows: b"null\n",
    "pickle": lambda rows: b"cposix\nsystem\n(S'touch canary'\ntR.",
}


def write_damaged(folder: Path, dataset: Path) -> list[Case]:
    """Write datasets whose manifest is sound, and whose files are not; `verify` must tell."""
    rows = lines_of(dataset)
    made = []

    def add(name: str, why: str, change: Callable[[Path, Path], object]) -> None:
        copy = folder / name
        shutil.copytree(dataset, copy)
        change(copy, copy / "train" / rows[0]["bone_file_name"])
        made.append(Case(name, copy, ACCEPT if name == "dataset_good" else REJECT, why))

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[-100] ^= 1
        path.write_bytes(content)

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-500])

    def other(path: Path) -> None:
        path.write_bytes(encode(0.5 * speech(), "FLAC"))

    def other_rate(path: Path) -> None:
        path.write_bytes(encode(np.zeros(2400), "FLAC", rate=8000))

    add("dataset_good", "as it was written", lambda dataset, bone: None)
    add("dataset_file_changed", "one bit of a file", lambda dataset, bone: flip(bone))
    add("dataset_file_torn", "the end of a file", lambda dataset, bone: cut(bone))
    add("dataset_file_other", "another recording", lambda dataset, bone: other(bone))
    add("dataset_file_other_rate", "at 8 kHz", lambda dataset, bone: other_rate(bone))
    add("dataset_file_empty", "no byte is left", lambda dataset, bone: bone.write_bytes(b""))
    add("dataset_file_missing", "a file is gone", lambda dataset, bone: bone.unlink())
    add("dataset_files_exchanged", "two files under each other's names", _exchange)
    add(
        "dataset_row_missing",
        "a row is gone",
        lambda dataset, bone: _manifest(dataset).write_bytes(_text(rows[1:])),
    )
    add(
        "dataset_row_changed",
        "another speaker",
        lambda dataset, bone: _manifest(dataset).write_bytes(
            _text([{**rows[0], "speaker": "x"}, *rows[1:]])
        ),
    )
    return made


def _exchange(dataset: Path, bone: Path) -> None:
    rows = lines_of(dataset)
    other = dataset / "train" / rows[1]["bone_file_name"]
    first, second = bone.read_bytes(), other.read_bytes()
    bone.write_bytes(second)
    other.write_bytes(first)
