"""Recipes compared: trained alike, scored on the same recordings, told with what they cost."""

import csv
import importlib
import json
import logging
import re
import shutil

import numpy as np
import pytest
import soundfile
import yaml
from scipy import signal

from bcsim.errors import InputError, UsageError
from bcsim.reports.html import is_page
from bcsim.rng import stream
from bcsim.training.trainer import Trainer
from bcsim.workflows.compare import Material, add_left_out, compare
from bcsim.workflows.compared_scores import ScoredRecordings

main = importlib.import_module("bcsim_cli.main")
RATE = 16_000
MAPPER = {"name": "envelope_mapper", "width": 2, "input_bands": 4, "output_bands": 4}
TWO_CHANNELS = {"name": "seanet", "width": 2, "latent": 2, "channels": ["bone", "air"]}


def write_pairs(folder, seeds):
    """Write pairs: noise in syllables, and the same through a low-pass."""
    sections = signal.butter(2, 900, fs=RATE, output="sos")
    for seed in seeds:
        time_s = np.arange(RATE) / RATE
        air = 0.1 * stream(seed, "compare").standard_normal(RATE)
        air *= np.clip(np.sin(2 * np.pi * 3 * time_s), 0.001, None)
        bone = np.asarray(signal.sosfilt(sections, air))
        for role, samples in (("air", air), ("bone", bone)):
            (folder / role).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / role / f"p{seed}.wav", samples, RATE)
    return folder


@pytest.fixture
def place(tmp_path, recipe, trainings_here):
    """Return a folder with pairs to train on, others to score on, and two tiny recipes."""
    write_pairs(tmp_path / "pairs", (1, 2))
    write_pairs(tmp_path / "real", (3, 4))
    content = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    for name, model in (("mapper", MAPPER), ("fused", TWO_CHANNELS)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**content, "model": model}))
    return tmp_path


def compared(place, *recipes, **options):
    options = {"num_steps": 1, **options}
    material = Material(pairs=place / "pairs")
    return compare(
        [str(place / recipe) for recipe in recipes],
        *(place / "out", material, place / "real"),
        **options,
    )


def rows_of(place):
    rows = json.loads((place / "out/results.json").read_text())["rows"]
    return {row["name"]: row for row in rows}


def test_all_are_scored_on_the_same_recordings_beside_the_input_and_the_target(place):
    result = compared(place, "tiny.yaml", "mapper.yaml")
    assert not result.failures
    rows = rows_of(place)
    assert [*rows][:2] == ["unprocessed", "clean"]
    assert rows["clean"]["scores"]["stoi"] == pytest.approx(1)
    for name in ("tiny", "mapper"):
        row = rows[name]
        assert [*row["recordings"]] == result.facts["recordings"] == ["p3", "p4"]
        for metric in ("stoi", "lsd"):
            values = [scores[metric] for scores in row["recordings"].values()]
            assert row["scores"][metric] == pytest.approx(np.mean(values), abs=1e-5)
            low, high = row["intervals"][metric]
            assert low <= row["scores"][metric] <= high
            gain = row["scores"][metric] - rows["unprocessed"]["scores"][metric]
            assert row["gains"][metric] == pytest.approx(gain, abs=1e-5)
        assert row["multiply_adds_per_s"] > 0
        assert row["real_time_factor"] > 0
        assert row["num_steps"] == 1
    assert rows["mapper"]["look_ahead_ms"] is None
    assert rows["tiny"]["channels"] == ["bone"]
    table = [*csv.DictReader((place / "out/results.csv").read_text().splitlines())]
    assert [line["name"] for line in table] == [*rows]
    assert float(table[2]["stoi_gain"]) == rows[table[2]["name"]]["gains"]["stoi"]
    page = (place / "out/report.html").read_text()
    assert is_page(place / "out/report.html")
    assert page.count("<audio") == 2 * (2 + 2)  # recordings, models with input and target
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert sorted(path.name for path in (place / "out/runs").iterdir()) == ["mapper", "tiny"]


def test_the_weights_are_the_last_ones_whatever_the_recordings_say(place):
    """Weights that are chosen by the recordings that score them look better than they are."""
    compared(place, "tiny.yaml", num_steps=2, settings=("validation.interval_steps=1",))
    facts = json.loads((place / "out/runs/tiny/config.json").read_text())["facts"]
    assert (facts["step"], facts["steps_total"]) == (2, 2)
    assert facts["scores"] == {}


def test_every_recipe_gets_the_same_time(place, monkeypatch):
    clock = importlib.import_module("bcsim.training.clock")
    now, take_step = [0.0], Trainer.take_step

    def slow_step(self, batch):
        take_step(self, batch)
        now[0] += 2.0 if "width" in self.config.model and "latent" in self.config.model else 1.0

    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Trainer, "take_step", slow_step)
    compared(place, "tiny.yaml", "mapper.yaml", num_steps=None, budget_s=4.0)
    rows = rows_of(place)
    assert (rows["tiny"]["num_steps"], rows["mapper"]["num_steps"]) == (2, 4)
    resolved = yaml.safe_load((place / "out/runs/mapper/recipe.resolved.yaml").read_text())
    assert resolved["training"]["time_limit_s"] == 4.0


def test_the_same_command_goes_on_and_another_recipe_joins(place, trainings_here, tree):
    compared(place, "tiny.yaml")
    weights = tree(place / "out/runs/tiny/checkpoints")
    scores = rows_of(place)["tiny"]["recordings"]
    compared(place, "tiny.yaml", "mapper.yaml")
    assert trainings_here == ["tiny", "tiny", "mapper"]
    assert tree(place / "out/runs/tiny/checkpoints") == weights
    assert rows_of(place)["tiny"]["recordings"] == scores
    with pytest.raises(InputError, match=r"none of 1 recipes .* seed 0, now 5"):
        compared(place, "tiny.yaml", settings=("seed=5",))
    assert tree(place / "out/runs/tiny/checkpoints") == weights


def test_a_recipe_that_fails_costs_itself(place, monkeypatch, capsys):
    (place / "worse.yaml").write_text((place / "tiny.yaml").read_text() + "optimiser: {}\n")
    words = [*(str(place / f"{name}.yaml") for name in ("tiny", "worse", "fused")), "eben-smal"]
    options = f"--pairs {place}/pairs --validation-pairs {place}/real --out {place}/out --steps 1"
    monkeypatch.setattr("sys.argv", ["bcsim", "compare", *words, *options.split()])
    assert main.run() == 3
    said = capsys.readouterr()
    rows = rows_of(place)
    assert "unknown key 'optimiser'; did you mean 'optimizer'?" in rows["worse"]["failure"]
    assert "did you mean 'eben-small'?" in rows["eben-smal"]["failure"]
    assert "2 recordings have no noisy_air" in rows["fused"]["failure"]
    assert "gains" in rows["tiny"]
    lines = (place / "out/failures.jsonl").read_text().splitlines()
    assert {json.loads(line)["source"] for line in lines} == {"worse", "eben-smal", "fused"}
    assert all(name in (place / "out/report.html").read_text() for name in ("worse", "fused"))
    assert "failed: worse: " in said.out
    assert max(map(len, said.out.splitlines()[:-1])) <= 100


def test_a_comparison_of_which_no_recipe_is_left_has_failed(place):
    with pytest.raises(UsageError, match="no such recipe"):
        compared(place, "eben-smal")
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("recipes", "options", "message"),
    [
        (["tiny.yaml", "other/tiny.yaml"], {}, "two recipes are called tiny"),
        (["tiny.yaml"], {"budget_s": 1.0}, "either a time or a number of steps"),
        (["tiny.yaml"], {"settings": ("direction=air-to-bone",)}, "simulator of the sensor"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_before_any_work(place, recipes, options, message):
    with pytest.raises(UsageError, match=message):
        compared(place, *recipes, **options)
    assert not (place / "out").exists()


@pytest.mark.parametrize("given", [{}, {"pairs": "p", "air": "a"}, {"air": "a"}, {"sensor": "x"}])
def test_either_pairs_or_air_with_a_sensor_is_trained_on(given):
    with pytest.raises(UsageError, match="give"):
        Material(**given)


def test_the_inverse_of_the_sensors_response_is_scored_beside_the_networks(tmp_path, sensor_file):
    write_pairs(tmp_path, (3,))
    baseline = Material(air=tmp_path, sensor=sensor_file).baseline()
    scored_on = ScoredRecordings(tmp_path, baseline)
    scored_on.prepare(RATE)
    rows = {row["name"]: row["scores"] for row in scored_on.references()}
    assert [*rows] == ["unprocessed", "inverse response", "clean"]
    assert rows["inverse response"]["lsd"] < rows["unprocessed"]["lsd"]
    assert Material(air=tmp_path, sensor="temporal-transforms").baseline() is None
    assert Material(pairs=tmp_path).baseline() is None


def test_recordings_that_are_trained_on_and_score_are_told(place, caplog):
    shutil.copy(place / "real/air/p3.wav", place / "pairs/air/p1.wav")
    with caplog.at_level(logging.WARNING):
        compared(place, "tiny.yaml")
    assert "1 of 4 files that score the models are trained on, too" in caplog.text


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5min", 90), ("2h", 7200)]
)
def test_a_budget_has_a_unit(text, seconds):
    cli = importlib.import_module("bcsim_cli.compare")
    assert cli.Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["0s", "-5min", "5 years", "nan", "1e3", "", "٣s"])
def test_what_is_no_length_of_time_is_refused(text, tmp_path, monkeypatch, capsys):
    out = f"--validation-pairs {tmp_path} --out {tmp_path}/out --pairs {tmp_path}"
    monkeypatch.setattr("sys.argv", ["bcsim", "compare", "eben", *out.split(), f"--budget={text}"])
    assert main.run() == 2
    assert "is no length of time such as 90s" in capsys.readouterr().err


def test_lines_of_others_in_a_list_of_failures_are_passed_over(tmp_path):
    lines = [b'{"source": "a.wav", "error": "bad"}', b"[]", b"{}", b"\xff", b"no JSON"]
    (tmp_path / "failures.jsonl").write_bytes(b"\n".join(lines))
    failures = {"b.wav": "worse"}
    add_left_out(failures, tmp_path / "failures.jsonl")
    assert failures == {"b.wav": "worse", "a.wav": "bad"}
