"""Other people's recordings: stereo files, many sensors, long sessions, and hostile lists."""

import gzip
import io
import json
import os
import shlex
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bcsim.datasets import lists
from bcsim.datasets.dataset import read_manifest
from bcsim.datasets.importers import IMPORTERS, import_pairs
from bcsim.errors import InputError, UsageError
from bcsim.rng import stream

RATE = 16_000


def noise(*names: str, num_samples: int = 1000) -> np.ndarray:
    return stream(0, *names).integers(-9000, 9000, num_samples).astype(np.int16)


def write(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def read(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return id to role to samples (int16) of a folder that an import wrote."""
    return {
        row.id: {
            role: soundfile.read(folder / name, dtype="int16")[0]
            for role, name in row.file_names.items()
        }
        for row in read_manifest(folder / "metadata.jsonl")
    }


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8"])
@pytest.mark.parametrize("channels", ["air,bone", "bone,air", "-,bone,air"])
def test_named_channels_become_files_of_the_same_samples(tmp_path, subtype, channels):
    roles = channels.split(",")
    path = write(
        tmp_path / "in/s1/take.wav",
        np.stack([noise(role) for role in roles], axis=1),
        subtype=subtype,
    )
    original, _ = soundfile.read(path, dtype="int32")
    import_pairs(tmp_path / "in", tmp_path / "out", channels=tuple(roles))
    row = read_manifest(tmp_path / "out/metadata.jsonl")[0]
    assert (row.id, row.speaker) == ("s1/take", "s1")
    for role, name in row.file_names.items():
        stored, _ = soundfile.read(tmp_path / "out" / name, dtype="int32")
        assert np.array_equal(stored, original[:, roles.index(role)])


def test_channels_in_floating_point_keep_31_bits(tmp_path):
    values = stream(0, "float").uniform(-1, 1, (1000, 2)).astype(np.float32)
    values[:2] = [[1.0, -1.0], [-1.0, 1.0]]
    write(tmp_path / "take.wav", values, subtype="FLOAT")
    import_pairs(tmp_path / "take.wav", tmp_path / "out", channels=("air", "bone"))
    for number, role in enumerate(("air", "bone")):
        stored, _ = soundfile.read(tmp_path / f"out/{role}/take.wav", dtype="float64")
        assert np.abs(stored - values[:, number]).max() <= 2.0**-31


def test_a_float_beyond_full_scale_is_refused_and_not_clipped(tmp_path):
    write(tmp_path / "take.wav", np.sin(np.arange(2000.0)).reshape(1000, 2) * 1.5, subtype="FLOAT")
    with pytest.raises(InputError, match="exceeds full scale"):
        import_pairs(tmp_path / "take.wav", tmp_path / "out", channels=("air", "bone"))


@pytest.mark.parametrize(
    ("channels", "named"),
    [
        (("air", "air"), "once at most"),
        (("left", "right"), "once at most"),
        (("air", "-"), "which channel is air and which is bone"),
        (("air", "bone", "noisy_air"), "has 2 channels, and no channel 2"),
    ],
)
def test_roles_of_channels_have_to_make_sense(tmp_path, channels, named):
    write(tmp_path / "take.wav", np.sin(np.arange(2000.0)).reshape(1000, 2))
    with pytest.raises(UsageError, match=named):
        import_pairs(tmp_path / "take.wav", tmp_path / "out", channels=channels)
    assert not (tmp_path / "out").exists()


VIBRAVOX = {
    "folders": "audio.{sensor}/s1/a.wav",
    "inner folders": "s1/audio.{sensor}/a.wav",
    "endings": "s1/a.audio.{sensor}.wav",
    "folders without the word": "s1/{sensor}/a.wav",
    "endings without the word": "s1/a.{sensor}.wav",
}


@pytest.mark.parametrize("pattern", VIBRAVOX.values(), ids=VIBRAVOX)
def test_a_sensor_of_many_is_chosen_by_name(tmp_path, pattern):
    sensors = ("headset_microphone", "throat_microphone", "temple_vibration_pickup")
    for sensor in sensors:
        write(tmp_path / "in" / pattern.format(sensor=sensor), noise(sensor))
    with pytest.raises(UsageError, match=r"holds .*throat_microphone.* wanted as air and bone"):
        import_pairs(tmp_path / "in", tmp_path / "out")
    result = import_pairs(tmp_path / "in", tmp_path / "out", names={"bone": "throat_microphone"})
    assert result.format == "vibravox"
    pairs = read(tmp_path / "out")
    assert pairs.keys() == {"s1/a"}
    assert np.array_equal(pairs["s1/a"]["air"], noise("headset_microphone"))
    assert np.array_equal(pairs["s1/a"]["bone"], noise("throat_microphone"))


def test_the_only_sensor_needs_no_name_and_a_pair_without_air_is_named(tmp_path):
    for name in ("audio.headset_microphone/a", "audio.jaw_pickup/a", "audio.jaw_pickup/b"):
        write(tmp_path / f"in/{name}.wav", noise(name))
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert result.num_pairs == {"": 1}
    wanted = "what is called headset_microphone is wanted"
    assert result.failures == {"b": f"b: the source has no air recording of it; {wanted}"}
    failure = json.loads((tmp_path / "out/failures.jsonl").read_text())
    assert failure["source"] == "b"


def test_audio_in_parquet_columns_is_read(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def cell(*names):
        content = io.BytesIO()
        soundfile.write(content, noise(*names), RATE, format="WAV")
        return {"bytes": content.getvalue(), "path": "x.wav"}

    sensors = ("headset_microphone", "throat_microphone")
    table: dict[str, list[Any]] = {
        f"audio.{sensor}": [cell(sensor, str(k)) for k in range(5)] for sensor in sensors
    }
    table["speaker_id"] = [f"s{k % 2}" for k in range(5)]
    (tmp_path / "in").mkdir()
    path = tmp_path / "in/train-00000-of-00001.parquet"
    parquet.write_table(pyarrow.table(table), path, row_group_size=2)
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert (result.format, result.num_pairs) == ("vibravox", {"train": 5})
    rows = read_manifest(tmp_path / "out/train/metadata.jsonl")
    assert [row.speaker for row in rows] == ["s0", "s0", "s0", "s1", "s1"]
    pairs = read(tmp_path / "out/train")
    for pair_id, sides in pairs.items():
        number = str(int(pair_id.rpartition("-")[2]))
        assert np.array_equal(sides["air"], noise("headset_microphone", number))
        assert np.array_equal(sides["bone"], noise("throat_microphone", number))


def cells(content: bytes, count: int) -> dict[str, list[Any]]:
    sensors = ("headset_microphone", "throat_microphone")
    return {f"audio.{sensor}": [{"bytes": content, "path": "x"}] * count for sensor in sensors}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no bytes", "holds no audio"),
        ("an odd date", "is no sound parquet file"),
        ("a damaged page", "is no sound parquet file"),
        ("an expansion", "expands to 12[0-9]* bytes, which is no audio"),
    ],
)
def test_a_parquet_file_that_is_damaged_or_forged_is_one_line_that_names_it(
    tmp_path, kind, message
):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    words = np.random.default_rng(0).integers(65, 75, 5000).astype(np.uint8).tobytes()
    columns: dict[str, Any] = cells(words, 3)
    if kind == "no bytes":
        columns = {name: [{"bytes": "text"}] * 3 for name in columns}
    elif kind == "an odd date":
        columns["id"] = pyarrow.array([2**31 - 1] * 3, pyarrow.int32()).cast(pyarrow.date32())
    elif kind == "an expansion":
        columns = {name: [{"bytes": bytes(60_000_000)}] * 2 for name in columns}
    path = tmp_path / "train-0.parquet"
    compression = {"an expansion": "zstd", "a damaged page": "gzip"}.get(kind, "none")
    parquet.write_table(pyarrow.table(columns), path, compression=compression, use_dictionary=False)
    if kind == "a damaged page":
        content = bytearray(path.read_bytes())
        for start in (1000, len(content) // 2 + 500):  # in both columns
            content[start : start + 60] = bytes(60)
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        import_pairs(path, tmp_path / "out")
    assert str(path) in str(error.value)
    assert not (tmp_path / "out").exists()


def cut(
    folder: Path, name: str = "c", start: float = 0.0, duration: float = 0.5, **changes: Any
) -> dict[str, Any]:
    """A cut of a session of one second, with sensor and air in two files."""
    recordings: dict[str, Any] = {}
    for role in ("bone", "air"):
        path = write(folder / f"{role}.wav", noise(role, num_samples=RATE))
        recordings[role] = {
            "id": role,
            "sources": [{"type": "file", "channels": [0], "source": str(path)}],
            "sampling_rate": RATE,
            "num_samples": RATE,
            "duration": 1.0,
        }
    return {
        "id": name, "start": start, "duration": duration, "channel": 0, "type": "MonoCut",
        "supervisions": [{"id": name, "speaker": "s1"}], "recording": recordings["bone"],
        "custom": {"target_recording": recordings["air"]}, **changes,
    }  # fmt: skip


def write_cuts(path: Path, *cuts) -> Path:
    path.write_text("".join(json.dumps(cut) + "\n" for cut in cuts))
    return path


def test_a_lhotse_cut_of_a_session_becomes_that_stretch_of_both_sides(tmp_path):
    source = write_cuts(tmp_path / "cuts.jsonl", cut(tmp_path, start=0.25, duration=0.5))
    import_pairs(source, tmp_path / "out")
    sides = read(tmp_path / "out")["c"]
    for role in ("air", "bone"):
        assert np.array_equal(sides[role], noise(role, num_samples=RATE)[4000:12_000])
    assert read_manifest(tmp_path / "out/metadata.jsonl")[0].speaker == "s1"


def test_two_channels_of_a_lhotse_recording_are_a_pair(tmp_path):
    path = write(tmp_path / "two.wav", np.stack([noise("air"), noise("bone")], axis=1))
    source = {"type": "file", "channels": [0, 1], "source": str(path)}
    recording = {"id": "r", "sources": [source], "duration": 1000 / RATE}
    cuts = cut(tmp_path, duration=1000 / RATE, channel=[0, 1], recording=recording)
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    import_pairs(
        tmp_path / "cuts.jsonl", tmp_path / "out", format="lhotse", channels=("air", "bone")
    )
    sides = read(tmp_path / "out")["c"]
    assert all(np.array_equal(sides[role], noise(role)) for role in ("air", "bone"))


def test_a_lhotse_target_that_says_it_is_unaligned_is_taken_whole(tmp_path):
    unaligned = cut(tmp_path, start=0.25, duration=0.5)
    unaligned["custom"]["target_recording_unaligned"] = True
    import_pairs(write_cuts(tmp_path / "cuts.jsonl", unaligned), tmp_path / "out")
    sides = read(tmp_path / "out")["c"]
    assert np.array_equal(sides["air"], noise("air", num_samples=RATE))
    assert np.array_equal(sides["bone"], noise("bone", num_samples=RATE)[4000:12_000])


@pytest.mark.parametrize("kind", ["command", "url", "memory"])
def test_only_files_of_a_lhotse_recording_are_read(tmp_path, kind):
    hostile = cut(tmp_path)
    source = hostile["recording"]["sources"][0]
    source["type"], source["source"] = kind, f"touch {tmp_path}/owned"
    with pytest.raises(InputError, match=f"line 1: recording 'bone' is a '{kind}'"):
        import_pairs(write_cuts(tmp_path / "cuts.jsonl", hostile), tmp_path / "out")
    assert not (tmp_path / "owned").exists()


def kaldi_folder(folder: Path, role: str, script: str, **tables: str) -> None:
    (folder / role).mkdir(parents=True)
    for name, text in {"wav.scp": script, **tables}.items():
        (folder / role / name).write_text(text)


def test_segments_of_a_kaldi_session_are_cut_out(tmp_path):
    for role in ("air", "bone"):
        path = write(tmp_path / f"{role}.wav", noise(role, num_samples=RATE))
        segments = "s1-u1 rec 0.25 0.5\ns1-u2 rec 0.5 -1\ns1-u3 rec 0.9 1.004\n"
        speakers = "s1-u1 s1\ns1-u2 s1\ns1-u3 s1\n"
        kaldi_folder(tmp_path / "in", role, f"rec {path}\n", segments=segments, utt2spk=speakers)
    import_pairs(tmp_path / "in", tmp_path / "out")
    pairs = read(tmp_path / "out")
    assert pairs.keys() == {"s1/u1", "s1/u2", "s1/u3"}
    whole = noise("bone", num_samples=RATE)
    assert np.array_equal(pairs["s1/u1"]["bone"], whole[4000:8000])
    assert np.array_equal(pairs["s1/u2"]["bone"], whole[8000:])
    assert np.array_equal(pairs["s1/u3"]["bone"], whole[14_400:])  # ends 4 ms behind the end


@pytest.mark.parametrize(
    "command",
    [
        "touch owned |",
        "flac -c -d -s air.flac; touch owned |",
        "flac -c -d -s air.flac | tee owned |",
        "flac -c -d -s 'air.flac |",
        "sox air.flac -t wav - |",
    ],
)
def test_a_kaldi_pipe_is_never_run(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in/air/air.flac", noise("air"))
    kaldi_folder(tmp_path / "in2", "air", f"u {command}\n")
    kaldi_folder(tmp_path / "in2", "bone", f"u {tmp_path / 'in/air/air.flac'}\n")
    with pytest.raises(InputError, match="is a command, and none is ever run"):
        import_pairs(tmp_path / "in2", tmp_path / "out")
    assert not (tmp_path / "owned").exists()


def test_the_kaldi_pipe_of_a_flac_file_stands_for_the_file(tmp_path):
    for role in ("air", "bone"):
        path = write(tmp_path / f"an {role} $(file).flac", noise(role))
        kaldi_folder(tmp_path / "in", role, f"u flac -c -d -s {shlex.quote(str(path))} |\n")
    import_pairs(tmp_path / "in", tmp_path / "out")
    sides = read(tmp_path / "out")["u"]
    assert all(np.array_equal(sides[role], noise(role)) for role in ("air", "bone"))


def shard(path: Path, members: dict[str, bytes], **types: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, kind in types.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    return path


def flac(role: str) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, noise(role), RATE, format="FLAC")
    return content.getvalue()


@pytest.mark.parametrize("key", ["../../escaped", "/srv/escaped", "a/../../b", "x//y", "n" * 300])
def test_a_tar_never_decides_where_files_go(tmp_path, key):
    good = {"good.air.flac": flac("air"), "good.bone.flac": flac("bone")}
    hostile = {f"{key}.{role}.flac": flac(role) for role in ("air", "bone")}
    for number, extra in enumerate(({}, {f"{key}.json": json.dumps({"id": key}).encode()})):
        source = shard(tmp_path / f"{number}/train-000000.tar", {**good, **hostile, **extra})
        result = import_pairs(source, tmp_path / f"deep/down/out{number}")
        assert result.num_pairs == {"": 1}
        assert len(result.failures) == 1
        assert "this id cannot be the path of a file" in next(iter(result.failures.values()))
    files = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    ours = {"metadata.jsonl", "failures.jsonl", "SHA256SUMS"}
    assert files == {"train-000000.tar", "good.flac"} | ours


def test_links_in_a_tar_are_not_followed(tmp_path):
    source = shard(
        tmp_path / "x.tar",
        {"k.air.flac": flac("air"), "good.air.flac": flac("air"), "good.bone.flac": flac("bone")},
        **{"k.bone.flac": tarfile.SYMTYPE},
    )
    result = import_pairs(source, tmp_path / "out")
    assert result.failures == {"k": "k: the source has no bone recording of it"}


def test_replacements_of_speechbrain_are_names_and_nothing_more(tmp_path):
    """`str.format` would look up attributes: "{data_root.__class__}"."""
    for role in ("air", "bone"):
        write(tmp_path / f"{role} {{x}}.wav", noise(role))
    entry = {f"{role}_wav": f"{{data_root}}/{role} {{{{x}}}}.wav" for role in ("air", "bone")}
    hostile = {**entry, "bone_wav": "{data_root.__class__}"}
    (tmp_path / "train.json").write_text(json.dumps({"a": entry, "b": hostile}))
    result = import_pairs(tmp_path / "train.json", tmp_path / "out")
    assert read(tmp_path / "out").keys() == {"a"}
    assert "{data_root.__class__}: no such file" in result.failures["b"]


def test_a_speechbrain_table_is_read_as_well(tmp_path):
    for role in ("mic", "throat"):
        write(tmp_path / f"wavs/{role}.wav", noise(role))
    (tmp_path / "dev.csv").write_text(
        "ID, duration, mic, throat, spk_id\nu1, 0.1, $root/wavs/mic.wav, wavs/throat.wav, s7\n"
    )
    names = {"air": "mic", "bone": "throat"}
    import_pairs(tmp_path / "dev.csv", tmp_path / "out", names=names)
    sides = read(tmp_path / "out")["u1"]
    assert np.array_equal(sides["air"], noise("mic"))
    assert np.array_equal(sides["bone"], noise("throat"))
    assert read_manifest(tmp_path / "out/metadata.jsonl")[0].speaker == "s7"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cuts.jsonl", b'{"recording": '),
        ("cuts.jsonl", b'{"recording": {}, "id": "x"}'),
        ("cuts.jsonl.gz", b"no gzip"),
        ("cuts.jsonl", b"[" * 200_000),
        ("cuts.jsonl.gz", gzip.compress(b"cut" * 999, mtime=0)[:15] + b"\xff" * 20),
        ("cuts.jsonl.gz", gzip.compress(bytes(range(256)), mtime=0)[:-9]),
        ("train.json", b"[1, 2]"),
        ("train.json", b"[" * 200_000),
        ("train.json", b'{"a": 3}'),
        ("train.csv", b"file,talker\na,b\n"),
        ("train.csv", b"\xff\xfe"),
        ("train.csv", b"ID,bone_wav\na," + b"x" * 200_000),
        ("train.csv", b"bone_wav,ID\nx\n"),
        ("train-000000.tar", b"no tar" * 200),
        ("train.parquet", b"no table"),
        ("notes.txt", b"hello"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_one_line_that_names_it(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name) as error:
        import_pairs(tmp_path / name, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_a_pair_is_named_and_the_rest_is_imported(tmp_path):
    bad = {
        "rates": (noise("x"), 8000),
        "stereo": (np.zeros((100, 2), np.int16), RATE),
        "silent": (np.zeros(0, np.int16), RATE),
    }
    for name, (samples, rate) in {**bad, "good": (noise("y"), RATE)}.items():
        write(tmp_path / f"in/audio.headset_microphone/{name}.wav", noise("z"))
        write(tmp_path / f"in/audio.throat/{name}.wav", samples, rate)
    result = import_pairs(tmp_path / "in", tmp_path / "out")
    assert result.num_pairs == {"": 1}
    assert "bone is 8000 Hz, air is 16000 Hz" in result.failures["rates"]
    assert "has 2 channels" in result.failures["stereo"]
    assert "holds 0 samples" in result.failures["silent"]
    files = {path.name for path in (tmp_path / "out").rglob("*.wav")}
    assert files == {"good.wav"}


def test_a_recording_of_one_channel_keeps_its_bytes(tmp_path):
    for sensor in ("headset_microphone", "throat"):
        write(tmp_path / f"in/audio.{sensor}/a.ogg", noise(sensor, num_samples=4000) / 32768)
    import_pairs(tmp_path / "in", tmp_path / "out")
    original = tmp_path / "in/audio.throat/a.ogg"
    assert (tmp_path / "out/bone/a.ogg").read_bytes() == original.read_bytes()


@pytest.mark.parametrize("name", IMPORTERS)
def test_an_empty_folder_is_no_format_at_all(name, tmp_path):
    (tmp_path / "empty").mkdir()
    assert not IMPORTERS[name]().recognises(tmp_path / "empty")
    with pytest.raises(UsageError, match=r"empty|channels"):
        import_pairs(tmp_path / "empty", tmp_path / "out", format=name)


def test_output_and_source_must_not_contain_each_other(tmp_path):
    write(tmp_path / "in/a.wav", np.zeros((100, 2), np.int16))
    for out in ("in", "in/out", "."):
        with pytest.raises(UsageError, match="must not contain each other"):
            import_pairs(tmp_path / "in", tmp_path / out, channels=("air", "bone"))


@pytest.mark.parametrize("times", ["nan 1", "0 nan", "0 inf", "-inf 1", "1e300 -1"])
def test_a_time_that_is_none_is_named_with_its_line(tmp_path, times):
    path = write(tmp_path / "take.wav", noise("x"))
    for role in ("air", "bone"):
        kaldi_folder(tmp_path / "in", role, f"rec {path}\n", segments=f"u rec {times}\n")
    with pytest.raises(InputError, match=r"segments: u: .*take.wav: \S+ s is no time"):
        import_pairs(tmp_path / "in", tmp_path / "out")
    start, end = map(float, times.split())
    cuts = write_cuts(tmp_path / "cuts.jsonl", cut(tmp_path, start=start, duration=end - start))
    with pytest.raises(InputError, match=r"cuts.jsonl line 1: .*is (no JSON|no time)"):
        import_pairs(cuts, tmp_path / "out")


def test_what_is_no_file_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for role, name in (("air", "pipe.wav"), ("bone", "/dev/zero")):
        kaldi_folder(tmp_path / "in", role, f"u {(tmp_path / name).absolute()}\n")
    with pytest.raises(InputError, match="not a regular file"):
        import_pairs(tmp_path / "in", tmp_path / "out")
    for name in ("train.json", "cuts.jsonl", "train-000000.tar", "train.parquet"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="cannot tell the format"):
        import_pairs(tmp_path / "train.json", tmp_path / "out")


@pytest.mark.parametrize("size", [2**62, 2**63, 2**87])
def test_a_member_of_a_tar_that_is_larger_than_the_file_is_refused(tmp_path, size):
    header = bytearray(tarfile.TarInfo("k.air.flac").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    (tmp_path / "x.tar").write_bytes(bytes(header) + bytes(2048))
    with pytest.raises(InputError, match=r"x\.tar: is no tar file"):
        import_pairs(tmp_path / "x.tar", tmp_path / "out")


def test_a_member_of_a_tar_that_would_fill_the_memory_is_not_read(tmp_path):
    """Sparse on the disk: a header, and a hole of 64 GiB."""
    good = {"good.air.flac": flac("air"), "good.bone.flac": flac("bone")}
    for name, kind in (("k.air.flac", tarfile.REGTYPE), ("long", tarfile.GNUTYPE_LONGNAME)):
        path = shard(tmp_path / f"{name}.tar", good)
        member = tarfile.TarInfo(name)
        member.size, member.type = 64 << 30, kind
        with path.open("r+b") as file:
            file.seek(tarfile.BLOCKSIZE * sum(1 + -(-len(c) // 512) for c in good.values()))
            file.write(member.tobuf(tarfile.GNU_FORMAT))
            file.truncate(file.tell() + member.size + 1024)
    source = tmp_path / "k.air.flac.tar"
    with tarfile.open(source) as tar:
        assert tar.getnames() == [*good, "k.air.flac"]
    member_of = {p.id: p.recordings for p in IMPORTERS["webdataset"]().read(source)}
    with pytest.raises(InputError, match=rf"{source}: a member of {64 << 30} bytes"):
        member_of["k"]["air"].open()
    assert import_pairs(source, tmp_path / "out").num_pairs == {"": 1}
    with pytest.raises(InputError, match=r"long.tar: is no tar file.*\(a header of 687\d+ bytes"):
        import_pairs(tmp_path / "long.tar", tmp_path / "out2")


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path):
    """A FLAC file says in 36 bits how many samples it holds, and decodes without them."""
    content = bytearray(flac("air"))
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    assert soundfile.info(io.BytesIO(content)).frames == 2**36 - 1
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert len(file.read(100)) == 100
    for role in ("air", "bone"):
        (tmp_path / "lie.flac").write_bytes(content)
        kaldi_folder(tmp_path / "in", role, f"u {tmp_path / 'lie.flac'}\n")
    with pytest.raises(InputError, match=r"lie.flac: (ends before|cannot be read)"):
        import_pairs(tmp_path / "in", tmp_path / "out")


def test_a_relative_root_counts_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for role in ("air", "bone"):
        write(tmp_path / f"in/{role}.wav", noise(role))
    entry = {"air_wav": "{data_root}/air.wav", "bone_wav": "bone.wav"}
    (tmp_path / "in/train.json").write_text(json.dumps({"a": entry}))
    for number, root in enumerate((None, Path("in"), Path("in/../in"))):
        import_pairs(Path("in/train.json"), Path(f"out{number}"), root=root)
        assert np.array_equal(read(tmp_path / f"out{number}")["a"]["air"], noise("air"))
    shutil.move(tmp_path / "in/train.json", tmp_path / "train.json")
    import_pairs(Path("train.json"), Path("out"), root=Path("in"))
    assert np.array_equal(read(tmp_path / "out")["a"]["bone"], noise("bone"))


@pytest.mark.parametrize(
    "name", ["cuts.jsonl", "cuts.jsonl.gz", "train.json", "train.csv", "air/wav.scp"]
)
def test_a_list_that_would_fill_the_memory_is_not_read(tmp_path, name):
    """Sparse on the disk: a hole of 8 GiB."""
    path = tmp_path / "in" / name
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(8 << 30)
    with pytest.raises(InputError, match=rf"{name}: larger than \d+ bytes; "):
        import_pairs(tmp_path / "in", tmp_path / "out")


def test_what_a_packed_list_expands_to_is_counted(tmp_path, monkeypatch):
    cuts = (json.dumps(cut(tmp_path)) + "\n").encode()
    path = tmp_path / "cuts.jsonl.gz"
    path.write_bytes(gzip.compress(cuts + b"\n" * 9000))
    monkeypatch.setattr(lists, "MAX_LIST_BYTES", len(cuts) + 9000)
    assert len([*IMPORTERS["lhotse"]().read(path)]) == 1
    monkeypatch.setattr(lists, "MAX_LIST_BYTES", len(cuts) + 8999)
    with pytest.raises(InputError, match=r"gz: larger than .* bytes; split it into several lists"):
        import_pairs(path, tmp_path / "out")
    path.write_bytes(gzip.compress(bytes(2 << 20)))
    with pytest.raises(InputError, match="gz line 1: longer than 1048576 bytes"):
        import_pairs(path, tmp_path / "out")
