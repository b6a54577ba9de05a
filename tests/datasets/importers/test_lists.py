"""Lists as their owners write them, and one bad entry in them, which costs only itself."""

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from bcsim.datasets.dataset import read_manifest
from bcsim.datasets.importers import ImportResult, import_pairs
from bcsim.errors import InputError, UsageError
from bcsim.rng import stream

RATE = 16_000
SIDES = ("air", "bone")


def noise(*names: str, num_samples: int = 800) -> np.ndarray:
    return stream(0, *names).integers(-9000, 9000, num_samples).astype(np.int16)


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


def sides(folder: Path, *names: str, ending: str = ".wav") -> None:
    """Write `air/NAME.wav` and `bone/NAME.wav`."""
    for name in names:
        for role in SIDES:
            write(folder / f"{role}/{name}{ending}", noise(role, name))


def flac(samples: np.ndarray) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, RATE, format="FLAC")
    return content.getvalue()


def read(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return id to role to samples (int16) of a folder that an import wrote."""
    return {
        row.id: {
            role: soundfile.read(folder / name, dtype="int16")[0]
            for role, name in row.file_names.items()
        }
        for row in read_manifest(folder / "metadata.jsonl")
    }


def speakers(folder: Path) -> dict[str, str | None]:
    return {row.id: row.speaker for row in read_manifest(folder / "metadata.jsonl")}


def assert_sides(pairs: Mapping[str, Mapping[str, np.ndarray]], names: Mapping[str, str]) -> None:
    """Check that pairs hold the noise of the recordings with these names, by id."""
    assert pairs.keys() == names.keys()
    for pair_id, name in names.items():
        for role in SIDES:
            assert np.array_equal(pairs[pair_id][role], noise(role, name)), (pair_id, role)


# What editors, spreadsheets and other tools do to text.

MARK = b"\xef\xbb\xbf"


def list_of(kind: str) -> tuple[str, bytes]:
    """Return name and content of a list of the pairs a and b."""
    rows = [(name, f"air/{name}.wav", f"bone/{name}.wav") for name in "ab"]
    if kind == "speechbrain.csv":
        lines = ["ID,air_wav,bone_wav", *(",".join(row) for row in rows)]
        return "train.csv", "\r\n".join(lines).encode()
    if kind == "speechbrain.json":
        entries = {name: {"air_wav": air, "bone_wav": bone} for name, air, bone in rows}
        return "train.json", json.dumps(entries).encode()
    if kind == "metadata.csv":
        lines = ["id;air;bone", *(";".join(row) for row in rows)]
        return "metadata.csv", "\n".join(lines).encode()
    keys = ("id", "air_file_name", "bone_file_name")
    lines = [json.dumps(dict(zip(keys, row, strict=True))) for row in rows]
    return "metadata.jsonl", "\n".join(lines).encode()


KINDS = ("speechbrain.csv", "speechbrain.json", "metadata.csv", "metadata.jsonl")


@pytest.mark.parametrize("kind", KINDS)
def test_a_byte_order_mark_is_no_part_of_a_name(kind, tmp_path):
    sides(tmp_path / "in", "a", "b")
    name, content = list_of(kind)
    (tmp_path / "in" / name).write_bytes(MARK + content)
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    folder = tmp_path / "out" / next(iter(result.num_pairs))
    assert_sides(read(folder), {"a": "a", "b": "b"})


def kaldi(folder: Path, script: str, marked: bool = False, **tables: str) -> None:
    """Write a data directory for each side; "{role}" in the tables stands for it."""
    for role in SIDES:
        (folder / role).mkdir(parents=True, exist_ok=True)
        for name, text in {"wav.scp": script, **tables}.items():
            content = text.replace("{role}", role).encode()
            (folder / role / name).write_bytes(MARK + content if marked else content)


def test_kaldi_tables_are_divided_by_tabs_or_spaces_behind_a_mark(tmp_path):
    sides(tmp_path / "wav", "a", "b c")
    script = f"u1\t{tmp_path}/wav/{{role}}/a.wav\r\nu2 \t {tmp_path}/wav/{{role}}/b c.wav\r\n"
    kaldi(tmp_path / "in", script, marked=True, utt2spk="u1\tann\nu2\tbob\n")
    import_pairs(tmp_path / "in", tmp_path / "out")
    assert_sides(read(tmp_path / "out"), {"u1": "a", "u2": "b c"})
    assert speakers(tmp_path / "out") == {"u1": "ann", "u2": "bob"}


def test_spk2utt_alone_tells_who_speaks_and_contradictions_are_refused(tmp_path):
    sides(tmp_path / "wav", "a", "b")
    script = "".join(f"u{k} {tmp_path}/wav/{{role}}/{k}.wav\n" for k in "ab")
    kaldi(tmp_path / "in", script, spk2utt="ann ua\nbob ub\n")
    import_pairs(tmp_path / "in", tmp_path / "out")
    assert speakers(tmp_path / "out") == {"ua": "ann", "ub": "bob"}
    kaldi(tmp_path / "two", script, utt2spk="ua ann\nub bob\n", spk2utt="ann ua ub\n")
    result = import_pairs(tmp_path / "two", tmp_path / "out2")
    assert list(result.failures) == ["ub"]
    assert "spk2utt: the speaker is 'ann' here and 'bob'" in result.failures["ub"]


def test_kaldi_folders_without_roles_are_refused_with_the_names_that_are_wanted(tmp_path):
    sides(tmp_path / "wav", "a")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "wav.scp").write_text(f"ua {tmp_path}/wav/air/a.wav\n")
    with pytest.raises(InputError, match="wants NAME_air and NAME_bone"):
        import_pairs(tmp_path / "in", tmp_path / "out", format="kaldi")


@pytest.mark.parametrize(("first", "second"), [("0", "1"), ("A", "B")])
def test_a_channel_in_kaldi_segments_is_that_channel(first, second, tmp_path):
    call = np.stack([noise("left", num_samples=RATE), noise("right", num_samples=RATE)], axis=1)
    for role, turned in zip(SIDES, (1, -1), strict=True):
        write(tmp_path / f"{role}.wav", turned * call)
    segments = f"u1 rec 0.25 0.5 {first}\nu2\trec\t0.5\t0.75\t{second}\n"
    kaldi(tmp_path / "in", f"rec {tmp_path}/{{role}}.wav\n", segments=segments)
    assert import_pairs(tmp_path / "in", tmp_path / "out").failures == {}
    pairs = read(tmp_path / "out")
    for role, turned in zip(SIDES, (1, -1), strict=True):
        assert np.array_equal(turned * pairs["u1"][role], call[4000:8000, 0])
        assert np.array_equal(turned * pairs["u2"][role], call[8000:12_000, 1])


def test_a_kaldi_segment_may_end_half_a_second_behind_its_recording(tmp_path):
    """As in Kaldi's own extract-segments; a longer one costs itself."""
    for role in SIDES:
        write(tmp_path / f"{role}.wav", noise(role, num_samples=RATE))
    segments = "u1 rec 0.5 1.49\nu2 rec 0.5 1.6\nu3 rec 0.0 0.5\n"
    kaldi(tmp_path / "in", f"rec {tmp_path}/{{role}}.wav\n", segments=segments)
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    pairs = read(tmp_path / "out")
    assert pairs.keys() == {"u1", "u3"}
    assert np.array_equal(pairs["u1"]["bone"], noise("bone", num_samples=RATE)[8000:])
    assert "holds 16000 samples, not those from 8000 to 25600" in result.failures["u2"]


def test_a_kaldi_directory_of_stereo_recordings_is_told_by_roles(tmp_path):
    stereo = np.stack([noise("air", "x"), noise("bone", "x")], axis=1)
    path = write(tmp_path / "x.wav", stereo)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/wav.scp").write_text(f"u\t{path}\n")
    with pytest.raises(InputError, match="wants NAME_air and NAME_bone"):
        import_pairs(tmp_path / "in", tmp_path / "out")
    result = import_pairs(tmp_path / "in", tmp_path / "out", channels=SIDES)
    assert result.format == "kaldi"
    assert_sides(read(tmp_path / "out"), {"u": "x"})


def shard(path: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def members(key: str, name: str, air="air.flac", bone="bone.flac") -> dict[str, bytes]:
    return {f"{key}.{air}": flac(noise("air", name)), f"{key}.{bone}": flac(noise("bone", name))}


@pytest.mark.parametrize(
    ("key", "pair_id"),
    [("./k", "k"), ("./s1/k", "s1/k"), ("rec.1.take.2", "rec.1.take.2"), ("U0.A", "U0.A")],
)
def test_keys_of_a_tar_are_taken_as_they_are_written(key, pair_id, tmp_path):
    source = shard(tmp_path / "x.tar", members(key, "n"))
    import_pairs(source, tmp_path / "out")
    assert_sides(read(tmp_path / "out"), {pair_id: "n"})


def test_capitals_in_roles_and_endings_of_a_tar_do_not_matter(tmp_path):
    source = shard(tmp_path / "x.tar", members("U0", "n", "Air.FLAC", "BONE.Flac"))
    import_pairs(source, tmp_path / "out")
    assert_sides(read(tmp_path / "out"), {"U0": "n"})


def test_facts_of_a_key_with_dots_are_found_by_either_rule(tmp_path):
    """The webdataset library ends a key at its first dot, people name the JSON as the audio."""
    facts = {"a.b.json": b'{"speaker": "ann"}', "c.json": b'{"speaker": "cy"}'}
    source = shard(tmp_path / "x.tar", {**members("a.b", "n"), **members("c.d", "m"), **facts})
    import_pairs(source, tmp_path / "out")
    assert speakers(tmp_path / "out") == {"a.b": "ann", "c.d": "cy"}


def test_keys_that_begin_anew_in_each_shard_are_different_pairs(tmp_path):
    for number in range(3):
        shard(
            tmp_path / f"in/part-{number}.tar",
            {**members("000", f"{number}0"), **members("001", f"{number}1")},
        )
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert (result.num_pairs, result.failures) == ({"": 6}, {})
    wanted = {f"part-{n}/00{k}": f"{n}{k}" for n in range(3) for k in range(2)}
    assert_sides(read(tmp_path / "out"), wanted)
    assert set(speakers(tmp_path / "out").values()) == {None}


@pytest.mark.parametrize("ending", ["tar.gz", "tgz"])
def test_a_packed_tar_is_read(ending, tmp_path):
    source = shard(tmp_path / f"in/x.{ending}", {**members("a", "1"), **members("b", "2")}, "w:gz")
    assert import_pairs(tmp_path / "in", tmp_path / "out").num_pairs == {"": 2}
    assert_sides(read(tmp_path / "out"), {"a": "1", "b": "2"})
    source.write_bytes(source.read_bytes()[:-200])
    with pytest.raises(InputError, match="cannot be expanded"):
        import_pairs(source, tmp_path / "other")


def test_stereo_members_of_a_tar_are_told_by_roles(tmp_path):
    stereo = {
        f"{name}.flac": flac(np.stack([noise("bone", name), noise("air", name)], axis=1))
        for name in ("a", "b.c")
    }
    source = shard(tmp_path / "x.tar", {**stereo, "a.txt": b"hello"})
    with pytest.raises(InputError, match=r"members such as 'a.flac'; wants KEY.air.flac"):
        import_pairs(source, tmp_path / "out")
    import_pairs(source, tmp_path / "out", channels=("bone", "air"))
    assert_sides(read(tmp_path / "out"), {"a": "a", "b.c": "b.c"})


def test_a_member_that_is_in_a_tar_twice_costs_its_pair(tmp_path):
    twice = {**members("a", "1"), "a.air.wav": flac(noise("other")), **members("b", "2")}
    result = import_pairs(shard(tmp_path / "x.tar", twice), tmp_path / "out")
    assert_sides(read(tmp_path / "out"), {"b": "2"})
    assert "is there twice" in result.failures["a"]


def test_splits_of_shards_may_be_folders(tmp_path):
    for split in ("train", "dev"):
        shard(tmp_path / f"in/{split}/000.tar", members("k", split))
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert result.num_pairs == {"train": 1, "validation": 1}
    assert_sides(read(tmp_path / "out/validation"), {"validation/k": "dev"})


# Tables with the audio in them.


def cell(samples: np.ndarray) -> dict[str, Any]:
    return {"bytes": flac(samples), "path": "x.flac"}


def columns(air: str, bone: str, *names: str) -> dict[str, list[Any]]:
    return {
        air: [cell(noise("air", name)) for name in names],
        bone: [cell(noise("bone", name)) for name in names],
        "id": list(names),
    }


@pytest.fixture
def write_parquet():
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def write_table(path: Path, table: dict[str, list[Any]]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.table(table), path)
        return path

    return write_table


NAMES = {"air": "mic", "bone": "throat"}


def test_a_shard_or_table_that_is_cut_costs_only_itself(write_parquet, tmp_path):
    """Of many files that were copied, one is often empty or cut."""
    for number in range(3):
        shard(tmp_path / f"tar/{number}.tar", members(f"k{number}", f"n{number}"))
        write_parquet(
            tmp_path / f"table/train-{number}.parquet", columns("air", "bone", f"n{number}")
        )
    (tmp_path / "tar/0.tar").write_bytes(b"")
    (tmp_path / "tar/1.tar").write_bytes((tmp_path / "tar/1.tar").read_bytes()[:300])
    whole = (tmp_path / "table/train-0.parquet").read_bytes()
    (tmp_path / "table/train-0.parquet").write_bytes(whole[: len(whole) // 2])
    result = import_pairs(tmp_path / "tar", tmp_path / "out")
    assert_sides(read(tmp_path / "out"), {"k2": "n2"})
    assert [name in str(result.failures) for name in ("0.tar", "1.tar", "2.tar")] == [1, 1, 0]
    result = import_pairs(tmp_path / "table", tmp_path / "out2")
    assert sum(result.num_pairs.values()) == 2
    assert len(result.failures) == 1
    assert "train-0.parquet: is no sound parquet file" in str(result.failures)


def test_audio_columns_of_any_name_are_named_by_the_user(write_parquet, tmp_path):
    source = write_parquet(tmp_path / "in/x.parquet", columns("mic", "throat", "a", "b"))
    with pytest.raises(InputError, match="has the columns mic, throat, id; wants air and bone"):
        import_pairs(source, tmp_path / "out")
    assert import_pairs(source, tmp_path / "out", names=NAMES).format == "parquet"
    assert_sides(read(tmp_path / "out"), {"a": "a", "b": "b"})


def test_configurations_and_splits_in_folders_are_told_apart(write_parquet, tmp_path):
    for config in ("speech", "speechless"):
        for split in ("train", "test"):
            table = columns("mic", "throat", f"{config}-{split}")
            write_parquet(tmp_path / f"in/{config}/{split}/0000.parquet", table)
    with pytest.raises(InputError, match=r"several datasets \(speech, speechless\)"):
        import_pairs(tmp_path / "in", tmp_path / "out", names=NAMES)
    result = import_pairs(tmp_path / "in/speech", tmp_path / "out", names=NAMES)
    assert result.num_pairs == {"test": 1, "train": 1}
    assert_sides(read(tmp_path / "out/test"), {"speech-test": "speech-test"})


def test_stereo_cells_of_a_table_are_told_by_roles(write_parquet, tmp_path):
    stereo = np.stack([noise("air", "a"), noise("bone", "a")], axis=1)
    source = write_parquet(tmp_path / "x.parquet", {"audio": [cell(stereo)], "id": ["a"]})
    import_pairs(source, tmp_path / "out", channels=SIDES)
    assert_sides(read(tmp_path / "out"), {"a": "a"})


def test_both_sides_may_be_fields_of_one_column(write_parquet, tmp_path):
    fields = {role: columns("air", "bone", "a", "b")[role] for role in SIDES}
    rows = [{"near": air, "far": bone} for air, bone in zip(*fields.values(), strict=True)]
    source = write_parquet(tmp_path / "x.parquet", {"take": rows, "id": ["a", "b"]})
    with pytest.raises(InputError, match=r"has the columns take, take\.near, take\.far, id"):
        import_pairs(source, tmp_path / "out")
    save_to_disk(tmp_path / "saved", {"take": rows, "id": ["a", "b"]})
    names = {"air": "take.near", "bone": "take.far"}
    for number, place in enumerate((source, tmp_path / "saved")):
        import_pairs(place, tmp_path / f"out{number}", names=names)
        assert_sides(read(tmp_path / f"out{number}"), {"a": "a", "b": "b"})


def test_cells_may_be_bytes_or_the_paths_of_files(write_parquet, tmp_path):
    write(tmp_path / "in/wav/a.wav", noise("bone", "a"))
    table = {"air": [flac(noise("air", "a")), None], "bone": ["wav/a.wav", "wav/b.wav"]}
    source = write_parquet(tmp_path / "in/x.parquet", table)
    result = import_pairs(source, tmp_path / "out")
    assert_sides(read(tmp_path / "out"), {"x-000000": "a"})
    assert "row 1 of air holds no audio" in result.failures["x-000001"]


def save_to_disk(folder: Path, table: dict[str, list[Any]], rows_a_batch: int = 1) -> None:
    """Write what `datasets` writes; `test_real_libraries` reads what it really wrote."""
    pyarrow = pytest.importorskip("pyarrow")
    folder.mkdir(parents=True)
    content = pyarrow.table(table)
    with pyarrow.ipc.new_stream(folder / "data-00000-of-00001.arrow", content.schema) as writer:
        writer.write_table(content, max_chunksize=rows_a_batch)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def test_a_folder_of_save_to_disk_is_read(tmp_path):
    for split in ("train", "test"):
        save_to_disk(tmp_path / "in" / split, columns("mic", "throat", f"{split} a", f"{split} b"))
    (tmp_path / "in/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    result = import_pairs(tmp_path / "in", tmp_path / "out", names=NAMES)
    assert (result.format, result.num_pairs) == ("parquet", {"train": 2, "test": 2})
    assert_sides(read(tmp_path / "out/test"), {f"test {name}": f"test {name}" for name in "ab"})
    (tmp_path / "in/test/data-00000-of-00001.arrow").unlink()
    save_to_disk(tmp_path / "other", columns("mic", "throat", "a"))
    (tmp_path / "other/state.json").write_text(
        '{"_data_files": [{"filename": "data-00000-of-00001.arrow"}, {"filename": "b.arrow"}]}'
    )
    with pytest.raises(InputError, match=r"b.arrow is missing"):
        import_pairs(tmp_path / "other", tmp_path / "no", names=NAMES)


def test_an_offset_that_leads_out_of_an_arrow_file_is_no_audio(tmp_path):
    """What lay behind it in memory was read, and another one ended the process."""
    sides = {role: [flac(noise(role, name)) for name in "ab"] for role in ("air", "bone")}
    save_to_disk(tmp_path / "in", sides, rows_a_batch=2)
    (path,) = (tmp_path / "in").glob("*.arrow")
    first, second = map(len, sides["bone"])
    whole, offsets = path.read_bytes(), struct.pack("<3i", 0, first, first + second)
    assert whole.count(offsets) == 1
    wrong = struct.pack("<3i", 0, first + second + 64, first + second)
    path.write_bytes(whole.replace(offsets, wrong))
    with pytest.raises(InputError, match=r"is no sound Arrow file .*[Oo]ffset"):
        import_pairs(tmp_path / "in", tmp_path / "out")


def test_without_pyarrow_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"pip install 'bcsim\[parquet\]'"):
        import_pairs(tmp_path / "x.parquet", tmp_path / "out")


# Lhotse.


def recording(path: Path, **changes: Any) -> dict[str, Any]:
    source = {"type": "file", "channels": [0], "source": str(path)}
    return {"id": path.stem, "sources": [source], "sampling_rate": RATE, **changes}


def cut(folder: Path, name: str, **changes: Any) -> dict[str, Any]:
    """A cut of the pair NAME, 50 ms."""
    sides(folder, name)
    return {
        "id": name, "start": 0.0, "duration": 0.05, "channel": 0, "type": "MonoCut",
        "supervisions": [{"id": name, "speaker": "ann"}],
        "recording": recording(folder / f"bone/{name}.wav"),
        "custom": {"target_recording": recording(folder / f"air/{name}.wav")}, **changes,
    }  # fmt: skip


def cuts(path: Path, *entries: Any) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def mixed(name: str, *tracks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    parts = [{"cut": track, "type": track.pop("type"), "offset": 0.0} for track in tracks]
    return {"id": name, "tracks": parts, "type": "MixedCut", **changes}


def test_a_padded_cut_is_taken_without_its_padding(tmp_path):
    padding = {"id": "pad", "type": "PaddingCut", "duration": 1.0, "sampling_rate": RATE}
    noisy = mixed("noisy", cut(tmp_path, "c"), cut(tmp_path, "d"))
    source = cuts(
        tmp_path / "cuts.jsonl",
        mixed("padded", cut(tmp_path, "a"), dict(padding)),
        mixed("left", dict(padding), cut(tmp_path, "b")),
        noisy,
    )
    result = import_pairs(source, tmp_path / "out")
    assert_sides(read(tmp_path / "out"), {"padded": "a", "left": "b"})
    assert speakers(tmp_path / "out") == {"padded": "ann", "left": "ann"}
    assert "line 3: mixes 2 recordings" in result.failures["noisy"]


def test_a_resampled_recording_is_resampled_and_other_transforms_cost_the_cut(tmp_path):
    slow = {"name": "Speed", "kwargs": {"factor": 0.9}}
    half = {
        "name": "Resample",
        "kwargs": {"source_sampling_rate": RATE, "target_sampling_rate": RATE // 2},
    }
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    for role, gain in zip(SIDES, (0.5, 0.25), strict=True):
        write(tmp_path / f"{role}/tone.wav", gain * tone)
    changes = {
        "recording": recording(tmp_path / "bone/tone.wav", transforms=[half]),
        "custom": {"target_recording": recording(tmp_path / "air/tone.wav", transforms=[half])},
        "duration": 1.0,
    }
    bad = {"recording": recording(tmp_path / "bone/b.wav", transforms=[half, slow])}
    source = cuts(tmp_path / "cuts.jsonl", cut(tmp_path, "a", **changes), cut(tmp_path, "b", **bad))
    result = import_pairs(source, tmp_path / "out")
    assert "transformed as it is read (Speed)" in result.failures["b"]
    row = read_manifest(tmp_path / "out/metadata.jsonl")[0]
    assert (row.sample_rate, row.duration_s) == (RATE // 2, 1.0)
    stored, rate = soundfile.read(tmp_path / "out" / row.air_file_name)
    assert rate == RATE // 2
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    inner = slice(400, -400)  # the filter rings at both ends
    assert np.abs(stored[inner] - expected[inner]).max() < 1e-3


def test_sides_of_two_rates_are_refused_or_resampled_as_asked(tmp_path):
    tone = [0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate) for rate in (RATE, 48_000)]
    write(tmp_path / "in/bone.wav", tone[0])
    write(tmp_path / "in/air.wav", tone[1], 48_000)
    (tmp_path / "in/train.json").write_text('{"a": {"air_wav": "air.wav", "bone_wav": "bone.wav"}}')
    with pytest.raises(InputError, match="bone is 16000 Hz, air is 48000 Hz; name one sample rate"):
        import_pairs(tmp_path / "in", tmp_path / "out")
    import_pairs(tmp_path / "in", tmp_path / "out", sample_rate=RATE)
    air, rate = soundfile.read(tmp_path / "out/train/air/a.wav")
    assert (rate, len(air)) == (RATE, RATE)
    assert np.abs(air - tone[0])[400:-400].max() < 1e-3
    bone = (tmp_path / "out/train/bone/a.wav").read_bytes()
    assert bone == (tmp_path / "in/bone.wav").read_bytes()


# People's own tables.


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "mic,throat,speaker\nair/a.wav,bone/a.wav,ann\n"),
        ("metadata.csv", "mic_file_name\tthroat_file_name\ttalker\nair/a.wav\tbone/a.wav\tann\n"),
        ("metadata.jsonl", '{"mic": "air/a.wav", "throat": "bone/a.wav", "spk_id": "ann"}\n'),
        ("mine.csv", "throat;mic;Speaker\nbone/a.wav;air/a.wav;ann\n"),
    ],
)
def test_a_table_of_ones_own_is_read_by_the_names_of_its_columns(name, text, tmp_path):
    sides(tmp_path / "in", "a")
    (tmp_path / "in" / name).write_text(text)
    source = tmp_path / "in" if name.startswith("metadata") else tmp_path / "in" / name
    result = import_pairs(source, tmp_path / "out", names=NAMES)
    assert result.format == "audiofolder"
    assert_sides(read(tmp_path / "out"), {"bone/a": "a"})
    assert result.speakers == {"ann"}


def test_a_column_of_stereo_files_is_told_by_roles(tmp_path):
    stereo = np.stack([noise("air", "a"), noise("bone", "a")], axis=1)
    write(tmp_path / "in/a.wav", stereo)
    (tmp_path / "in/mine.csv").write_text("file_name,id\na.wav,a\n")
    import_pairs(tmp_path / "in/mine.csv", tmp_path / "out", channels=SIDES)
    assert_sides(read(tmp_path / "out"), {"a": "a"})


@pytest.mark.parametrize("name", ["metadata.csv", "train.json"])
def test_accents_may_be_composed_in_the_list_and_taken_apart_on_the_disk(name, tmp_path):
    composed, apart = "\u00e9t\u00e9", "e\u0301te\u0301"
    for role, spelling in (("air", composed), ("bone", apart)):
        write(tmp_path / f"in/{role}/{spelling}.wav", noise(role, "a"))
    text = f"id,air,bone\na,air/{apart}.wav,bone/{composed}.wav\n"
    entry = {"air_wav": f"air/{apart}.wav", "bone_wav": f"bone/{composed}.wav"}
    content = text if name == "metadata.csv" else json.dumps({"a": entry})
    (tmp_path / "in" / name).write_text(content)
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert_sides(read(tmp_path / "out" / next(iter(result.num_pairs))), {"a": "a"})


def test_a_column_of_splits_divides_a_table(tmp_path):
    sides(tmp_path / "in", "a", "b", "c")
    lines = [
        f"{n},air/{n}.wav,bone/{n}.wav,{s}"
        for n, s in zip("abc", ("Train", "dev", ""), strict=True)
    ]
    text = "\n".join(["id,Air,Bone,split", *lines])
    (tmp_path / "in/metadata.csv").write_text(text)
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert result.num_pairs == {"train": 1, "validation": 1, "": 1}
    assert_sides(read(tmp_path / "out/validation"), {"b": "b"})


def test_ids_that_begin_anew_in_each_list_are_different_pairs(tmp_path):
    for site in ("here", "there"):
        sides(tmp_path / "in" / site, f"{site} 0")
        entry = {f"{role}_wav": f"{site}/{role}/{site} 0.wav" for role in SIDES}
        (tmp_path / f"in/{site}.json").write_text(json.dumps({"0": entry}))
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert result.failures == {}
    assert_sides(read(tmp_path / "out"), {"here/0": "here 0", "there/0": "there 0"})


def test_a_recording_is_no_pair_with_itself(tmp_path):
    sides(tmp_path / "in", "a")
    rows = "id,air,bone\ngood,air/a.wav,bone/a.wav\nbad,air/a.wav,air/a.wav\n"
    (tmp_path / "in/metadata.csv").write_text(rows)
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert "is both air and bone" in result.failures["bad"]
    assert_sides(read(tmp_path / "out"), {"good": "a"})


@pytest.mark.parametrize(
    ("names", "channels"),
    [
        ({"air": "mic", "bone": "mic"}, ()),
        ({"bone": "throat"}, SIDES),
        ({"air": "mic", "bone": "throat"}, SIDES),
    ],
)
def test_names_that_make_no_sense_together_are_refused(names, channels, tmp_path):
    sides(tmp_path / "in", "a")
    (tmp_path / "in/mine.csv").write_text("mic,throat\nair/a.wav,bone/a.wav\n")
    with pytest.raises(UsageError, match=r"have one name|the channels tell the roles"):
        import_pairs(tmp_path / "in/mine.csv", tmp_path / "out", names=names, channels=channels)


def test_splits_and_talkers_of_a_table_are_columns_of_it(write_parquet, tmp_path):
    facts = {"split": ["train", "test"], "client_id": ["ann", "bob"]}
    table = {**columns("air", "bone", "a", "b"), **facts}
    result = import_pairs(write_parquet(tmp_path / "x.parquet", table), tmp_path / "out")
    assert (result.num_pairs, result.speakers) == ({"train": 1, "test": 1}, {"ann", "bob"})
    assert_sides(read(tmp_path / "out/test"), {"b": "b"})


def test_a_split_above_the_folders_of_sensors_is_no_talker(tmp_path):
    for role, sensor in zip(SIDES, ("headset_microphone", "throat_microphone"), strict=True):
        write(tmp_path / f"in/train/audio.{sensor}/ann/a.wav", noise(role, "a"))
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert (result.num_pairs, result.speakers) == ({"train": 1}, {"ann"})
    assert_sides(read(tmp_path / "out/train"), {"ann/a": "a"})


def test_kaldi_directories_of_the_sides_may_lie_in_those_of_the_splits(tmp_path):
    sides(tmp_path / "wav", "a", "b")
    for split, name in (("train", "a"), ("test", "b")):
        kaldi(tmp_path / "in" / split, f"u {tmp_path}/wav/{{role}}/{name}.wav\n")
    assert import_pairs(tmp_path / "in", tmp_path / "out").num_pairs == {"test": 1, "train": 1}
    assert_sides(read(tmp_path / "out/test"), {"test/u": "b"})


def test_more_channels_than_roles_are_not_guessed_at(tmp_path):
    stereo = np.stack([noise("air", "a"), noise("bone", "a")], axis=1)
    write(tmp_path / "in/a.wav", stereo)
    write(tmp_path / "in/b.wav", np.concatenate([stereo, stereo], axis=1))
    result = import_pairs(tmp_path / "in", tmp_path / "out", channels=SIDES)
    assert "b.wav: has 4 channels, and 2 are told" in result.failures["b"]
    assert_sides(read(tmp_path / "out"), {"a": "a"})


@pytest.mark.parametrize("ids", [("u", "u.wav/x"), ("u.wav/x", "u"), ("U.wav/x", "u.wav/y")])
def test_a_folder_called_like_a_file_costs_at_most_its_pair(ids, tmp_path):
    sides(tmp_path / "in", "a")
    rows = "".join(f"{pair_id},air/a.wav,bone/a.wav\n" for pair_id in ids)
    (tmp_path / "in/metadata.csv").write_text(f"\nid,air,bone\n{rows}")
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert counted(result) == 2
    assert ("called like the file" in str(result.failures)) == ("u" in ids)


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_a_tar_is_packed_where_its_content_says_so(name, tmp_path):
    source = shard(tmp_path / name, members("a", "a"), "w:gz" if name == "x.tar" else "w")
    import_pairs(source, tmp_path / "out")
    assert_sides(read(tmp_path / "out"), {"a": "a"})


def test_a_data_file_without_the_columns_of_the_others_is_counted(tmp_path):
    sides(tmp_path / "in", "a")
    good = {"air_wav": "air/a.wav", "bone_wav": "bone/a.wav"}
    (tmp_path / "in/train.json").write_text(json.dumps({"a": good}))
    (tmp_path / "in/test.json").write_text(json.dumps({"b": {"wav": "air/a.wav"}, "c": {}}))
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert result.num_pairs == {"train": 1}
    assert result.failures.keys() == {"test/b", "test/c"}


def test_cuts_in_folders_of_splits_are_read(tmp_path):
    for split in ("train", "dev"):
        (tmp_path / "in" / split).mkdir(parents=True)
        cuts(tmp_path / f"in/{split}/cuts.jsonl", cut(tmp_path / "wav", split))
    cuts(tmp_path / "in/cuts_test.jsonl", cut(tmp_path / "wav", "c"))
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert result.num_pairs == {"test": 1, "train": 1, "validation": 1}
    assert_sides(read(tmp_path / "out/validation"), {"dev": "dev"})


# One bad entry costs only itself.

LONG = "ab/" * 3000 + "x.wav"  # longer than paths may be, which `stat` fails at


def bad_kaldi(folder: Path) -> set[str]:
    sides(folder / "wav", "a", "good")
    script = (
        f"good {folder}/wav/{{role}}/good.wav\n"
        "pipe sox x.sph -t wav - |\n"
        "empty\n"
        f"long {LONG}\n"
        f"twice {folder}/wav/{{role}}/a.wav\ntwice {folder}/wav/{{role}}/good.wav\n"
    )
    kaldi(folder / "in", script)
    return {"pipe", "empty", "long", "twice"}


def bad_segments(folder: Path) -> set[str]:
    sides(folder / "wav", "rec")
    segments = "good rec 0 0.05\nunknown nobody 0 1\nodd rec 0\ntime rec a b\nnan rec nan 1\n"
    script = f"rec {folder}/wav/{{role}}/rec.wav\npipe touch {folder}/owned |\n"
    kaldi(folder / "in", script, segments=segments + "piped pipe 0 1\n")
    return {"unknown", "odd", "time", "nan", "piped"}


def bad_cuts(folder: Path) -> set[str]:
    bad = [
        cut(folder, "command", recording={**recording(folder / "x.wav"), "sources": [
            {"type": "command", "channels": [0], "source": f"touch {folder}/owned"}]}),
        cut(folder, "channel", channel=3),
        cut(folder, "start", start="soon"),
        cut(folder, "times", start=-1.0),
        cut(folder, "long", recording=recording(Path(LONG))),
        {"id": "features", "type": "MonoCut", "features": {}},
        cut(folder, "two", supervisions=[{"speaker": "ann"}, {"speaker": "bob"}]),
    ]  # fmt: skip
    (folder / "in").mkdir()
    cuts(folder / "in/cuts.jsonl", *bad[:3], cut(folder, "good"), *bad[3:])
    with (folder / "in/cuts.jsonl").open("a") as file:
        file.write('{"id": "half", "start\n')
    return {str(entry["id"]) for entry in bad} | {f"{folder}/in/cuts.jsonl line 9"}


def bad_speechbrain(folder: Path) -> set[str]:
    sides(folder / "in", "good")
    good = {"air_wav": "air/good.wav", "bone_wav": "bone/good.wav"}
    entries = {
        "object": 3, "name": {**good, "air_wav": ["air/good.wav"]}, "speaker": {**good, "spk": [1]},
        "air": {"bone_wav": "bone/good.wav"}, "long": {**good, "air_wav": LONG},
    }  # fmt: skip
    text = json.dumps({"good": good, **entries})
    (folder / "in/train.json").write_text(f'{text[:-1]}, "good": {json.dumps(good)}}}')
    return {*entries, "good"}


def bad_table(folder: Path) -> set[str]:
    sides(folder / "in", "good")
    path = folder / "in/train.csv"
    path.write_text(
        "ID,air_wav,bone_wav\ngood,air/good.wav,bone/good.wav\nmore,a,b.wav,b,c.wav\n"
        ",air/good.wav,bone/good.wav\nless,air/good.wav\nlost,air/lost.wav,bone/lost.wav\n"
        f"long,{LONG},bone/good.wav\n"
    )
    return {*(f"{path} line {n}" for n in (3, 4)), "less", "lost", "long"}


def bad_metadata(folder: Path) -> set[str]:
    sides(folder / "in", "good")
    good = {"air_file_name": "air/good.wav", "bone_file_name": "bone/good.wav"}
    rows = [
        {"id": "out", **good, "air_file_name": "../../secret.wav"},
        {"id": "list", **good, "speaker": ["ann", "bob"]},
        {"id": "true", **good, "bone_file_name": True},
        {"id": "bone", "air_file_name": "air/good.wav"},
        {"id": "long", **good, "air_file_name": LONG},
        {"id": "good", **good},
    ]
    text = "".join(json.dumps(row) + "\n" for row in [{"id": "good", **good}, *rows])
    (folder / "in/metadata.jsonl").write_text(f"{text}[1, 2]\n")
    return {*(str(row["id"]) for row in rows), f"{folder}/in/metadata.jsonl line 8"}


def bad_shard(folder: Path) -> set[str]:
    bad = {
        **members("text", "t"), "text.json": b"no json", **members("list", "l"),
        "list.json": b'{"speaker": ["ann"]}', "alone.air.flac": flac(noise("x")),
        **members("noise", "n", bone="bone.txt"),
    }  # fmt: skip
    shard(folder / "in/x.tar", {**members("good", "good"), **bad, "noise.bone.txt": b"hello"})
    return {"text", "list", "alone", "noise"}


@pytest.mark.parametrize(
    "write_source",
    [bad_kaldi, bad_segments, bad_cuts, bad_speechbrain, bad_table, bad_metadata, bad_shard],
)
def test_a_bad_entry_costs_only_itself_and_is_named(write_source, tmp_path):
    failing = write_source(tmp_path)
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert sum(result.num_pairs.values()) == 1
    assert {name.removeprefix("train/") for name in result.failures} == failing
    lines = (tmp_path / "out/failures.jsonl").read_text().splitlines()
    assert {json.loads(line)["source"] for line in lines} == result.failures.keys()
    assert not (tmp_path / "owned").exists()
    folder = tmp_path / "out" / next(iter(result.num_pairs))
    assert [row.id for row in read_manifest(folder / "metadata.jsonl")] == ["good"]


def test_a_path_that_is_too_long_costs_only_itself_below_a_root_as_well(tmp_path):
    failing = bad_metadata(tmp_path)
    result = import_pairs(tmp_path / "in", tmp_path / "out", root=tmp_path / "in")
    assert set(result.failures) == failing


CELLS = st.sampled_from(["a", "b", "", "../a", "x y", '"', "\u00e9"])


@settings(max_examples=12)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=12))
def test_every_entry_of_a_random_table_is_imported_or_named(rows, tmp_path_factory):
    """Entries are counted by the lines that hold anything, whatever is wrong with them."""
    folder = tmp_path_factory.mktemp("table")
    sides(folder / "in", "a")
    names = [("first", "a", "a"), *rows]
    lines = [f"{name},air/{air}.wav,bone/{bone}.wav" for name, air, bone in names]
    (folder / "in/metadata.csv").write_text("\n".join(["id,air,bone", *lines]) + "\n")
    result = import_pairs(folder / "in", folder / "out")
    assert counted(result) == len(names)


def counted(result: ImportResult) -> int:
    return sum(result.num_pairs.values()) + len(result.failures)


def test_a_packed_list_behind_a_mark_is_read(tmp_path):
    text = json.dumps(cut(tmp_path, "a")).encode() + b"\n"
    (tmp_path / "cuts.jsonl.gz").write_bytes(gzip.compress(MARK + text))
    import_pairs(tmp_path / "cuts.jsonl.gz", tmp_path / "out")
    assert_sides(read(tmp_path / "out"), {"a": "a"})
