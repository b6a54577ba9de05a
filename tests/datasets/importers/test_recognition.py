"""Which format a source has: one importer claims it by its content, or the user is asked."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bcsim.datasets.exporters import EXPORTERS, export
from bcsim.datasets.importers import IMPORTERS, import_pairs
from bcsim.datasets.importers.base import FoundPair, Importer, Recording
from bcsim.errors import InputError, UsageError
from bcsim.rng import stream

RATE = 16_000
STEREO = ("air", "bone")


def write(path: Path, *names: str) -> Path:
    """Write 50 ms of noise, a channel for each name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = [stream(0, name).integers(-9000, 9000, 800) for name in names]
    soundfile.write(path, np.stack(channels, axis=1).astype(np.int16), RATE)
    return path


def example(name: str, folder: Path) -> Path:
    """Write a source of a format, as others or bcsim itself write it."""
    if name == "channels":
        return write(folder / "s1/take.wav", *STEREO).parent.parent
    if name == "vibravox":
        for sensor in ("headset_microphone", "throat_microphone"):
            write(folder / f"audio.{sensor}/s1/a.wav", sensor)
        return folder
    if name == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        pyarrow = pytest.importorskip("pyarrow")
        cells = {
            role: [{"bytes": write(folder.with_name("x.wav"), role).read_bytes(), "path": "x.wav"}]
            for role in ("air", "bone")
        }
        folder.mkdir()
        parquet.write_table(pyarrow.table(cells), folder / "train-0.parquet")
        return folder
    write(folder.with_name("stereo") / "s1/take.wav", *STEREO)
    import_pairs(folder.with_name("stereo"), folder.with_name("pairs"), channels=STEREO)
    export(folder.with_name("pairs"), name, folder)
    return folder


EXAMPLES = sorted({"channels", "vibravox", "parquet", *EXPORTERS})


@pytest.mark.parametrize("name", EXAMPLES)
def test_exactly_one_importer_claims_the_example_of_each_format(name, tmp_path):
    source = example(name, tmp_path / "source")
    claims = []
    for other, importer in IMPORTERS.items():
        channels = STEREO if name == "channels" else ()
        try:
            if importer(channels=channels).recognises(source):
                claims.append(other)
        except UsageError:
            continue
    assert claims == [name]


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"channels"}))
def test_notes_beside_the_data_change_nothing(name, tmp_path):
    """`speechbrain` used to claim whatever lay beside a file that ends in .json or .csv."""
    source = example(name, tmp_path / "source")
    (source / "a_notes.json").write_text('{"title": "spring session", "mood": {"good": true}}')
    (source / "a_table.csv").write_text("day,weather\nMonday,rain\n")
    (source / "README.json").write_text("[1, 2]")
    result = import_pairs(source, tmp_path / "out", root=tmp_path / "pairs")
    assert (result.format, result.failures) == (name, {})
    assert sum(result.num_pairs.values()) == 1


@pytest.fixture
def plugin():
    """A format of somebody else, behind all others in the alphabet, with lists of its own."""
    before = dict(IMPORTERS)

    @IMPORTERS.register("zoo")
    class Zoo(Importer):
        def recognises(self, source: Path) -> bool:
            return (source / "animals.csv").is_file()

        def read(self, source: Path) -> list[FoundPair]:
            files = {role: Recording.of_file(source / f"{role}.wav") for role in STEREO}
            return [FoundPair("cat", files)]

    yield Zoo
    IMPORTERS._entries = before


def test_a_format_behind_speechbrain_in_the_alphabet_is_recognised(plugin, tmp_path):
    for role in STEREO:
        write(tmp_path / f"zoo/{role}.wav", role)
    (tmp_path / "zoo/animals.csv").write_text("name,sound\ncat,meow\n")
    (tmp_path / "zoo/animals.json").write_text('{"cat": {"sound": "meow"}}')
    result = import_pairs(tmp_path / "zoo", tmp_path / "out")
    assert (result.format, result.num_pairs) == ("zoo", {"": 1})


def test_a_folder_of_two_formats_is_asked_about(tmp_path):
    source = example("kaldi", tmp_path / "source")
    export(tmp_path / "pairs", "lhotse", tmp_path / "cuts")
    shutil.copy(next((tmp_path / "cuts").glob("*.jsonl.gz")), source)
    with pytest.raises(InputError, match="could be kaldi or lhotse; name the format"):
        import_pairs(source, tmp_path / "out")
    assert import_pairs(source, tmp_path / "out", format="lhotse").num_pairs == {"": 1}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("train.csv", "ID,mic,throat\nu,a.wav,b.wav\n", "has the columns ID, mic, throat"),
        ("train.json", '{"u": {"mic": "a.wav"}}', "has the columns mic"),
        ("metadata.csv", "file,mic\nu,a.wav\n", "has the columns file, mic"),
        ("metadata.jsonl", '{"mic": "a.wav"}\n', "has the columns mic"),
        ("cuts.jsonl", "no json\n", "cuts.jsonl line 1: is no JSON"),
    ],
)
def test_what_was_seen_and_what_was_wanted_is_told(name, text, told, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text(text)
    with pytest.raises(InputError, match=told) as raised:
        import_pairs(tmp_path / "in", tmp_path / "out")
    assert "name the format" in str(raised.value)


def test_stereo_files_without_roles_are_asked_about(tmp_path):
    write(tmp_path / "in/a.wav", *STEREO)
    with pytest.raises(InputError, match="say which channel is which"):
        import_pairs(tmp_path / "in", tmp_path / "out")


def test_roles_of_channels_are_refused_where_files_have_one(tmp_path):
    source = example("vibravox", tmp_path / "source")
    with pytest.raises(UsageError, match="vibravox has files of one channel only"):
        import_pairs(source, tmp_path / "out", format="vibravox", channels=STEREO)


def test_columns_named_by_the_user_decide_who_claims_a_table(tmp_path):
    write(tmp_path / "in/a.wav", "air")
    write(tmp_path / "in/b.wav", "bone")
    names = {"air": "mic", "bone": "throat"}
    (tmp_path / "in/train.csv").write_text("ID,mic,throat\nu,a.wav,b.wav\n")
    assert import_pairs(tmp_path / "in", tmp_path / "one", names=names).format == "speechbrain"
    (tmp_path / "in/train.csv").unlink()
    row = {"id": "u", "mic": "a.wav", "throat": "b.wav"}
    (tmp_path / "in/metadata.jsonl").write_text(json.dumps(row) + "\n")
    assert import_pairs(tmp_path / "in", tmp_path / "two", names=names).format == "audiofolder"
