"""Who speaks and which split that means: known corpora or tables tell, or it is called a guess."""

import json

import pytest

from bcsim.audio.write import write_audio
from bcsim.datasets.pairs import open_pairs
from bcsim.errors import InputError, UsageError
from bcsim.rng import stream
from bcsim.synthesis.clips import plan_clips, tell_splits
from bcsim.synthesis.speakers import find_speakers, speakers_by_layout
from bcsim.workers.pool import Workers
from bcsim.workflows.synthesize import plan_synthesis, synthesize
from bcsim.workflows.train import train

RATE = 16_000
PARTS = {"train": 1.0, "validation": 0.05, "test": 0.05}


def splits_of(sources, **known):
    speakers = known.get("speakers") or speakers_by_layout(sorted(sources))
    return {clip.source: clip.split for clip in plan_clips(sources, 0.05, 0.05, speakers=speakers)}


@pytest.mark.parametrize(
    ("source", "speaker", "split"),
    [
        ("train-clean-100/103/1240/103-1240-0000.flac", "103", "train"),
        ("LibriSpeech/dev-other/116/288045/116-288045-0012.flac", "116", "validation"),
        ("LibriTTS/test-clean/61/70968/61_70968_000004_000001.wav", "61", "test"),
        ("mls_german/train/audio/10148/10119/10148_10119_000000.flac", "10148", "train"),
        ("VCTK-Corpus-0.92/wav48_silence_trimmed/p225/p225_001_mic1.flac", "p225", None),
        ("clean_trainset/p226_001.wav", "p226", None),
        ("LJSpeech-1.1/wavs/LJ001-0001.wav", "LJ", None),
        ("TIMIT/TRAIN/DR1/FCJF0/SA1.WAV", "FCJF0", "train"),
        ("timit/test/dr8/mslb0/sx23.wav", "mslb0", "test"),
        ("data/TRAIN/DR4/MESG0/SI1332.WAV.wav", "MESG0", "train"),
        ("103-1240-0000.flac", "103", None),
        ("anna/20240105_1530_000012.wav", None, None),  # a date
        ("2024-01-0001.wav", None, None),
        ("page/p001_001.wav", None, None),
    ],
)
def test_known_corpora_are_told_by_their_names_wherever_they_lie(source, speaker, split):
    """LibriSpeech as it unpacks was one speaker, called train-clean-100."""
    others = ["corpus/a/x.wav", "corpus/b/y.wav"]
    for sources in ([source], [*others, source]):
        found = speakers_by_layout(sources)
        is_guess = source.rpartition("/")[0] in found.guessed
        known = None if is_guess else found.names.get(source)
        assert (known, found.splits.get(source)) == (speaker, split)


def test_the_first_folder_that_tells_recordings_apart_is_a_guess():
    found = speakers_by_layout(["speech/wav/s1/a.wav", "speech/wav/s2/deep/b.wav"])
    assert found.names == {"speech/wav/s1/a.wav": "s1", "speech/wav/s2/deep/b.wav": "s2"}
    assert found.guessed == {"speech/wav/s1", "speech/wav/s2/deep"}


@pytest.mark.parametrize(
    ("folder", "split"),
    [("train", "train"), ("Dev", "validation"), ("validation", "validation"), ("test", "test")],
)
def test_a_folder_of_a_split_keeps_its_meaning(folder, split):
    """Six files in `train/` all went to validation or to test, by the hash of "train"."""
    sources = [f"{folder}/{number}.flac" for number in range(6)]
    assert set(splits_of(sources).values()) == {split}
    sources += ["train/s1/x.wav", "train/s2/x.wav", "test/s3/x.wav"]
    found = speakers_by_layout(sources)
    assert [found.names[source] for source in sources[6:]] == ["s1", "s2", "s3"]
    assert splits_of(sources)["test/s3/x.wav"] == "test"


@pytest.mark.parametrize("folder", ["testimony", "trainer", "devon", "validity", "s1"])
def test_other_folders_mean_no_split(folder):
    assert not speakers_by_layout([f"{folder}/a.wav", "other/b.wav"]).splits


@pytest.mark.parametrize("folder", ["", "LJSpeech-1.1/", "LJSpeech-1.1/wavs/"])
@pytest.mark.parametrize("name", ["{}", "LJ001-{:04d}"])
def test_recordings_of_unknown_or_one_speaker_go_to_splits_one_by_one(folder, name):
    """A corpus in one folder was one speaker, all of whose files went to the same split."""
    sources = [f"{folder}{name.format(number)}.flac" for number in range(400)]
    splits = [*splits_of(sources).values()]
    assert {split: splits.count(split) > 5 for split in PARTS} == dict.fromkeys(PARTS, True)
    assert splits.count("train") > 300


def test_the_lists_of_common_voice_tell_speakers_and_splits(tmp_path, caplog):
    clips = [f"common_voice_en_{number}.mp3" for number in range(5)]
    folder = tmp_path / "cv-corpus/en"
    (folder / "clips").mkdir(parents=True)
    heading = "client_id\tpath\tsentence\n"
    speakers = ["a0", "b0", "a0", "b0", "a1"]
    rows = [f'{who}\t{clip}\tShe said "no\n' for who, clip in zip(speakers, clips, strict=True)]
    (folder / "validated.tsv").write_text(heading + "".join(rows))
    (folder / "test.tsv").write_text(heading + rows[0])
    (folder / "train.tsv").write_text(heading + rows[1])
    sources = [f"en/clips/{clip}" for clip in clips]
    found = find_speakers(tmp_path / "cv-corpus", sources)
    assert [found.names[source] for source in sources] == speakers
    assert found.splits == dict(zip(sources[:4], ["test", "train", "test", "train"], strict=True))
    assert not found.guessed
    for path in folder.glob("*.tsv"):
        path.unlink()
    assert not find_speakers(tmp_path / "cv-corpus", sources).names
    assert "names are those of Common Voice, whose lists" in caplog.text


def test_a_table_or_a_level_says_who_speaks(tmp_path, caplog):
    sources = ["day1/anna/a.wav", "day1/bob/b.wav", "day2/anna/c.wav", "d.wav"]
    (tmp_path / "who.csv").write_text("file,speaker\nday1/anna/a,0\nday1/bob/b.wav,1\n")
    found = find_speakers(tmp_path, sources, table=tmp_path / "who.csv")
    assert found.names == {"day1/anna/a.wav": "0", "day1/bob/b.wav": "1"}
    assert "column split" not in caplog.text
    (tmp_path / "who.csv").write_text("file,speaker,split\nday1\\anna\\a.wav,0,test\n")
    assert find_speakers(tmp_path, sources, table=tmp_path / "who.csv").names == {sources[0]: "0"}
    assert "who.csv: its column split is not used" in caplog.text
    assert find_speakers(tmp_path, sources, level=2).names == {
        source: source.split("/")[1] for source in sources[:3]
    }
    assert not find_speakers(tmp_path, sources, level=0).names
    with pytest.raises(UsageError, match=r"no recording lies 3 folders deep"):
        find_speakers(tmp_path, sources, level=3)
    with pytest.raises(UsageError, match="not both"):
        find_speakers(tmp_path, sources, table=tmp_path / "who.csv", level=1)
    (tmp_path / "who.csv").write_text("file,speaker\nx,0\n")
    with pytest.raises(InputError, match="names none of the recordings"):
        find_speakers(tmp_path, sources, table=tmp_path / "who.csv")


def test_counts_guesses_and_lone_speakers_are_told(caplog):
    caplog.set_level("INFO")
    sources = ["s1/a.wav", "s1/b.wav", "c.wav", "train/s1/d.wav", "test/s1/e.wav", "test/s2/f.wav"]
    found = speakers_by_layout(sources)
    tell_splits(plan_clips(sources, 0, 0, speakers=found), found, PARTS)
    told = [record.getMessage() for record in caplog.records]
    assert "train: has 1 known speaker (s1)" in told
    assert "validation: no recording fell into this split" in told
    assert any(line.startswith("the speaker of 1 of 6 recordings is unknown") for line in told)
    assert any(line.startswith("speakers: the first folder that tells") for line in told)
    assert "in more than one split: 1 speaker, such as s1" in told
    assert told[-1] == (
        "splits: train 4 recordings of 1 speaker, validation 0 recordings of 0 speakers, "
        "test 2 recordings of 2 speakers"
    )


@pytest.fixture
def corpus(tmp_path):
    """Six recordings in `train/`, two in `dev/`."""
    for number in range(8):
        folder = "train" if number < 6 else "dev"
        noise = 0.1 * stream(0, str(number)).standard_normal(3200)
        write_audio(tmp_path / f"c/{folder}/{number}.flac", noise, RATE)
    return tmp_path / "c"


def test_rows_tell_no_speaker_where_none_is_known(corpus, tmp_path):
    out = tmp_path / "out"
    result = synthesize(plan_synthesis(corpus, out, "temporal-transforms"), Workers())
    assert result.splits == {"train": 6, "validation": 2, "test": 0}
    rows = [json.loads(line) for line in (out / "train/metadata.jsonl").read_text().splitlines()]
    assert not any("speaker" in row for row in rows)
    assert "but for the 8 pairs whose speaker is unknown" in (out / "README.md").read_text()
    assert json.loads((out / "dataset.json").read_text())["num_speakers"] == 0


def test_other_speakers_are_another_run(corpus, tmp_path):
    out = tmp_path / "out"
    synthesize(plan_synthesis(corpus, out, "temporal-transforms"), Workers())
    (tmp_path / "who.tsv").write_text("file\tspeaker\ntrain/0\tanna\n")
    plan = plan_synthesis(corpus, out, "temporal-transforms", speakers=tmp_path / "who.tsv")
    with pytest.raises(UsageError, match="made with sources_sha256"):
        synthesize(plan, Workers())


@pytest.mark.parametrize("option", ["pairs", "real_pairs", "validation_pairs"])
def test_a_dataset_without_the_split_that_is_wanted_is_refused(recipe, corpus, tmp_path, option):
    """`train --pairs` trained on validation or test where there was no training split."""
    for name in ("train", "dev"):
        part = tmp_path / f"of {name}"
        part.mkdir()
        (corpus / name).rename(part / name)
        synthesize(plan_synthesis(part, tmp_path / name, "temporal-transforms"), Workers())
    wrong = {option: tmp_path / ("train" if option == "validation_pairs" else "dev")}
    given = {"pairs": tmp_path / "train"} | wrong
    with pytest.raises(InputError, match=r"has no split (train|validation), only \w+; give"):
        train(recipe, tmp_path / "run", **given)


def test_speakers_are_of_air_recordings_alone(recipe, corpus, tmp_path):
    with pytest.raises(UsageError, match="speakers are told of air recordings alone"):
        train(recipe, tmp_path / "run", pairs=corpus, speaker_level=1)


def test_training_on_air_keeps_the_splits_of_its_folders(recipe, corpus, tmp_path, caplog):
    caplog.set_level("INFO")
    (corpus / "train").rename(corpus / "test")
    out = tmp_path / "run"
    with pytest.raises(UsageError, match="every speaker fell into validation or test"):
        train(recipe, out, air=corpus, sensor="temporal-transforms")
    assert "splits: train 0 recordings of 0 speakers, validation 2" in caplog.text
    assert "train: no recording fell into this split" in caplog.text


@pytest.mark.parametrize("layout", ["{role}/{split}/{name}", "{split}/{role}/{name}"])
def test_recordings_in_folders_of_splits_are_trained_on_by_split(recipe, tmp_path, caplog, layout):
    """`train --pairs` trained on all of them, test and validation included."""
    for split in ("dev", "test"):
        for role in ("air", "bone"):
            path = layout.format(role=role, split=split, name="u0.wav")
            noise = 0.1 * stream(0, split, role).standard_normal(3200)
            write_audio(tmp_path / "x" / path, noise, RATE)
    given = {"pairs": tmp_path / "x"}
    with pytest.raises(InputError, match="has no split train, only validation, test"):
        train(recipe, tmp_path / "run", **given)
    for role in ("air", "bone"):
        train_path = tmp_path / "x" / layout.format(role=role, split="train", name="u0.wav")
        write_audio(train_path, 0.1 * stream(0, role).standard_normal(3200), RATE)
    splits = open_pairs(tmp_path / "x", RATE, 0).by_split()
    assert {split: pairs.ids for split, pairs in splits.items()} == {
        "validation": ["dev/u0"], "test": ["test/u0"], "train": ["train/u0"]
    }  # fmt: skip
    assert len(splits["train"].whole(0).air) == 3200


@pytest.mark.parametrize("name", ["s\u00a01", "s\u00ad1", "s\u200b1", "a: b # 'c'", "-a", "a\\b"])
def test_a_speaker_is_called_as_the_folder_is(name):
    clips = plan_clips([f"{name}/a.wav", "other/b.wav"], 0.0, 0.0)
    assert {clip.speaker for clip in clips} == {name, "other"}


def test_two_speakers_whose_names_look_alike_when_they_are_shown_stay_two():
    clips = plan_clips(["s\u00a01/a.wav", "s%C2%A01/b.wav"], 0.0, 0.0)
    assert len({clip.speaker for clip in clips}) == 2
