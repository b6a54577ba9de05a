"""What a list tells of rates and durations is compared with the files that it names."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bcsim.datasets.importers import import_pairs
from bcsim.datasets.told_facts import Told

RATE, NUM_SAMPLES = 16_000, 8000  # half a second
FORMATS = ("audiofolder", "table", "speechbrain", "kaldi", "lhotse", "webdataset", "parquet")


def write(source: Path, format: str, told: dict[str, dict[str, Any]]) -> Path:
    """Write a pair for each id and a list of them that tells something of each."""
    contents: dict[tuple[str, str], bytes] = {}
    for number, pair_id in enumerate(told):
        for role in ("air", "bone"):
            rng = np.random.default_rng([number, len(role)])
            content = io.BytesIO()
            samples = rng.integers(-9000, 9000, NUM_SAMPLES).astype(np.int16)
            soundfile.write(content, samples, RATE, format="WAV")
            contents[pair_id, role] = content.getvalue()
            path = source / role / f"{pair_id}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            if format not in ("webdataset", "parquet"):
                path.write_bytes(contents[pair_id, role])
    rows = {
        pair_id: {"air": f"air/{pair_id}.wav", "bone": f"bone/{pair_id}.wav", **facts}
        for pair_id, facts in told.items()
    }
    if format == "audiofolder":
        lines = [json.dumps({"id": pair_id, **row}) for pair_id, row in rows.items()]
        (source / "metadata.jsonl").write_text("\n".join(lines))
    elif format == "table":
        columns = list(dict.fromkeys(key for row in rows.values() for key in row))
        cells = [[pair_id, *(row.get(c, "") for c in columns)] for pair_id, row in rows.items()]
        table = [["id", *columns], *cells]
        (source / "metadata.csv").write_text("\n".join(",".join(map(str, row)) for row in table))
    elif format == "speechbrain":
        entries = {
            pair_id: {"air_wav": row.pop("air"), "bone_wav": row.pop("bone"), **row}
            for pair_id, row in rows.items()
        }
        (source / "train.json").write_text(json.dumps(entries))
    elif format == "kaldi":
        for role in ("air", "bone"):
            script = "".join(f"{pair_id} {role}/{pair_id}.wav\n" for pair_id in rows)
            (source / role / "wav.scp").write_text(script)
        durations = (f"{pair_id} {row['duration']}\n" for pair_id, row in rows.items())
        (source / "air/reco2dur").write_text("".join(durations))
    elif format == "lhotse":
        cuts = [json.dumps(cut(pair_id, facts)) for pair_id, facts in told.items()]
        (source / "cuts.jsonl").write_text("\n".join(cuts))
    elif format == "webdataset":
        with tarfile.open(source / "0.tar", "w") as tar:
            for (pair_id, role), content in contents.items():
                add(tar, f"{pair_id}.{role}.wav", content)
            for pair_id, facts in told.items():
                add(tar, f"{pair_id}.json", json.dumps(facts).encode())
    else:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        table = {
            role: [{"bytes": contents[pair_id, role], "path": None} for pair_id in told]
            for role in ("air", "bone")
        }
        facts = {
            key: [row.get(key) for row in told.values()] for row in told.values() for key in row
        }
        parquet.write_table(pyarrow.table({"id": [*told], **table, **facts}), source / "x.parquet")
    return source


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def cut(pair_id: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Return a cut of Lhotse's, with the facts in its recordings."""

    def recording(role: str) -> dict[str, Any]:
        source = {"type": "file", "channels": [0], "source": f"{role}/{pair_id}.wav"}
        whole = {"sampling_rate": RATE, "duration": 0.5, "num_samples": NUM_SAMPLES}
        return {"id": f"{pair_id}-{role}", "sources": [source], **whole, **facts}

    own = {"id": pair_id, "start": 0, "duration": 0.5, "channel": 0, "supervisions": []}
    custom = {"target_recording": recording("air"), **facts}
    return {**own, "recording": recording("bone"), "custom": custom, "type": "MonoCut"}


@pytest.mark.parametrize("format", FORMATS)
def test_an_entry_that_contradicts_its_files_costs_itself(format, tmp_path):
    """A list of 3 s and 8 kHz named files of half a second at 16 kHz, and nothing was said."""
    told = {"right": {"duration": 0.5}, "long": {"duration": 3.0}, "rounded": {"duration": 0.53}}
    if format not in ("kaldi", "parquet"):
        told |= {"own": {"sampling_rate": RATE}, "slow": {"sampling_rate": 8000}}
    source = write(tmp_path / "in", format, told)
    result = import_pairs(source, tmp_path / "out")
    failed = sorted(name.removeprefix("train/") for name in result.failures)
    assert failed == sorted(name for name in ("long", "slow") if name in told)
    reasons = " ".join(result.failures.values())
    assert "the list tells a duration of 3, and the files last 0.5 s" in reasons
    assert "slow" not in told or "tells 8000 Hz, and the files have 16000 Hz" in reasons


def test_a_resampled_recording_tells_the_rate_that_its_file_had(tmp_path):
    resampled = {
        "sampling_rate": 8000,
        "transforms": [
            {
                "name": "Resample",
                "kwargs": {"source_sampling_rate": RATE, "target_sampling_rate": 8000},
            }
        ],
    }
    source = write(tmp_path / "in", "lhotse", {"a": resampled})
    assert not import_pairs(source, tmp_path / "out").failures


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "kaldi"])
def test_an_entry_tells_its_split_in_every_format(format, tmp_path):
    """`Split`, `eval` and splits in SpeechBrain entries were passed over: tests were trained on."""
    told = {"a": "train", "b": "Test_Set", "c": "eval", "d": "odd"}
    key = "split" if format == "lhotse" else "Split"
    source = write(tmp_path / "in", format, {name: {key: cell} for name, cell in told.items()})
    result = import_pairs(source, tmp_path / "out")
    assert result.num_pairs == {"train": 1, "test": 2}
    assert "'odd' is no split; write train, dev or test" in " ".join(result.failures.values())


def test_a_subset_is_a_split_only_if_it_is_called_like_one(tmp_path):
    told = {"a": {"subset": "train"}, "b": {"subset": "dev"}, "c": {"subset": "clean"}}
    result = import_pairs(write(tmp_path / "in", "table", told), tmp_path / "out")
    assert result.num_pairs == {"train": 1, "validation": 1, "": 1}


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in ("kaldi", "lhotse")])
def test_a_part_of_a_file_is_never_taken_for_the_whole(format, tmp_path):
    """Columns called like `segment_start`, and any of a table with audio, were passed over."""
    told = {"a": {"segment_start": 10.0, "segment_end": 10.2}, "b": {}}
    source = write(tmp_path / "in", format, told)
    result = import_pairs(source, tmp_path / "out")
    assert sum(result.num_pairs.values()) == 1
    reason = " ".join(result.failures.values())
    assert "tells a part of the files" in reason or "tells a duration of 0.2" in reason


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_audio_in_the_source_may_tell_where_it_was_cut_out(format, tmp_path):
    told = {"a": {"start": 10, "end": 10.5}, "b": {"start": 160_000, "end": 168_000}}
    told = {name: {key: float(t) for key, t in facts.items()} for name, facts in told.items()}
    result = import_pairs(write(tmp_path / "in", format, told), tmp_path / "out")
    assert not result.failures


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        ({"duration": 3.2}, True),
        ({"duration": "3.2"}, True),
        ({"duration": 3}, True),
        ({"duration": 3213}, True),  # in milliseconds
        ({"duration": 51408}, True),  # in samples
        ({"duration_ms": 3213}, True),
        ({"duration_ms": 3.213}, False),
        ({"duration_s": 51408}, False),
        ({"duration": 3.31}, False),
        ({"Duration": 2}, False),
        ({"duration": "3 s"}, True),  # which tells nothing that could be compared
        ({"duration": None, "sample_rate": ""}, True),
        ({"duration": float("nan")}, True),
        ({"samplerate": "16000"}, True),
        ({"sample_rate": 48_000}, False),
    ],
)
def test_rounding_and_units_are_no_contradiction(content, fits):
    assert (Told.of(content).contradiction([(16_000, 51_408), (16_000, 60_000)]) is None) == fits
