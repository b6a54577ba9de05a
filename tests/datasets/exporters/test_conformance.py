"""What every export format has to do, whoever wrote it."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bcsim.datasets.dataset import Dataset
from bcsim.datasets.exporters import EXPORTERS, export
from bcsim.datasets.importers import IMPORTERS, import_pairs
from bcsim.datasets.recordings import find_pairs
from bcsim.errors import EnvironmentFault, InputError, UsageError


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(params=EXPORTERS)
def format(request):
    return request.param


def test_what_is_exported_and_imported_again_is_what_it_was(format, dataset, tmp_path, samples):
    num_pairs = export(dataset, format, tmp_path / "out")
    assert num_pairs == {"train": 4, "test": 1}
    imported = import_pairs(tmp_path / "out", tmp_path / "back", root=dataset)
    assert (imported.format, imported.failures) == (format, {})
    assert imported.num_pairs == num_pairs
    before, after = Dataset.open(dataset), Dataset.open(tmp_path / "back")
    for split in before.manifests:
        was, now = list(before.pairs(split)), list(after.pairs(split))
        assert [(p.id, p.speaker) for p in now] == [(p.id, p.speaker) for p in was]
        for pair in now:
            assert pair.files.keys() == next(p for p in was if p.id == pair.id).files.keys()
            for role, path in pair.files.items():
                stored, rate = soundfile.read(path, dtype="int16")
                assert rate == 16_000
                assert np.array_equal(stored, samples(split, pair.id, role))


def test_names_as_people_write_them_are_kept(format, write, tmp_path):
    """A no-break space in a speaker's name was called a row that bcsim did not write."""
    odd = ["s\u00a01", "s\u00ad1", "\ufeffs", "a: 'b'", "#a", "-\u200b", "{a}", "a\\b"]
    pairs = [(f"{speaker}/x", speaker) for speaker in odd if "\\" not in speaker]
    pairs.append(("backslash", "a\\b"))
    folder = tmp_path / "Corpus\u00a0: 12 # -\u200b\N{GRINNING FACE}"
    dataset = write(folder, {"train": pairs}, ".wav", ("bone", "air"))
    export(dataset, format, tmp_path / "out")
    imported = import_pairs(tmp_path / "out", tmp_path / "back", root=dataset)
    assert not imported.failures
    assert imported.speakers == {*odd}
    back = Dataset.open(tmp_path / "back").pairs("train")
    assert {pair.speaker for pair in back} == {*odd}


def test_fit_response_finds_the_pairs_that_were_imported(format, dataset, tmp_path):
    export(dataset, format, tmp_path / "out")
    import_pairs(tmp_path / "out", tmp_path / "back", root=dataset)
    pairs, unmatched = find_pairs(tmp_path / "back/train", tmp_path / "back/train")
    assert {(p.id, p.speaker) for p in pairs} == {
        ("s1/a.b c", "s1"), ("s1/deep/ü", "s1"), ("s1-2/{x} $HOME", "s1-2"), ("solo", "solo")
    }  # fmt: skip
    assert not unmatched


def test_the_same_dataset_gives_the_same_bytes_and_is_left_as_it_was(format, dataset, tmp_path):
    before = tree(dataset)
    export(dataset, format, tmp_path / "one")
    export(dataset, format, tmp_path / "two")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert tree(dataset) == before


def test_the_same_command_again_leaves_a_finished_export_alone(format, dataset, tmp_path):
    first = export(dataset, format, tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert export(dataset, format, tmp_path / "out") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == times


def test_a_run_that_stops_leaves_nothing_under_the_final_name(
    format, dataset, tmp_path, monkeypatch
):
    pairs = Dataset.pairs

    def stops_in_the_test_split(self, split):
        if split == "test":
            raise KeyboardInterrupt
        yield from pairs(self, split)

    with monkeypatch.context() as patched:
        patched.setattr(Dataset, "pairs", stops_in_the_test_split)
        with pytest.raises(KeyboardInterrupt):
            export(dataset, format, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"pairs"}
    export(dataset, format, tmp_path / "out")
    export(dataset, format, tmp_path / "undisturbed")
    assert tree(tmp_path / "out") == tree(tmp_path / "undisturbed")


def test_a_foreign_folder_is_left_alone(format, dataset, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("years of work")
    with pytest.raises(UsageError, match="not empty"):
        export(dataset, format, tmp_path / "thesis")
    assert tree(tmp_path / "thesis").keys() == {"chapter.tex"}


@pytest.mark.parametrize("out", ["pairs", "pairs/kaldi", "."])
def test_the_output_is_neither_in_the_dataset_nor_around_it(format, dataset, tmp_path, out):
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="must not contain each other"):
        export(dataset, format, tmp_path / out)
    assert tree(tmp_path) == before


def test_a_pair_whose_file_is_gone_stops_the_export(format, dataset, tmp_path):
    (dataset / "train/air/solo.flac").unlink()
    with pytest.raises(InputError, match=r"metadata.jsonl line 4: .*solo.flac is missing"):
        export(dataset, format, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"air/solo.flac"', '"../../secret.flac"', "leaves the dataset"),
        ('"id": "solo"', '"id": "../../solo"', "cannot be a path"),
        ('"id": "solo"', '"id": "s1/deep/ü"', "stands there twice"),
        ('"id": "solo"', '"id": "so\\nlo"', "is no row"),
        ('"id": "solo"', '"id": 7', "is no row"),
        ('"duration_s": 0', '"duration_s": -0', "is no row"),
    ],
)
def test_a_row_that_is_malformed_or_hostile_is_refused(dataset, tmp_path, old, new, named, format):
    shutil.copy(dataset / "train/air/solo.flac", tmp_path / "secret.flac")
    manifest = dataset / "train/metadata.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    assert old in lines[3]
    manifest.write_text("".join([*lines[:3], lines[3].replace(old, new)]))
    with pytest.raises(InputError, match=named):
        export(dataset, format, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_dataset_in_the_making_is_refused(format, dataset, tmp_path):
    (dataset / ".bcsim.tmp").mkdir()
    with pytest.raises(InputError, match="is not finished"):
        export(dataset, format, tmp_path / "out")


def test_every_format_that_is_written_is_read():
    assert set(EXPORTERS) <= set(IMPORTERS)


@pytest.mark.parametrize("name", [name for name in EXPORTERS if not EXPORTERS[name].sharded])
def test_a_shard_size_is_refused_where_there_are_no_shards(name, dataset, tmp_path):
    with pytest.raises(UsageError, match=f"{name} has no shards"):
        export(dataset, name, tmp_path / "out", shard_size=10)


def test_an_unknown_format_is_named_with_the_nearest(dataset, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'lhotse'"):
        export(dataset, "lotse", tmp_path / "out")


def test_two_runs_on_one_output_do_not_mix(dataset, tmp_path, monkeypatch):
    pairs = Dataset.pairs

    def while_another_starts(self, split):
        monkeypatch.setattr(Dataset, "pairs", pairs)
        with pytest.raises(EnvironmentFault, match="another run is writing there"):
            export(dataset, "lhotse", tmp_path / "out")
        yield from pairs(self, split)

    monkeypatch.setattr(Dataset, "pairs", while_another_starts)
    assert export(dataset, "lhotse", tmp_path / "out") == {"train": 4, "test": 1}
    assert (tmp_path / "out/cuts_train.jsonl.gz").is_file()


def test_a_dollar_in_a_name_is_no_variable_and_meets_no_other_name(write, tmp_path):
    """`datasets` expands "$HOME" in the names of files."""
    ids = ["$HOME", "%24HOME", "%2524HOME"]
    dataset = write(tmp_path / "pairs", {"train": [(name, "s1") for name in ids]})
    export(dataset, "audiofolder", tmp_path / "out")
    before, after = (Dataset.open(folder) for folder in (dataset, tmp_path / "out"))
    for was, now in zip(before.pairs("train"), after.pairs("train"), strict=True):
        assert now.id == was.id
        assert not any("$" in path.name for path in now.files.values())
        for role, path in now.files.items():
            assert path.read_bytes() == was.files[role].read_bytes()


def test_a_run_that_is_killed_while_it_overwrites_is_repeated_by_the_same_call(
    dataset, format, tmp_path, monkeypatch
):
    other = tmp_path / "other"
    shutil.copytree(dataset, other)
    replace, begun = os.replace, []

    def die(source, target):
        if Path(target) == tmp_path / "out":
            begun.append(source)
            raise KeyboardInterrupt
        replace(source, target)

    export(other, format, tmp_path / "out")
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            export(dataset, format, tmp_path / "out", overwrite=True)
    assert begun
    export(dataset, format, tmp_path / "out", overwrite=True)
    export(dataset, format, tmp_path / "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_only_an_export_is_overwritten_and_only_when_asked(dataset, format, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(dataset, other)
    export(other, format, tmp_path / "out")
    with pytest.raises(UsageError, match="not empty"):
        export(dataset, format, tmp_path / "out")
    export(dataset, format, tmp_path / "fresh")
    export(dataset, format, tmp_path / "out", overwrite=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")
    (tmp_path / "out/export.json").unlink()
    with pytest.raises(UsageError, match="not empty"):
        export(dataset, format, tmp_path / "out", overwrite=True)


def test_a_pipe_in_place_of_what_tells_of_an_export_is_not_waited_for(dataset, tmp_path):
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out/export.json")
    with pytest.raises(UsageError, match="not empty"):
        export(dataset, "kaldi", tmp_path / "out")
