"""Tables of talkers are read exactly: who speaks where, and what the table does not say."""

import logging

import numpy as np
import pytest
import soundfile

from bcsim.datasets.recordings import read_recordings
from bcsim.datasets.talkers import read_talkers, talkers_of
from bcsim.errors import InputError


@pytest.fixture
def recordings(tmp_path):
    """Return a function that writes pairs of some names and returns air and bone."""

    def write(*names):
        for role in ("air", "bone"):
            for name in names:
                path = tmp_path / role / f"{name}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = np.random.default_rng(len(role)).standard_normal(800)
                soundfile.write(path, 0.1 * noise, 16_000)
        return tmp_path / "air", tmp_path / "bone"

    return write


def talkers(recordings, tmp_path, table, *names, suffix="csv"):
    """Return the talker of each pair as a table tells."""
    path = tmp_path / f"talkers.{suffix}"
    path.write_bytes(table if isinstance(table, bytes) else table.encode())
    air, bone = recordings(*names)
    pairs, _ = read_recordings(air, bone, 16_000, path)
    return {pair.name: pair.talker for pair in pairs}


def test_a_dot_in_a_name_is_no_ending(recordings, tmp_path):
    """`rec.1,A` lost its `.1`: all talkers were unknown or refused."""
    names = [f"rec.{k}" for k in range(1, 4)]
    found = talkers(recordings, tmp_path, "file,talker\nrec.1,A\nrec.2,B\nrec.3.wav,B\n", *names)
    assert found == {"rec.1": "A", "rec.2": "B", "rec.3": "B"}


def test_an_exact_name_wins_over_one_without_its_ending(recordings, tmp_path):
    rows = "file,talker\na.flac,B\na,A\nb,B\n"
    assert talkers(recordings, tmp_path, rows, "a", "b") == {"a": "A", "b": "B"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_usual_delimiters_and_a_byte_order_mark_are_read(recordings, tmp_path, delimiter, mark):
    rows = mark + delimiter.join(["file", "talker"]).encode() + b"\r\n"
    rows += f"a{delimiter}Anna, the first\r\n".encode() if delimiter != "," else b"a,A\r\n"
    who = "A" if delimiter == "," else "Anna, the first"
    assert talkers(recordings, tmp_path, rows, "a", "b") == {"a": who, "b": None}


def test_json_lines_and_an_integer_name_a_talker(recordings, tmp_path):
    """A talker called 0 was taken for none."""
    rows = '{"file": "a.wav", "speaker_id": 0}\n{"file": "b.wav", "speaker_id": 1}\n'
    found = talkers(recordings, tmp_path, rows, "a", "b", suffix="jsonl")
    assert found == {"a": "0", "b": "1"}


@pytest.mark.parametrize(
    "rows", ["a,A\na,B\n", "a,A\na.wav,A\na.wav,B\n", "air/a.wav,A\nbone/a.wav,B\n"]
)
def test_a_recording_of_two_talkers_is_refused_with_both(recordings, tmp_path, rows):
    """The last row won, and nothing was said."""
    with pytest.raises(InputError, match=r"talker of .* is '?B'?, and '?A'? in .*line [23]"):
        talkers(recordings, tmp_path, f"file,talker\n{rows}", "a")


def test_a_space_makes_no_other_talker(recordings, tmp_path):
    """`A` and `A ` were two talkers."""
    found = talkers(recordings, tmp_path, "file , talker\na,A\nb , A \n", "a", "b")
    assert found == {"a": "A", "b": "A"}


def test_rows_without_a_pair_and_pairs_without_a_row_are_counted(recordings, tmp_path, caplog):
    """Both passed without a word, and the folder's name stood in for the talker."""
    found = talkers(recordings, tmp_path, "file,talker\ns/a,A\nx,B\ny,C\n", "s/a", "s/b", "s/c")
    assert found == {"s/a": "A", "s/b": None, "s/c": None}
    assert "2 of 3 rows match no recording: 'x', 'y'" in caplog.text
    assert "names 2 of 3 recordings, whose talker stays unknown: 's/b', 's/c'" in caplog.text


def test_a_table_may_name_files_by_any_unique_name(recordings, tmp_path):
    rows = "file,talker\nair/s/a.wav,A\nb,B\n./s/c.wav,C\n"
    found = talkers(recordings, tmp_path, rows, "s/a", "s/b", "s/c")
    assert found == {"s/a": "A", "s/b": "B", "s/c": "C"}


def test_a_name_without_its_folder_that_is_not_unique_matches_nothing(recordings, tmp_path):
    with pytest.raises(InputError, match=r"names none of the recordings \(in the table: 'a'"):
        talkers(recordings, tmp_path, "file,talker\na,A\n", "s/a", "t/a")


def test_accents_may_be_written_either_way(recordings, tmp_path):
    found = talkers(recordings, tmp_path, "file,talker\n\u00e9t\u00e9,A\n", "e\u0301te\u0301")
    assert [*found.values()] == ["A"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfef\0i\0", "not UTF-8 text"),
        (b"file,talker\n\xe9,A\n", "line 2: not UTF-8 text"),
        (b"file,talker\n" + b"a" * 200_000 + b",b\n", "line 2: is no row of a table"),
        (b"name\na\n", "wants a heading"),
        (b"a,B\nb,B\n", "wants a heading with the columns file and talker, not a, b"),
        (b"", "is empty, or has nothing below its heading"),
        (b"file,talker\n", "is empty, or has nothing below its heading"),
        (b"file,talker,talker\na,A,B\n", "the column 'talker' twice"),
        (b"file,speaker_name,speaker_code\na,1,2\n", "the columns .* could all be the talker"),
        (b"file,talker\na,Smith, Anna\n", "line 2: has 3 cells, and the heading has 2"),
    ],
)
def test_what_is_no_table_of_talkers_is_refused(tmp_path, content, message):
    (tmp_path / "talkers.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"talkers\.csv.*{message}"):
        read_talkers(tmp_path / "talkers.csv")


@pytest.mark.parametrize(
    ("name", "content", "count"),
    [
        ("who.csv", "file,talker\na/b.wav,anna\n.,ben\n/,cara\n,dora\nc,\n", 4),
        ("who.csv", 'file,talker\nx,Smith, Ben\n"y,B\na/b.wav,anna\n', 2),
        ("who.txt", "file\ttalker\na/b.wav\tanna\nc\n", 1),
        (
            "who.jsonl",
            '{"file": "x", "talker": ["A", "B"]}\n[1]\n{"file\n'
            '{"file": "a/b.wav", "talker": "anna"}\n{"file": "y", "talker": true}\n',
            4,
        ),
    ],
)
def test_rows_that_say_nothing_cost_themselves_and_are_counted(
    tmp_path, caplog, name, content, count
):
    (tmp_path / name).write_text(content)
    talkers = {recording: who for recording, (who, _) in read_talkers(tmp_path / name).items()}
    assert talkers == {"a/b.wav": "anna"}
    assert f"{count} rows of {tmp_path / name} say nothing; first: " in caplog.text


def test_talkers_that_differ_in_capitals_alone_are_told(tmp_path, caplog):
    (tmp_path / "talkers.csv").write_text("file,talker\na,Anna\nb,anna\n")
    assert talkers_of(tmp_path / "talkers.csv", {"a": "a", "b": "b"}) == {"a": "Anna", "b": "anna"}
    assert "'Anna' and 'anna' differ in capitals alone" in caplog.text


def test_a_table_that_says_all_is_silent(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "talkers.csv").write_text("file,talker\na,A\nb,B\n")
    talkers_of(tmp_path / "talkers.csv", {"a": ["a"], "b": ["b"]})
    assert not caplog.messages


@pytest.mark.parametrize("cell", ["nan", "NaN", "None", "null", "<NA>", "N/A", "unknown", " nan "])
def test_what_programs_write_for_nobody_is_no_talker(recordings, tmp_path, cell, caplog):
    """pandas writes `nan` into an empty cell: all these were of one talker called nan."""
    found = talkers(recordings, tmp_path, f"file,talker\na,{cell}\nb,{cell}\nc,Nan\n", *"abc")
    assert found == {"a": None, "b": None, "c": "Nan"}
    assert "2 rows of" in caplog.text
    assert f"{cell.strip()!r} stands for an unknown one" in caplog.text


def test_a_table_of_nobody_is_refused(tmp_path):
    (tmp_path / "talkers.csv").write_text("file,talker\na,nan\nb,\n")
    with pytest.raises(
        InputError, match=r"no row names a recording and a talker; first: .* line 2"
    ):
        read_talkers(tmp_path / "talkers.csv")


def test_a_list_of_pairs_and_a_folder_name_nobody_either(recordings, tmp_path, caplog):
    air, bone = recordings("ann/u0", "unknown/u0", "unknown/u1")
    pairs, _ = read_recordings(air, bone, 16_000)
    assert {pair.name: pair.talker for pair in pairs} == {
        "ann/u0": "ann",
        "unknown/u0": None,
        "unknown/u1": None,
    }
    assert "the talker of 2 of 3 pairs is unknown, such as of unknown/u0" in caplog.text
    rows = [f"air/{name}.wav,bone/{name}.wav,{who}" for name, who in (("ann/u0", "null"),)]
    (tmp_path / "list.csv").write_text("\n".join(["air,bone,talker", *rows]))
    (pair,), _ = read_recordings(tmp_path / "list.csv", tmp_path / "list.csv", 16_000)
    assert pair.talker is None


def test_the_paths_of_corpora_that_were_played_back_tell_their_talkers(recordings):
    """LibriSpeech as it unpacks was one talker, `train-clean-100`; TIMIT one a dialect."""
    names = {
        "train-clean-100/103/1240/103-1240-0000": "103",
        "dev-clean/84/121123/84-121123-0001": "84",
        "TRAIN/DR1/FCJF0/SA1": "FCJF0",
        "test/dr1/mdab0/sx139": "mdab0",
    }
    air, bone = recordings(*names)
    pairs, _ = read_recordings(air, bone, 16_000)
    assert {pair.name: pair.talker for pair in pairs} == names
