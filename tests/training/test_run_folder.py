"""What a run writes for people: numbers, sounds and a card."""

import hashlib
import json

import pytest
import soundfile
import torch

from bcsim.datasets.pairs import Pair
from bcsim.training.card import write_card
from bcsim.training.metrics_log import MetricsLog
from bcsim.training.run_folder import check_run_folder, write_samples
from bcsim.training.validation import REAL

CONFIG = {
    "model": {"name": "eben"},
    "bcsim_version": "0.1.0",
    "direction": "bone-to-air",
    "channels": ["bone"],
    "sample_rate": 16_000,
    "num_parameters": 1234,
    "latency_samples": 160,
    "facts": {
        "step": 20,
        "steps_total": 40,
        "batch_size": 4,
        "crop_s": 1.0,
        "losses": ["l1"],
        "discriminator": "melgan",
        "seed": 0,
        "num_items": {"training": 10},
        "num_scored": {"validation": 8, "validation_real": 5},
        "scores": {
            "validation": {
                "enhanced": {"stoi": 0.8, "si_sdr": None},
                "unprocessed": {"stoi": 0.7, "si_sdr": -1.0},
                "clean": {"stoi": 1.0, "si_sdr": None},
            },
            "validation_real": {
                "enhanced": {"stoi": 0.75},
                "unprocessed": {"stoi": 0.65},
                "clean": {"stoi": 1.0},
            },
        },
    },
}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_depends_on_the_hour_is_kept_apart_and_both_are_cut_where_a_run_is_resumed(tmp_path):
    log = MetricsLog(tmp_path, 0)
    for step in (1, 2, 3):
        log.write(step, {"train/loss": 1.0 if step < 3 else float("nan")})
        log.write_speed(step, {"speed/steps_per_s": 2.0})
    log.sync()
    log.close()
    assert lines(tmp_path / "metrics.jsonl")[2] == {"step": 3, "train/loss": None}
    assert lines(tmp_path / "pace.jsonl")[0] == {"step": 1, "speed/steps_per_s": 2.0}
    with (tmp_path / "pace.jsonl").open("a") as file:
        file.write('{"step": 4, "spee')  # a kill
    MetricsLog(tmp_path, 2).close()
    for name in ("metrics.jsonl", "pace.jsonl"):
        assert [line["step"] for line in lines(tmp_path / name)] == [1, 2]


@pytest.mark.parametrize(
    "line", ["5", "{}", "[1]", '{"step":"x"}', '{"step":true}', "[" * 5000, "\xff", "null"]
)
def test_lines_that_are_none_of_ours_are_dropped(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(f'{line}\n{{"step": 1}}\n{line}\n')
    log = MetricsLog(tmp_path, 2)
    log.write(2, {})
    log.close()
    content = (tmp_path / "metrics.jsonl").read_bytes()
    assert content == b'{"step": 1}\n{"step": 2}\n'
    assert log.sha256 == hashlib.sha256(content).hexdigest()


def test_samples_of_real_pairs_lie_beside_those_of_synthetic_ones(tmp_path):
    pair = Pair("anna/1", torch.full((800,), 0.5), torch.full((800,), 0.25), 16_000)
    for step in (10, 20):
        write_samples(tmp_path, 0, pair, torch.full((800,), step / 100), step=step)
        write_samples(tmp_path, 0, pair, torch.full((800,), step / 50), step=step, split=REAL)
    found = {path.name: soundfile.read(path)[0][0] for path in (tmp_path / "samples").iterdir()}
    ends = ("air", "bone", "enhanced.step_00000010", "enhanced.step_00000020")
    levels = ((0.5, 0.25, 0.1, 0.2), (0.5, 0.25, 0.2, 0.4))
    names = ("00_anna_1", "validation_real_00_anna_1")
    assert found == {
        f"{name}.{end}.flac": pytest.approx(level, abs=1e-4)
        for name, values in zip(names, levels, strict=True)
        for end, level in zip(ends, values, strict=True)
    }


def test_the_card_gives_floor_and_ceiling_for_both_sets_of_pairs(tmp_path):
    write_card(tmp_path, CONFIG)
    card = (tmp_path / "README.md").read_text()
    synthetic, real = card.split("Means over ")[1:]
    assert synthetic.startswith("8 fixed validation items")
    assert "| stoi | 0.700 | 0.800 | 1.000 |" in synthetic
    assert "| si_sdr | -1.000 |  |  |" in synthetic
    assert real.startswith("5 fixed real validation items")
    assert "| stoi | 0.650 | 0.750 | 1.000 |" in real
    assert "against the discriminator melgan" in card
    assert "bcsim enhance" in card


def test_the_card_of_a_simulator_does_not_say_that_it_enhances(tmp_path):
    facts = {**CONFIG["facts"], "scores": {}, "discriminator": None}
    write_card(tmp_path, {**CONFIG, "direction": "air-to-bone", "facts": facts})
    card = (tmp_path / "README.md").read_text()
    assert "speech into the signal of a body-conduction sensor" in card
    assert "enhance " not in card


def test_all_that_a_run_writes_may_be_in_its_folder(tmp_path):
    names = (
        *("recipe.resolved.yaml", "metrics.jsonl", "pace.jsonl", "report.html", "README.md"),
        *("model.safetensors", "config.json", "discriminator.safetensors", "discriminator.json"),
        *("findings.jsonl", "synchronised.jsonl"),
    )
    for name in names:
        (tmp_path / name).touch()
    check_run_folder(tmp_path, resume=True)
