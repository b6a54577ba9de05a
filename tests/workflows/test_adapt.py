"""From minutes of pairs to an enhancer: nothing held out is trained on, and a verdict says so."""

import importlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from scipy import signal

from bcsim.datasets.dataset import PairFiles
from bcsim.errors import InputError, UsageError
from bcsim.models.storage import build_enhancer, load_enhancer, save_enhancer
from bcsim.reports.html import is_page
from bcsim.rng import stream
from bcsim.training.networks import Networks, build_model
from bcsim.workflows import adapt_stages
from bcsim.workflows.adapt import adapt, bundled_start
from bcsim.workflows.adapt_stages import Fold, Material, Schedule, arguments_of, schedule_within
from bcsim.workflows.enhancers import bundled_enhancers
from bcsim.workflows.train import load_recipe

main = importlib.import_module("bcsim_cli.main")
RATE = 16_000
MAPPER = {"name": "envelope_mapper", "width": 2, "input_bands": 4, "output_bands": 4}
STEPS = Schedule(simulation=2, real=2, both=2, real_fraction=0.5)
TALKERS = ("ann", "bob")


def syllables(*names):
    time_s = np.arange(RATE) / RATE
    noise = 0.1 * stream(0, "adapt", *names).standard_normal(RATE)
    return noise * np.clip(np.sin(2 * np.pi * 3 * time_s), 0.001, None)


def write(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE)


@pytest.fixture
def place(tmp_path, recipe, trainings_here):
    """Return a folder with two pairs of two talkers, air of five others, and a tiny recipe."""
    sections = signal.butter(2, 900, fs=RATE, output="sos")
    for talker in TALKERS:
        air = syllables(talker)
        write(tmp_path / f"air/{talker}/0.wav", air)
        write(tmp_path / f"bone/{talker}/0.wav", np.asarray(signal.sosfilt(sections, air)))
    for talker in "cdefg":
        write(tmp_path / f"corpus/{talker}/0.wav", syllables(talker))
    content = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    content["data"]["batch_size"] = 2
    (tmp_path / "mapper.yaml").write_text(yaml.safe_dump({**content, "model": MAPPER}))
    return tmp_path


def adapted(place, out="out", **options):
    options = {"recipe": str(place / "mapper.yaml"), "schedule": STEPS, **options}
    return adapt(place / "air", place / "bone", place / out, **options)


def ids_in(path):
    return {json.loads(line)["id"] for line in path.read_text().splitlines()}


def test_no_part_has_seen_the_talker_that_it_is_scored_on(place, sensor_file, trainings_here, tree):
    given = {"air_corpus": place / "corpus", "sensor": sensor_file}
    facts = adapted(place, **given).facts
    parts = ["unprocessed", "inverse", "simulation", "real", "both"]
    assert [row["name"] for row in facts["rows"]] == [*parts, "clean"]
    assert facts["held_out_by"] == "talker"
    everybody = ids_in(place / "out/final/pairs.jsonl")
    assert everybody == {f"pairs/{talker}/0" for talker in TALKERS}
    for number, talker in enumerate(TALKERS, start=1):
        fold = place / f"out/folds/{number}"
        held_out = ids_in(fold / "held_out.jsonl")
        assert held_out == {f"pairs/{talker}/0"}
        assert ids_in(fold / "pairs.jsonl") == everybody - held_out
        for part, pairs in (("real", "training"), ("both", "real")):
            facts_of_run = json.loads((fold / part / "config.json").read_text())["facts"]
            assert facts_of_run["num_items"][pairs] == 1
            found = (fold / part / "synchronised.jsonl").read_text()
            assert not any(name in found for name in held_out)
        assert not (fold / "simulation/synchronised.jsonl").exists()
    for row in facts["rows"][1:-1]:
        assert sorted(row["recordings"]) == [f"{talker}/0" for talker in TALKERS]
        stoi = [scores["stoi"] for scores in row["recordings"].values()]
        assert row["scores"]["stoi"] == pytest.approx(np.mean(stoi), abs=1e-5)
    over = facts["differences"]["simulation"]["stoi"]
    both, simulation = facts["rows"][4]["scores"]["stoi"], facts["rows"][2]["scores"]["stoi"]
    assert over["mean"] == pytest.approx(both - simulation, abs=1e-5)
    assert load_enhancer(place / "out").config["gain_scale"] == facts["share_kept"]
    assert facts["verdict"]["headline"] in (place / "out/README.md").read_text()
    assert is_page(place / "out/report.html")
    # What was finished is not done again; what was stopped gives the same bytes.
    kept = ("result.json", "model.safetensors", "config.json", "README.md", "report.html")
    before = {name: digest for name, digest in tree(place / "out").items() if name in kept}
    count = len(trainings_here)
    assert count == 2 * 3 + 2
    for path in (place / "out/folds/2/both").iterdir():
        if path.is_file():
            path.unlink()
    (place / "out/result.json").unlink()
    adapted(place, **given)
    assert trainings_here[count:] == ["folds/2/both"]
    after = tree(place / "out")
    assert {name: after[name] for name in kept} == before
    with pytest.raises(UsageError, match=r"made with recipe\.seed 0, now 5"):
        adapted(place, **given, settings=("seed=5",))


MARKS = [
    *("[]", "{}", "\xff", "[" * 100_000),
    *('{"settings": {}, "steps": "x"}', '{"settings": {}, "steps": {}}'),
]


@pytest.mark.parametrize("mark", MARKS)
def test_a_folder_whose_settings_were_changed_is_refused_in_one_line(place, sensor_file, mark):
    """Each was an internal error, such as `KeyError: 'settings'`."""
    (place / "out").mkdir()
    (place / "out/adapt.json").write_text(mark, "latin-1")
    with pytest.raises(UsageError, match=r"adapt\.json: is not what adapt wrote there"):
        adapted(place, sensor=sensor_file)


@pytest.mark.parametrize("config", [b"{}", b"\xff", b'{"facts": []}'])
def test_a_training_whose_config_was_damaged_is_no_finished_one(tmp_path, config):
    (tmp_path / "config.json").write_bytes(config)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert not adapt_stages._is_trained(tmp_path, 2)


def test_a_sensor_as_good_as_the_microphone_leaves_nothing_to_gain(
    place, sensor_file, monkeypatch, capsys
):
    """The light is grey, the exit code 0, and there is a model all the same."""
    for talker in TALKERS:
        air, _ = soundfile.read(place / f"air/{talker}/0.wav")
        write(place / f"bone/{talker}/0.wav", 0.5 * air + 0.2 * np.roll(air, 1))
    workflow = importlib.import_module("bcsim.workflows.adapt")
    monkeypatch.setattr(workflow, "Schedule", lambda: STEPS)
    monkeypatch.setattr(adapt_stages, "WARM_UP_STEPS", 2)
    options = {
        **{"--air": place / "air", "--bone": place / "bone", "--out": place / "out"},
        **{"--recipe": place / "mapper.yaml", "--sensor": sensor_file, "--budget": "1h"},
    }
    words = [f"{name}={value}" for name, value in options.items()]
    monkeypatch.setattr("sys.argv", ["bcsim", "adapt", *words, "--causal"])
    assert main.run() == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Too few recordings to tell better from worse: STOI ")
    assert "What is kept gives the signal back as it is." in said[0]
    assert any("nearly clean speech as it is" in line for line in said)
    assert any("give a folder of air speech" in line for line in said)
    facts = json.loads((place / "out/result.json").read_text())
    assert facts["verdict"]["light"] == "grey"
    assert [row["name"] for row in facts["rows"]] == ["unprocessed", "inverse", "real", "clean"]
    assert facts["share_kept"] == 0
    kept = load_enhancer(place / "out")
    assert kept.causal
    bone = torch.from_numpy(syllables("ann")).float()[None, None]
    torch.testing.assert_close(kept(bone), bone, rtol=0, atol=1e-6)
    # An hour is enough for all of the steps, which a few were timed for.
    assert json.loads((place / "out/adapt.json").read_text())["steps"] == asdict(STEPS)
    assert not (place / "out/warm-up").exists()


def test_a_time_that_is_short_allows_a_part_of_the_steps_by_those_that_were_timed(
    tmp_path, monkeypatch
):
    def run_trainings(trainings, jobs, description):
        assert len(trainings) == jobs == 2
        for training in trainings:
            run = next(Path(word[6:]) for word in training.arguments if word.startswith("--out="))
            run.mkdir(parents=True)
            (run / "pace.jsonl").write_text('{"step": 12, "speed/steps_per_s": 1.5}\n')
        return {}

    monkeypatch.setattr(adapt_stages, "run_trainings", run_trainings)
    pairs = [PairFiles(name, {"air": tmp_path, "bone": tmp_path}) for name in "ab"]
    final = Fold("final", tmp_path / "final", pairs)
    material = Material("tiny", corpus=tmp_path, sensor=tmp_path / "x.sensor")
    wanted = Schedule(simulation=400, real=240, both=200)
    # 3 steps a second; 4 x 400 + 3 x 240 + 4 x 200 = 3120 steps, of which half take 520 s.
    steps = schedule_within(520.0, wanted, 3, final, material, jobs=2)
    assert (steps.simulation, steps.real, steps.both) == (200, 120, 100)
    steps = schedule_within(1.0, wanted, 3, final, material, jobs=2)
    assert (steps.simulation, steps.real, steps.both) == (10, 10, 10)
    assert schedule_within(1e5, wanted, 3, final, material, jobs=2) == wanted


def test_a_model_to_begin_with_is_scored_as_it_is_and_after_the_pairs(tmp_path):
    pairs = [PairFiles(name, {"air": tmp_path, "bone": tmp_path}) for name in "ab"]
    fold = Fold("folds/1", tmp_path / "folds/1", pairs[:1], pairs[1:])
    material = Material("tiny", init_from=tmp_path / "start")
    assert fold.networks(material) == {
        "start": tmp_path / "start",
        "real": tmp_path / "folds/1/real",
        "both": tmp_path / "folds/1/both",
    }
    both = arguments_of(fold, "both", material, STEPS)
    assert f"--init-from={tmp_path}/start" in both
    assert f"--pairs={fold.list}" in both
    real = arguments_of(fold, "real", material, STEPS)
    assert not any(word.startswith("--init-from") for word in real)
    assert arguments_of(fold, "both", Material("tiny", corpus=tmp_path), STEPS)[4:8] == [
        f"--air={tmp_path}",
        f"--sensor={tmp_path}/folds/1/sensor/adapted.sensor",
        f"--real-pairs={fold.list}",
        f"--init-from={tmp_path}/folds/1/simulation",
    ]


def test_without_air_speech_the_bundled_model_of_the_recipe_is_begun_with():
    """What is done to the outputs outside training is no part of the weights."""
    config = load_recipe("envelope_mapper-small", ())
    (throat,) = (folder for name, folder in bundled_enhancers().items() if name == "throat")
    assert bundled_start(build_model(config)) == throat
    Networks(config, build_model(config), None, None).begin_from(throat)
    narrow = load_recipe("envelope_mapper-small", ("model.width=64",))
    assert bundled_start(build_model(narrow)) is None


def test_one_pair_is_refused(place):
    for role in ("air", "bone"):
        (place / f"{role}/bob/0.wav").unlink()
    with pytest.raises(InputError, match="one pair is too little"):
        adapted(place)
    assert not (place / "out").exists()


def test_a_folder_of_something_else_is_refused(place):
    (place / "out").mkdir()
    (place / "out/mine.txt").touch()
    with pytest.raises(UsageError, match="holds what this command did not write"):
        adapted(place)


def test_weights_that_no_training_could_begin_from_are_refused_before_any_work(place):
    """They were told of by the trainings, after all fits."""
    save_enhancer(place / "start", build_enhancer({**MAPPER, "width": 4}, seed=0), {})
    with pytest.raises(UsageError, match="a network with width 4, the recipe's has 2"):
        adapted(place, init_from=place / "start")
    (place / "start/model.safetensors").write_bytes(b"{}")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        adapted(place, init_from=place / "start")
    assert not (place / "out").exists()


def test_a_network_of_two_channels_is_refused(place):
    with pytest.raises(UsageError, match="takes the air microphone, too"):
        adapted(place, recipe="gated_fusion-small")
