"""Who speaks in what was imported: unknown where neither the source nor a table tells."""

import gzip
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from bcsim.datasets.dataset import Dataset, read_manifest
from bcsim.datasets.exporters import EXPORTERS, export
from bcsim.datasets.importers import import_pairs
from bcsim.datasets.lists import name_of
from bcsim.datasets.recordings import find_pairs
from bcsim.errors import InputError
from bcsim.fitting.cross_validation import folds_of
from bcsim.rng import stream

RATE = 16_000
STEREO = ("air", "bone")


def stereo(folder: Path, *names: str) -> Path:
    """Write stereo files of 50 ms."""
    for name in names:
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = stream(0, name).integers(-9000, 9000, (800, 2)).astype(np.int16)
        soundfile.write(path, samples, RATE)
    return folder


def speakers(folder: Path) -> dict[str, str | None]:
    return {row.id: row.speaker for row in read_manifest(folder / "metadata.jsonl")}


def test_utterances_in_one_flat_folder_are_of_unknown_talkers(tmp_path):
    """Each used to be a talker of its own, by whom hold-out and intervals then went."""
    source = stereo(tmp_path / "in", "u0", "u1", "u2", "rec.1")
    result = import_pairs(source, tmp_path / "out", channels=STEREO)
    assert (result.speakers, result.num_unknown) == (frozenset(), 4)
    assert speakers(tmp_path / "out") == dict.fromkeys(("u0", "u1", "u2", "rec.1"))
    pairs, _ = find_pairs(tmp_path / "out", tmp_path / "out")
    assert [pair.speaker for pair in pairs] == [None] * 4
    assert len(folds_of([(pair.speaker, pair.id) for pair in pairs])) == 4


def test_the_first_folder_is_the_talker_unless_it_is_a_split(tmp_path):
    source = stereo(tmp_path / "in", "train/ann/a", "train/bob/a", "test/b")
    result = import_pairs(source, tmp_path / "out", channels=STEREO)
    assert result.num_pairs == {"train": 2, "test": 1}
    assert speakers(tmp_path / "out/train") == {"ann/a": "ann", "bob/a": "bob"}
    assert speakers(tmp_path / "out/test") == {"b": None}


def test_every_format_knows_who_is_nobody(tmp_path):
    """`nan` in a list, in utt2spk or in a supervision was a talker of that name."""
    import_pairs(stereo(tmp_path / "in", "ann/u0"), tmp_path / "pairs", channels=STEREO)
    for name, pattern, told in [("kaldi", "utt2spk", b" ann"), ("lhotse", "*.gz", b'"ann"')]:
        out = tmp_path / name
        export(tmp_path / "pairs", name, out)
        for table in out.rglob("spk2utt"):
            table.unlink()
        for table in out.rglob(pattern):
            content = table.read_bytes()
            content = gzip.decompress(content) if name == "lhotse" else content
            assert told in content
            content = content.replace(told, told.replace(b"ann", b"nan"))
            table.write_bytes(gzip.compress(content) if name == "lhotse" else content)
        result = import_pairs(out, tmp_path / f"{name}-in", root=tmp_path / "pairs")
        assert (result.speakers, result.num_unknown) == (frozenset(), 1), name


def test_a_table_tells_the_talkers_and_says_nothing_of_the_others(tmp_path, caplog):
    source = stereo(tmp_path / "in", "u0", "u1", "rec.1", "ann/u3")
    table = tmp_path / "who.csv"
    table.write_text("file;talker\nu0.wav;0\nrec.1;B\nnobody;C\n")
    result = import_pairs(source, tmp_path / "out", channels=STEREO, talkers=table)
    assert result.speakers == {"0", "B", "ann"}
    assert speakers(tmp_path / "out") == {"u0": "0", "rec.1": "B", "u1": None, "ann/u3": "ann"}
    assert "nobody" in caplog.text
    table.write_text("file,talker\nnobody,C\n")
    with pytest.raises(InputError, match="names none of the recordings"):
        import_pairs(source, tmp_path / "no", channels=STEREO, talkers=table)


def row(speaker: Any, **more: Any) -> dict[str, Any]:
    return {"id": "a", "air": "air/a.wav", "bone": "bone/a.wav", "speaker": speaker, **more}


@pytest.fixture
def one_pair(tmp_path):
    stereo(tmp_path / "stereo", "a")
    import_pairs(tmp_path / "stereo", tmp_path / "in", channels=STEREO)
    for path in (tmp_path / "in").glob("*.jsonl"):
        path.unlink()
    for role in STEREO:
        (tmp_path / f"in/{role}/a.flac").rename(tmp_path / f"in/{role}/a.wav")
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("value", "speaker"),
    [
        *((0, "0"), ("0", "0"), (7.0, "7"), (" A ", "A"), ("Nan", "Nan")),
        *(("", None), (" ", None), (None, None), ("nan", None), ("None", None), ("null", None)),
    ],
)
def test_a_talker_called_0_is_a_talker(value, speaker, one_pair, tmp_path):
    (one_pair / "metadata.jsonl").write_text(json.dumps(row(value)) + "\n")
    import_pairs(one_pair, tmp_path / "out")
    assert speakers(tmp_path / "out") == {"a": speaker}
    again = import_pairs(tmp_path / "out", tmp_path / "again")
    assert again.speakers == ({speaker} - {None})


@pytest.mark.parametrize("value", [["ann", "bob"], {"name": "ann"}, True, 0.5])
def test_what_is_no_name_costs_its_pair(value, one_pair, tmp_path):
    rows = [row(value), row("ann", id="b")]
    (one_pair / "metadata.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    result = import_pairs(one_pair, tmp_path / "out")
    assert speakers(tmp_path / "out") == {"b": "ann"}
    assert "is no name" in result.failures["a"]
    with pytest.raises(InputError, match="is no name"):
        name_of(value)


def test_a_column_of_numbers_in_a_parquet_file_holds_names(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    content = (stereo(tmp_path, "a") / "a.wav").read_bytes()
    table = {"audio": [{"bytes": content, "path": "a.wav"}] * 3, "speaker_id": [0, 1, None]}
    parquet.write_table(pyarrow.table(table), tmp_path / "x.parquet")
    result = import_pairs(tmp_path / "x.parquet", tmp_path / "out", channels=STEREO)
    assert (result.speakers, result.num_unknown) == ({"0", "1"}, 1)
    table["speaker_id"] = [["ann", "bob"], ["cy"], None]
    parquet.write_table(pyarrow.table(table), tmp_path / "y.parquet")
    result = import_pairs(tmp_path / "y.parquet", tmp_path / "other", channels=STEREO)
    assert (result.num_pairs, len(result.failures)) == ({"": 1}, 2)


@pytest.mark.parametrize("name", EXPORTERS)
def test_unknown_talkers_stay_unknown_through_every_format(name, tmp_path):
    source = stereo(tmp_path / "in", "u0", "u1")
    import_pairs(source, tmp_path / "pairs", channels=STEREO)
    export(tmp_path / "pairs", name, tmp_path / "out")
    assert "None" not in "".join(
        path.read_text() for path in (tmp_path / "out").rglob("*2spk") if path.is_file()
    )
    result = import_pairs(tmp_path / "out", tmp_path / "back", root=tmp_path / "pairs")
    assert (result.format, result.speakers, result.num_unknown) == (name, frozenset(), 2)
    pairs = Dataset.open(tmp_path / "back").pairs("all")
    assert {pair.id: pair.speaker for pair in pairs} == {"u0": None, "u1": None}


def test_the_command_tells_how_many_talkers_are_known(tmp_path):
    source = stereo(tmp_path / "in", "u0", "u1", "u2")
    table = tmp_path / "who.csv"
    table.write_text("file,talker\nu0,ann\nu1,ann\n")
    cli = importlib.import_module("bcsim_cli.main").cli
    arguments = ["import", source, "--out", tmp_path / "out", "--channels", "air,bone"]
    done = CliRunner().invoke(
        cli, [*map(str, arguments), "--talkers", str(table)], standalone_mode=False
    )
    assert done.return_value == 0
    assert "1 talkers, and 1 pairs of unknown talkers" in done.stderr
