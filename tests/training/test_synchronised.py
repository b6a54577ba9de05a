"""Recordings enter a training run as they enter a fit: without what their recorders did."""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch

from bcsim.datasets.dataset import PairFiles
from bcsim.datasets.importers import import_pairs
from bcsim.datasets.pairs import Pair, Pairs, RecordedPairs, open_pairs
from bcsim.datasets.recordings import find_pairs
from bcsim.errors import InputError
from bcsim.files.findings import collecting
from bcsim.fitting.alignment.align import Recorder
from bcsim.fitting.alignment.time_map import Part
from bcsim.training import kept_recorders, synchronised
from bcsim.training.polarity import polarity_beside
from bcsim.workflows import train as workflow

signal: Any = scipy.signal  # whose stubs take arrays for integers

RATE = 16_000
SETTINGS = ("data.batch_size=2", "data.real_fraction=0.5")
PAIRS = ("fine", "late", "inverted")
SECONDS = 2.5


def speech(seed: int, seconds: float) -> np.ndarray:
    """Return noise in syllables of random length, colour and loudness."""
    rng = np.random.default_rng([seed, 31])
    parts = [np.zeros(RATE // 10)]
    while sum(map(len, parts)) < seconds * RATE:
        size = round(rng.uniform(0.08, 0.3) * RATE)
        colour = signal.butter(1, [rng.uniform(100, 500), 2000], "band", fs=RATE)
        sound = signal.lfilter(*colour, rng.standard_normal(size)) * np.hanning(size)
        parts += [0.2 * rng.uniform(0.3, 1) * sound, np.zeros(round(rng.uniform(0.02, 0.2) * RATE))]
    air = np.concatenate(parts)[: round(seconds * RATE)]
    return air + 1e-5 * rng.standard_normal(len(air))


@pytest.fixture
def recordings(tmp_path) -> Path:
    """Pairs of which two have had things done to them by their recorders."""
    for seed, name in enumerate(PAIRS):
        air = speech(seed, SECONDS)
        bone = 0.6 * np.roll(signal.lfilter(*signal.butter(2, 900, fs=RATE), air), 7)
        noise = 1e-3 * np.random.default_rng(seed).standard_normal(8000)
        changed = {
            "fine": bone,
            "late": np.concatenate([noise, bone]),
            "inverted": -bone,
        }[name]
        for role, samples in (("air", air), ("bone", changed)):
            (tmp_path / "real" / role).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "real" / role / f"{name}.wav", samples, RATE)
    return tmp_path / "real"


def similarity(pair: Any) -> tuple[int, float]:
    """Return the lag of bone that makes it most similar to dull air, and how similar it is."""
    air = signal.lfilter(*signal.butter(2, 900, fs=RATE), pair.air.numpy())
    bone = pair.bone.numpy()
    lags = np.arange(-20, 21)
    inner = slice(20, len(air) - 20)
    scale = np.linalg.norm(air) * np.linalg.norm(bone)
    match = [air[inner] @ bone[20 + lag : len(bone) - 20 + lag] / scale for lag in lags]
    best = int(np.argmax(np.abs(match)))
    return int(lags[best]), float(match[best])


def test_recordings_reach_the_trainer_without_what_their_recorders_did(
    recordings, trained_on, caplog
):
    """Four pairs with noise before bone once gave a STOI of .17 for .55, and exit code 0."""
    data = trained_on(pairs=recordings, real_pairs=recordings, validation_pairs=recordings)
    for pairs in (data.training, data.real, data.validation_real):
        assert sorted(pairs.ids) == sorted(PAIRS)
        check_synchronised(pairs)
    assert "3 of 3 pairs that are validated with are trained on, too, such as fine" in caplog.text


def check_synchronised(pairs: Any) -> None:
    """Check that nothing is left but the sensor's own delay, in whole clips and in crops."""
    for index, name in enumerate(pairs.ids):
        whole = pairs.whole(index)
        lag, match = similarity(whole)
        assert match > 0.95, name
        assert 6 <= lag <= 8, name
        crop = pairs.crop(index, 0, RATE)
        start = pairs.crop_start(index, 0, len(whole.air), RATE)
        assert torch.equal(crop.bone, whole.bone[start : start + RATE])
        assert torch.equal(crop.air, whole.air[start : start + RATE])


@pytest.fixture
def trained_on(tmp_path, recipe, monkeypatch) -> Callable[..., Any]:
    """Return a function that returns the pairs that `train` would train on."""
    taken: dict[str, Any] = {}

    def train_model(_: Any, data: Any, out: Path, **functions: Any) -> None:
        taken.update(d=data)
        out.mkdir(exist_ok=True)
        functions["before_steps"]()

    monkeypatch.setattr(workflow, "train_model", train_model)
    monkeypatch.setattr(workflow, "_reported", lambda *_: None)

    def run(**inputs: Any) -> Any:
        workflow.train(recipe, tmp_path / "run", settings=SETTINGS, **inputs)
        return taken["d"]

    return run


def listed(folder: Path, *rows: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.fixture
def examined(monkeypatch) -> list[str]:
    """Names of the pairs that are synchronised."""
    found: list[str] = []

    def examine(recorded: Any) -> Any:
        found.extend(pair.id for pair in recorded.pairs if not pair.is_rendered)
        neutral = {pair.id: synchronised.AS_RECORDED for pair in recorded.pairs}
        return kept_recorders.Synchronisation(neutral), {}

    monkeypatch.setattr(synchronised, "_examined", examine)
    return found


def test_an_imported_dataset_is_synchronised_like_the_recordings_it_was(
    recordings, trained_on, examined, tmp_path
):
    """Given as `--pairs` it was trained on as it was, half a second late, with exit code 0."""
    splits = {"fine": "train", "late": "train", "inverted": "dev"}
    files = {name: {role: f"{role}/{name}.wav" for role in ("air", "bone")} for name in PAIRS}
    listed(recordings, *({"id": n, "split": splits[n], **files[n]} for n in PAIRS))
    import_pairs(recordings, tmp_path / "imported")
    data = trained_on(pairs=tmp_path / "imported")
    assert isinstance(data.training, synchronised.SynchronisedPairs)
    assert isinstance(data.validation, synchronised.SynchronisedPairs)
    assert examined == ["fine", "late", "inverted"]


def test_what_was_rendered_keeps_its_delay_beside_recordings(
    recordings, trained_on, examined, tmp_path
):
    """A row with draws was rendered: what is late there was meant to be."""
    (tmp_path / "own").mkdir()
    recordings.rename(tmp_path / "own/train")
    rows = [
        {"id": name, **{f"{role}_file_name": f"{role}/{name}.wav" for role in ("air", "bone")}}
        for name in ("fine", "late")
    ]
    drawn = {"drawn": {"delay": {"delay_s": 0.5}}, "sensor": "recorded"}
    listed(tmp_path / "own/train", rows[0], rows[1] | drawn)
    assert sorted(trained_on(pairs=tmp_path / "own").training.ids) == ["fine", "late"]
    assert examined == ["fine"]


@pytest.mark.parametrize("way", ["folders", "dataset"])
def test_the_same_recordings_in_train_and_in_validation_are_refused(
    recordings, trained_on, tmp_path, way
):
    """Under another name they were learned from, and then decided which weights were best."""
    for split, names in (("train", ("fine", "late")), ("dev", ("inverted", "again"))):
        for role in ("air", "bone"):
            place = tmp_path / "x" / (f"{role}/{split}" if way == "folders" else f"{split}/{role}")
            place.mkdir(parents=True)
            for name in names:
                source = "fine" if name == "again" else name
                shutil.copy(recordings / role / f"{source}.wav", place / f"{name}.wav")
    if way == "dataset":
        (tmp_path / "x/dev").rename(tmp_path / "x/validation")
        for split, names in (("train", ("fine", "late")), ("validation", ("inverted", "again"))):
            rows = [{f"{r}_file_name": f"{r}/{n}.wav" for r in ("air", "bone")} for n in names]
            listed(tmp_path / "x" / split, *rows)
    with pytest.raises(InputError, match=r"again.*is in train and in validation: its recordings"):
        trained_on(pairs=tmp_path / "x")


def test_a_table_tells_which_talkers_are_in_two_splits(
    recordings, trained_on, examined, tmp_path, caplog
):
    """`train` had no --talkers, and did not say that validation had a talker of training."""
    splits = zip(PAIRS, ("train", "train", "dev"), strict=True)
    rows = [f"air/{name}.wav,bone/{name}.wav,{split}" for name, split in splits]
    (recordings / "list.csv").write_text("\n".join(["air,bone,split", *rows]))
    (tmp_path / "who.csv").write_text("file,talker\nfine,ann\nlate,ben\ninverted,ann\n")
    caplog.set_level(logging.INFO)
    trained_on(pairs=recordings / "list.csv", talkers=tmp_path / "who.csv")
    assert "known talkers: 2 in train, 1 in validation" in caplog.text
    assert "1 talkers are in train and in validation, such as ann" in caplog.text


def test_what_is_synchronised_is_opened_once_and_parts_of_it_stay_in_step(recordings, monkeypatch):
    """All headers were read again, and the files' earlier states put back by hand."""
    files = [
        PairFiles(pair.id, pair.files, is_rendered=True)  # which takes no time to synchronise
        for pair in find_pairs(recordings, recordings)[0]
    ]
    recorded = RecordedPairs(files, RATE, seed=0)
    monkeypatch.setattr("bcsim.datasets.pairs.open_audio", None)
    pairs = synchronised.SynchronisedPairs(recorded)
    assert pairs.states == recorded.states
    pairs._recorders[2] = replace(pairs._recorders[2], sign=-1)
    part = pairs.part([2, 0])
    assert part.ids == [pairs.ids[2], pairs.ids[0]]
    assert [recorder.sign for recorder in part._recorders] == [-1, 1]


@pytest.fixture
def moved(monkeypatch) -> list[str]:
    """Names of the pairs that are examined, each of which is found late and of its name's sign."""
    names: list[str] = []

    def examine(pair: Any, _: int) -> Any:
        names.append(pair.name)
        return SimpleNamespace(refusal=None, timing=pair.name)

    def recorders_of(pairs: Any, _: int, timings: Any) -> Any:
        places = np.array([0.0, 1.0])
        parts = (Part(100, 20_000, places, places + 50.25),)
        return [Recorder(parts, -1 if name == "inverted" else 1) for name in timings], 1

    monkeypatch.setattr(synchronised, "examine", examine)
    monkeypatch.setattr(synchronised, "recorders_of", recorders_of)
    return names


def test_a_second_start_synchronises_nothing_unless_a_recording_has_changed(
    recordings, trained_on, moved
):
    """Half a second of processor a pair, at every start of a run and at each that resumed it."""
    nan = np.full(RATE, np.nan, dtype=np.float32)
    for role in ("air", "bone"):
        loud = recordings / role / "fine.wav"
        soundfile.write(loud, soundfile.read(loud)[0] + 0.2, RATE)  # DC, which is said
        soundfile.write(recordings / role / "nan.wav", nan, RATE, "FLOAT")
    starts, noticed = [], []
    for _ in range(2):
        with collecting() as found:
            starts.append(trained_on(pairs=recordings))
        noticed.append(found.lines())
    assert sorted(moved) == sorted(PAIRS)
    assert noticed[0] == noticed[1]
    assert "DC offset" in noticed[1][0]
    first, second = (data.training for data in starts)
    assert first.failures == second.failures
    assert [*second.failures] == ["nan"]
    for index in range(len(PAIRS)):
        assert first.whole(index).bone.equal(second.whole(index).bone)
    (recordings / "bone/late.wav").write_bytes((recordings / "bone/fine.wav").read_bytes())
    trained_on(pairs=recordings)
    assert len(moved) == 2 * len(PAIRS)


def test_a_validation_split_that_is_inverted_as_a_whole_is_turned_round(
    recordings, trained_on, moved, monkeypatch, caplog
):
    """Its pairs agreed with each other, so it was validated with the other polarity."""
    monkeypatch.setattr(synchronised, "polarity_beside", lambda *_: -1)
    for _ in range(2):  # the second start reads what the first one found
        data = trained_on(pairs=recordings, validation_pairs=recordings, real_pairs=recordings)
        turned = [data.training.whole(index).bone for index in range(len(PAIRS))]
        for pairs in (data.validation_real, data.real):
            found = [pairs.whole(index).bone for index in range(len(PAIRS))]
            assert all(own.equal(-other) for own, other in zip(found, turned, strict=True))
    assert "of 3 recorded pairs, such as fine, is opposite" in caplog.text


class SomePairs(Pairs):
    """Pairs in memory, through a low-pass and a sign."""

    def __init__(self, seeds: range, sign: int) -> None:
        super().__init__([str(seed) for seed in seeds], RATE, 0)
        self.seeds, self.sign = seeds, sign

    def crop(self, index: int, epoch: int, num_samples: int) -> Pair:
        raise AssertionError("whole pairs are compared")

    def whole(self, index: int) -> Pair:
        air = speech(self.seeds[index], 1.5)
        bone = self.sign * signal.lfilter(*signal.butter(2, 900, fs=RATE), air)
        return Pair(self.ids[index], torch.from_numpy(air), torch.from_numpy(bone), RATE)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_polarity_of_one_set_is_told_beside_another(sign):
    trained, own = SomePairs(range(6), sign), SomePairs(range(6, 8), 1)
    assert polarity_beside(own, trained) == sign
    assert polarity_beside(own, SomePairs(range(5), sign)) == 0  # too few to tell


@pytest.mark.parametrize(
    "line",
    [
        "nothing of the kind",
        '{"set": "x", "pair": "fine", "sign": 2, "parts": []}',
        '{"set": "x", "pair": "fine", "sign": 1, "parts": [[0, 9, [0], [1]]]}',
        '{"set": "x", "pair": "fine", "sign": 1, "parts": [[0, 9, [2, 1], [1, 2]]]}',
        '{"set": "x", "pair": 7, "refused": "so"}',
        '{"set": ["x"], "pair": "fine", "refused": "so"}',
        "[1, 2]",
    ],
)
def test_what_was_kept_of_the_recorders_counts_only_as_it_was_written(tmp_path, caplog, line):
    (tmp_path / kept_recorders.SYNCHRONISED_FILE).write_text(f"{line}\n")
    assert kept_recorders.read_kept(tmp_path) == {}
    assert "the recordings are synchronised anew" in caplog.text


@pytest.mark.shared
def test_a_last_batch_of_one_pair_has_the_polarity_of_those_before(shared, tmp_path, monkeypatch):
    """By itself, the third of these looks like a sensor of the other polarity."""
    monkeypatch.setattr(synchronised, "BATCH_S", 8.0)  # two of them
    for role in ("air", "bone"):
        (tmp_path / role).mkdir()
        for name in ("a_00", "a_01", "a_18"):
            source = shared / "data/vibravox_throat" / role / f"{name}.wav"
            (tmp_path / role / source.name).symlink_to(source)
    recorded = open_pairs(tmp_path, RATE, seed=0)
    turned = synchronised.SynchronisedPairs(recorded)
    for index in range(3):
        was, now = (pairs.whole(index).bone for pairs in (recorded, turned))
        assert float(was[: len(now)] @ now[: len(was)]) > 0, recorded.ids[index]
