"""Columns of people's own tables: what they mean is taken or refused, and never half of it."""

import numpy as np
import pytest
import soundfile

from bcsim.datasets.dataset import Dataset
from bcsim.datasets.importers import import_pairs
from bcsim.datasets.recordings import find_pairs
from bcsim.datasets.talkers import read_talkers
from bcsim.errors import InputError

RATE = 16_000


@pytest.fixture
def files(tmp_path):
    for number, name in enumerate(("a0", "a1", "b0", "b1")):
        noise = np.random.default_rng(number).standard_normal(800)
        (tmp_path / "rec").mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"rec/{name}.wav", 0.1 * noise, RATE)
    return tmp_path / "rec"


def write(path, text):
    path.write_text(text)
    return path


def imported(path, out):
    """Return id and air file of each imported pair, and the failures."""
    result = import_pairs(path, out)
    pairs = {pair.id: pair.row.source for pair in Dataset.open(out).pairs("all")}
    return {name: source.rpartition("/")[2] for name, source in pairs.items()}, result.failures


def test_two_columns_that_differ_in_capitals_alone_are_refused(files):
    """The last one was taken, and another file became the air of the pair."""
    table = write(files / "list.csv", "air,bone,Air\na0.wav,b0.wav,a1.wav\n")
    for read in (lambda: find_pairs(table, table), lambda: import_pairs(table, files / "out")):
        with pytest.raises(InputError, match=r"the columns 'air' and 'Air'.*rename one"):
            read()
    lines = '{"air": "a0.wav", "bone": "b0.wav", "AIR": "a1.wav"}\n{"air":"a1.wav","bone":"b1.wav"}'
    table = write(files / "list.jsonl", lines)
    pairs, failures = find_pairs(table, table)
    assert [pair.files["air"].name for pair in pairs] == ["a1.wav"]
    assert len(failures) == 1
    assert "line 1: has the keys 'air' and 'AIR'" in next(iter(failures.values()))


@pytest.mark.parametrize("columns", ["start,end", "Offset,x", "onset,duration", "start_s,stop_s"])
def test_a_row_about_a_part_of_a_file_is_not_taken_for_the_whole(files, columns):
    """Two segments of one file were two whole recordings, exit 0."""
    rows = f"air,bone,id,{columns}\na0.wav,b0.wav,x,0.0,0.02\na1.wav,b1.wav,y,,\n"
    table = write(files / "metadata.csv", rows)
    found, failures = find_pairs(table, table)
    assert [pair.id for pair in found] == ["y"]
    assert len(failures) == 1
    assert "line 2: tells a part of the files" in next(iter(failures.values()))
    pairs, failures = imported(table, files / "out")
    assert pairs == {"y": "a1.wav"}
    assert [*failures] == ["x"]


def test_a_part_of_a_file_in_speechbrains_tables_is_not_taken_for_the_whole(files):
    rows = "ID,duration,air_wav,bone_wav,start,stop\nx,1,a0.wav,b0.wav,0,99\ny,1,a1.wav,b1.wav,,\n"
    pairs, failures = imported(write(files / "t.csv", rows), files / "out")
    assert (pairs, [*failures]) == ({"y": "a1.wav"}, ["x"])


def test_a_manifest_that_names_parts_of_files_is_refused(files):
    line = '{"air_file_name": "a0.wav", "bone_file_name": "b0.wav", "start": 0, "end": 0.02}\n'
    write(files / "metadata.jsonl", line)
    with pytest.raises(InputError, match="line 1: tells a part of the files"):
        find_pairs(files, files)


@pytest.mark.parametrize("column", ["speaker_gender", "talker_age", "loudspeaker", "num_speakers"])
def test_what_is_told_of_a_talker_is_not_who_it_is(files, column):
    """`file,speaker_gender` made F and M the two talkers."""
    table = write(files / "t.csv", f"file,{column}\na0,F\na1,M\n")
    with pytest.raises(InputError, match=f"the columns file and talker, not file, {column}"):
        read_talkers(table)


def test_the_name_of_a_talker_is_found_beside_what_else_is_told_of_them(files):
    table = write(files / "t.csv", "file,speaker_gender,Speaker Name\na0,F,Ann\na1,F,Eve\n")
    assert {name: who for name, (who, _) in read_talkers(table).items()} == {
        "a0": "Ann",
        "a1": "Eve",
    }


@pytest.mark.parametrize("column", ["talker", "speaker_id", "spk_id", "spk", "client_id"])
def test_a_talker_has_the_same_columns_in_every_list(files, column):
    """`spk_id` beside air and bone was passed over, and nobody's talker was known."""
    table = write(files / "metadata.csv", f"air,bone,id,{column}\na0.wav,b0.wav,x,0\n")
    assert [pair.speaker for pair in find_pairs(table, table)[0]] == ["0"]
    assert import_pairs(table, files / "out").speakers == {"0"}
    line = f'{{"air_file_name": "a0.wav", "bone_file_name": "b0.wav", "{column}": 0}}\n'
    write(files / "metadata.jsonl", line)
    assert [pair.speaker for pair in find_pairs(files, files)[0]] == ["0"]
    assert read_talkers(write(files / "t.csv", f"file,{column}\na0,0\n"))["a0"][0] == "0"
