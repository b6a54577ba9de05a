"""Lists of pairs, and channels of files: wherever recordings enter, in the same way."""

import gzip
import json
import re
import unicodedata

import numpy as np
import pytest
import soundfile

from bcsim.datasets.pairs import open_pairs
from bcsim.datasets.recordings import channels_of, find_pairs, read_recordings
from bcsim.datasets.torch_datasets import PairDataset
from bcsim.errors import InputError, UsageError

RATE = 16_000


def tone(*key):
    return 0.1 * np.random.default_rng(key).standard_normal(800)


def write(path, *channels):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack(channels, 1), RATE, subtype="FLOAT")
    return path


@pytest.fixture
def files(tmp_path):
    for number, name in enumerate(("m/one", "m/two", "n/three", "n/four")):
        write(tmp_path / f"rec/{name}.wav", tone(number))
    return tmp_path


def found(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    pairs, failures = find_pairs(path, path)
    return {p.id: (p.files["air"].stem, p.files["bone"].stem, p.speaker) for p in pairs}, failures


ROWS = [
    ("air", "bone", "talker", "id"),
    ("m/one.wav", "n/three.wav", "Anna", "p"),
    ("m/two.wav", "./n/four.wav", "0", "q"),
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pairs.csv", "\n".join(",".join(row) for row in ROWS)),
        ("pairs.csv", "\ufeffsep=;\r\n" + "\r\n".join(";".join(row) for row in ROWS)),
        ("pairs.tsv", "\n".join("\t".join(row) for row in ROWS)),
        ("pairs.csv", "\n".join(",".join(row) for row in ROWS).replace("/", "\\")),
        ("pairs.txt", "\n\n".join("\t".join(row) for row in ROWS)),
        (
            "pairs.jsonl",
            "\n".join(json.dumps(dict(zip(ROWS[0], row, strict=True))) for row in ROWS[1:]),
        ),
    ],
)
def test_a_list_tells_the_pairs(files, name, text):
    """There were no lists: names had to be equal."""
    want = {"p": ("one", "three", "Anna"), "q": ("two", "four", "0")}
    assert found(files / "rec" / name, text) == (want, {})
    recorded = open_pairs(files / "rec" / name, RATE, seed=0)
    assert recorded.ids == ["p", "q"]
    assert np.allclose(recorded.whole(1).bone.numpy(), tone(3), atol=1e-6)


def test_without_ids_a_pair_is_called_by_what_its_names_share(files):
    write(files / "rec/air/s/a.wav", tone(8))
    write(files / "rec/bone/s/a.wav", tone(9))
    rows = "air_path,bone_path\nair/s/a.wav,bone/s/a.wav\nm/one.wav,n/three.wav\n"
    assert found(files / "rec/list.csv", rows)[0] == {
        "s/a": ("a", "a", None),
        "n/three": ("one", "three", None),
    }


def test_a_row_that_cannot_be_used_costs_itself_alone(files, caplog):
    caplog.set_level("INFO")
    rows = (
        "air,bone,id\nm/one.wav,n/three.wav,a\nm/gone.wav,n/four.wav,b\nm/two.wav,,c\n"
        "m/two.wav,n/four.wav,a\nm/two.wav,m/two.wav,d\n"
    )
    pairs, failures = found(files / "rec/list.csv", rows)
    assert [*pairs] == ["a"]
    assert "1 pairs, the first: " in caplog.text
    assert "; 4 files or rows are in none" in caplog.text
    reasons = "\n".join(failures.values())
    assert len(failures) == 4
    for part in (
        "line 3: no such file of air: .*gone.wav; paths start from the list's folder",
        "line 4: names no file of bone",
        "line 5: another pair is called 'a'",
        "two.wav: air and bone of d are this one file",
    ):
        assert any(re.search(part, line) for line in reasons.splitlines()), part


def test_a_column_of_splits_keeps_the_test_out_of_training(files):
    """It was passed over: a run would have trained on the rows of the test."""
    rows = "air,bone,id,split\nm/one.wav,n/three.wav,a,train\nm/two.wav,n/four.wav,a,Test\n"
    pairs, failures = found(
        files / "rec/list.csv", rows + "m/one.wav,n/four.wav,b,odd\nm/one.wav,n/four.wav,c,\n"
    )
    assert [*pairs] == ["train/a", "test/a"]
    assert "line 4: 'odd' is no split; write train, dev or test" in "".join(failures.values())
    assert "line 5: split '' is no split" in "".join(failures.values())
    (files / "rec/list.csv").write_text(rows)
    splits = open_pairs(files / "rec/list.csv", RATE, 0).by_split()
    assert {split: pairs.ids for split, pairs in splits.items()} == {
        "train": ["train/a"],
        "test": ["test/a"],
    }


@pytest.mark.parametrize("column", ["frame_offset", "from_s", "Segment Start", "bone_offset_ms"])
def test_a_row_that_tells_a_part_of_its_files_is_refused(files, column):
    """Only columns called `start` and the like were: the others were passed over."""
    rows = f"air,bone,{column}\nm/one.wav,n/three.wav,0.01\nm/two.wav,n/four.wav,\n"
    pairs, failures = found(files / "rec/list.csv", rows)
    assert [*pairs] == ["n/four"]
    assert "tells a part of the files" in "".join(failures.values())


def test_columns_that_are_not_read_are_told(files, caplog):
    with caplog.at_level("INFO"):
        found(files / "rec/list.csv", "air,bone,Use,age\nm/one.wav,n/three.wav,0,7\n")
    assert "list.csv: columns that are not read: use, age" in caplog.text


def test_a_manifest_of_ones_own_keeps_its_test_out_of_training(files):
    """The split in its rows was passed over."""
    rows = [
        {"air_file_name": "m/one.wav", "bone_file_name": "n/three.wav", "split": "train"},
        {"air_file_name": "m/two.wav", "bone_file_name": "n/four.wav", "split": "eval"},
        {"air_file_name": "m/two.wav", "bone_file_name": "n/three.wav", "id": "c", "split": "?"},
    ]
    (files / "rec/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    splits = open_pairs(files / "rec", RATE, 0).by_split()
    assert {split: pairs.ids for split, pairs in splits.items()} == {
        "train": ["train/n/three.wav"],
        "test": ["test/n/four.wav"],
    }
    assert "'?' is no split" in find_pairs(files / "rec", files / "rec")[1]["c"]


def test_a_row_that_names_a_channel_is_refused(files):
    """It was passed over, and the channels were averaged."""
    rows = "air,bone,bone_channel\nm/one.wav,n/three.wav,2\nm/two.wav,n/four.wav,\n"
    pairs, failures = found(files / "rec/list.csv", rows)
    assert [*pairs] == ["n/four"]
    assert "line 2: names a bone_channel, and a list has none" in "".join(failures.values())


def test_what_is_no_list_of_pairs_is_refused(files):
    for text, message in (
        ("file,talker\na,b\n", "wants a heading with the columns air and bone, not file, talker"),
        ("", "is empty, or has nothing below its heading"),
        ("air,bone\n", "is empty, or has nothing below its heading"),
        ("air,bone\nx.wav,y.wav\n", "no pair can be used; first: .* line 2: no such file of air"),
    ):
        with pytest.raises(InputError, match=message):
            found(files / "rec/list.csv", text)
    with pytest.raises(InputError, match="two files or two folders"):
        find_pairs(files / "rec/list.csv", files / "rec")


def test_accents_in_a_list_may_be_written_either_way(files):
    name = "\u00e9t\u00e9.wav"
    write(files / "rec" / unicodedata.normalize("NFD", name), tone(5))
    path = _list(files, f"air,bone\n{name},m/one.wav\n")
    (pair,), failures = read_recordings(path, path, RATE)
    assert not failures
    assert pair.in_files.endswith(f".wav with {files}/rec/m/one.wav)")


def _list(files, text):
    (files / "rec/list.csv").write_text(text)
    return files / "rec/list.csv"


def test_a_table_may_add_talkers_to_a_list_and_not_contradict_it(files, caplog):
    (files / "who.csv").write_text("file,talker\np,Ben\nrec/n/four.wav,Cara\n")
    path = _list(files, "air,bone,id\nm/one.wav,n/three.wav,p\nm/two.wav,n/four.wav,q\n")
    pairs, _ = find_pairs(path, path, files / "who.csv")
    assert [pair.speaker for pair in pairs] == ["Ben", "Cara"]
    path = _list(files, "air,bone,id,talker\nm/one.wav,n/three.wav,p,Anna\n")
    with pytest.raises(InputError, match="talker of p is Ben, and Anna where the pairs are listed"):
        find_pairs(path, path, files / "who.csv")


def test_two_channels_of_one_file_are_a_pair_only_if_they_are_asked_for(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.wav", tone(1, ord(name)), tone(2, ord(name)))
    with pytest.raises(InputError, match="no two files differ in a word"):
        find_pairs(tmp_path, tmp_path)
    for channels in ({"air": "left", "bone": "right"}, {"air": "1", "bone": "2"}):
        pairs, failures = read_recordings(tmp_path, tmp_path, RATE, channels=channels)
        assert [pair.name for pair in pairs] == ["a", "b"]
        assert not failures
        assert np.allclose(pairs[1].air, tone(1, ord("b")), atol=1e-6)
        assert np.allclose(pairs[1].bone, tone(2, ord("b")), atol=1e-6)
    write(tmp_path / "b.wav", tone(1), 3 * tone(2))
    with pytest.raises(UsageError, match="channel 2 is that of air and of bone"):
        read_recordings(tmp_path, tmp_path, RATE, channels={"air": "strongest", "bone": "2"})
    with pytest.raises(InputError, match=r"this one file|no two files"):
        read_recordings(tmp_path, tmp_path, RATE, channels={"air": "left", "bone": "1"})


@pytest.mark.parametrize("channel", ["y", "2", "strongest"])
def test_one_axis_is_taken_for_fitting_and_for_training(tmp_path, channel):
    """The axes of an accelerometer were averaged, and three in antiphase became silence."""
    for name in ("a", "b"):
        write(tmp_path / f"air/{name}.wav", tone(1))
        bone = tone(2, ord(name))
        write(tmp_path / f"bone/{name}.wav", -bone / 2, bone, -bone / 2 + 0.5)
    with pytest.raises(InputError, match=r"none of 2 pairs .* cancel each other"):
        read_recordings(tmp_path / "air", tmp_path / "bone", RATE)
    pairs, _ = read_recordings(tmp_path, tmp_path, RATE, channels={"bone": channel})
    trained_on = open_pairs(tmp_path, RATE, 0, channels={"bone": channel})
    items = PairDataset(tmp_path, channels={"bone": channel})
    for number, pair in enumerate(pairs):
        assert np.allclose(items[number]["bone"], pair.bone, atol=1e-6)
        assert np.allclose(pair.bone, tone(2, ord(pair.name)), atol=1e-6)
        assert np.allclose(trained_on.whole(number).bone, pair.bone, atol=1e-6)
        assert np.allclose(trained_on.crop(number, 0, 800).bone, pair.bone, atol=1e-6)


def test_a_channel_of_no_such_name_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(UsageError, match="'w' is no channel"):
        find_pairs(tmp_path, tmp_path, channels={"bone": "w"})


def test_a_file_without_the_channel_costs_its_pair_alone(tmp_path):
    for name, channels in (("a", 1), ("b", 2)):
        write(tmp_path / f"air/{name}.wav", tone(1))
        write(tmp_path / f"bone/{name}.wav", *(tone(2, k) for k in range(channels)))
    pairs, failures = read_recordings(tmp_path, tmp_path, RATE, channels={"bone": "2"})
    assert [pair.name for pair in pairs] == ["b"]
    opened = open_pairs(tmp_path, RATE, 0, channels={"bone": "2"})
    assert [pair.id for pair in opened.pairs] == ["b"]
    assert "bone/a.wav: cannot be read as audio: has one channel, and no channel 2" in failures["a"]
    assert f"{tmp_path}/air/a.wav with {tmp_path}/bone/a.wav" in failures["a"]


def test_the_channel_of_noise_alone_is_that_of_the_pairs(tmp_path):
    write(tmp_path / "air/a.wav", tone(1))
    write(tmp_path / "bone/a.wav", tone(2), 2 * tone(3))
    air, bone = tmp_path / "air", tmp_path / "bone"
    assert channels_of(air, bone, {"bone": "strongest"}) == {"air": None, "bone": 1}
    assert channels_of(air, bone, None) == {"air": None, "bone": None}


def test_the_same_two_files_are_one_pair_whatever_they_are_called(files):
    """Two rows of the same files, and links to them, counted twice."""
    rows = "air,bone,id\nm/one.wav,n/three.wav,p\n./m/one.wav,n/three.wav,q\n"
    pairs, failures = found(files / "rec/list.csv", rows)
    assert [*pairs] == ["p"]
    assert "q: these are the files of p; leave one out" in failures["q"]
    for role, name in (("air", "m/one.wav"), ("bone", "n/three.wav")):
        (files / "x" / role).mkdir(parents=True)
        for link in ("u0.wav", "u1.wav"):
            (files / "x" / role / link).symlink_to(files / "rec" / name)
    told, unmatched = find_pairs(files / "x", files / "x")
    assert [pair.id for pair in told] == ["u0"]
    assert {*unmatched} == {str(files / f"x/{role}/u1.wav") for role in ("air", "bone")}


def test_a_file_in_two_pairs_is_told(files, caplog):
    """A list whose rows had slipped by one on one side was read without a word."""
    rows = "air,bone\nm/one.wav,n/three.wav\nm/one.wav,n/four.wav\nm/two.wav,m/one.wav\n"
    pairs, failures = found(files / "rec/list.csv", rows)
    assert (len(pairs), failures) == (3, {})
    assert "3 pairs share a file with another pair, such as" in caplog.text


def test_one_id_in_two_splits_names_two_pairs(files):
    """`doctor` named the files of the second pair for both."""
    for split, air in (("train", "m/one"), ("test", "m/two")):
        write(files / "rec" / split / "air.wav", tone(len(air), ord(split[1])))
        write(files / "rec" / split / "bone.wav", tone(len(air), ord(split[1]), 1))
        line = {"id": "u0", "air_file_name": "air.wav", "bone_file_name": "bone.wav"}
        (files / "rec" / split / "metadata.jsonl").write_text(json.dumps(line))
    pairs, _ = find_pairs(files / "rec", files / "rec")
    assert sorted(pair.id for pair in pairs) == ["test/u0", "train/u0"]


def test_recordings_that_a_manifest_does_not_list_are_told(files, caplog):
    """Whoever added recordings to an imported folder was not told that they were not used."""
    line = {"air_file_name": "m/one.wav", "bone_file_name": "n/three.wav"}
    (files / "rec/metadata.jsonl").write_text(json.dumps(line))
    with caplog.at_level("WARNING"):
        pairs, _ = find_pairs(files / "rec", files / "rec")
    assert len(pairs) == 1
    told = f"2 audio files that no metadata.jsonl lists are not used, such as {files}/rec/m/two.wav"
    assert told in caplog.text


def test_one_file_is_refused_with_what_would_be_taken(files):
    """A JSON array or a packed list gave "air and bone of list.json are this one file"."""
    for name, text, message in (
        ("list.json", b"[]", r"is no list of pairs; its name wants the ending \.csv, "),
        (
            "m/one.wav",
            None,
            "of one are this one file; name two channels of it, or two files",
        ),
    ):
        path = files / "rec" / name
        if text is not None:
            path.write_bytes(text)
        with pytest.raises(InputError, match=message):
            find_pairs(path, path)
    packed = gzip.compress(b"air,bone,id\nm/one.wav,n/three.wav,p\n")
    assert [*found(files / "rec/list.csv.gz", packed)[0]] == ["p"]


@pytest.mark.parametrize("name", ["pairs.jsonl", "metadata.jsonl"])
def test_a_row_that_contradicts_its_files_costs_itself(files, name):
    """A list of 3000 s at 8 kHz named files of 50 ms at 16 kHz, and nothing was said."""
    keys = ("air", "bone") if name == "pairs.jsonl" else ("air_file_name", "bone_file_name")
    told = [{"duration": 0.05, "sample_rate": RATE}, {"duration": 3000.0}, {"sampling_rate": 8000}]
    sides = [("m/one.wav", "n/three.wav"), ("m/two.wav", "n/four.wav"), ("m/one.wav", "n/four.wav")]
    rows = [
        {"id": str(number), **dict(zip(keys, files_of, strict=True)), **facts}
        for number, (files_of, facts) in enumerate(zip(sides, told, strict=True))
    ]
    (files / "rec" / name).write_text("\n".join(map(json.dumps, rows)))
    place = files / "rec" / (name if name == "pairs.jsonl" else "")
    pairs, failures = find_pairs(place, place)
    assert [pair.id for pair in pairs] == ["0"]
    reasons = " ".join(failures.values())
    assert "line 2: the list tells a duration of 3000, and the files last 0.05 s" in reasons
    assert "line 3: the list tells 8000 Hz, and the files have 16000 Hz" in reasons
