"""The report of a run: whatever it has written so far, and however that went."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bcsim.audio.write import write_audio
from bcsim.errors import InputError
from bcsim.reports import run as report
from bcsim.reports.html import Page
from bcsim.reports.plots import read_metrics
from bcsim.reports.run import run_page, write_run_report

RATE = 16_000
CONFIG = {
    "model": {"name": "eben"},
    "direction": "bone-to-air",
    "facts": {
        "step": 20,
        "steps_total": 40,
        "batch_size": 4,
        "metric": "stoi",
        "num_items": {"training": 1234},
        "num_scored": {"validation": 8, "validation_real": 5},
    },
}


def validation(step: int, stoi: float) -> dict[str, Any]:
    row: dict[str, Any] = {"step": step}
    for split, floor in (("validation", 0.7), ("validation_real", 0.6)):
        row |= {f"{split}/stoi": stoi, f"{split}/unprocessed_stoi": floor, f"{split}/clean_stoi": 1}
        row |= {f"{split}/si_sdr": -3.25, f"{split}/clean_si_sdr": None}
    return row


def losses(step: int, loss: float | None = 1.0) -> dict[str, Any]:
    names = ("loss", "discriminator", "gradient_norm", "discriminator_gradient_norm")
    return {"step": step, **{f"train/{name}": loss for name in names}, "train/learning_rate": 1e-4}


ROWS = [losses(10), losses(20), validation(20, 0.8), losses(30), validation(30, 0.75), losses(40)]
PACE = [
    {"step": 20, "speed/steps_per_s": 2.0, "speed/waiting_for_data": 0.25, "speed/simulating": 0.0},
    {"step": 40, "speed/steps_per_s": 4.0, "speed/waiting_for_data": 0.25, "speed/simulating": 0.0},
]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def tone(hz: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(RATE // 2) / RATE)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run with one synthetic and one real item, each enhanced at two steps, and its report."""
    folder = tmp_path_factory.mktemp("runs") / "throat"
    (folder / "samples").mkdir(parents=True)
    for name in ("00_anna_1", "validation_real_00_ben_1"):
        for role, hz in (("bone", 500), ("air", 6000)):
            write_audio(folder / "samples" / f"{name}.{role}.flac", tone(hz), RATE)
        for step, hz in ((20, 1000), (30, 3000)):
            path = folder / "samples" / f"{name}.enhanced.step_{step:08d}.flac"
            write_audio(path, tone(hz), RATE)
    write_lines(folder / "metrics.jsonl", ROWS)
    write_lines(folder / "pace.jsonl", PACE)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    assert write_run_report(folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def page() -> Page:
    return run_page("throat", CONFIG, ROWS, PACE, [])


def page_of(rows: list[dict[str, Any]]) -> Page:
    """The page of a run that has not been validated yet."""
    return run_page("throat", {}, rows, [], [])


def test_the_report_is_one_file_with_the_newest_samples_of_both_sets_of_pairs(run):
    text = (run / "report.html").read_text("utf-8")
    assert text.count("<audio") == 6
    assert "Listen: synthetic pairs, step 30" in text
    assert "Listen: real pairs, step 30" in text
    assert not re.search(r'(?:src|href)="(?!data:)', text)


def test_a_picture_shows_bone_enhanced_and_air_from_left_to_right(run):
    """Three tones: the brightest row of each panel says which one it shows."""
    pictures = sorted(path.name for path in run.glob("samples/*.png"))
    assert pictures == [
        "00_anna_1.enhanced.step_00000030.png",
        "validation_real_00_ben_1.enhanced.step_00000030.png",
    ]
    image = Image.open(io.BytesIO((run / "samples" / pictures[0]).read_bytes())).convert("RGB")
    pixels = np.asarray(image).astype(int)
    width = pixels.shape[1]
    dark = pixels.sum(axis=2) < 30  # the colour of nothing at all
    rows = np.flatnonzero(dark.mean(axis=1) > 0.5)
    top, bottom = rows.min(), rows.max()
    for panel, hz in enumerate((500, 3000, 6000)):
        column = pixels[top : bottom + 1, round(width * (0.18 + 0.29 * panel))].sum(axis=1)
        # White lies outside the panel alone.
        brightest = int(np.argmax(np.where(column > 740, 0, column)))
        found = (1 - brightest / (bottom - top)) * RATE / 2
        assert found == pytest.approx(hz, abs=200)


def test_the_scores_shown_are_those_of_the_best_step_and_not_of_the_last(page):
    assert page.facts["best step"] == "20 of 40"
    assert page.facts["STOI, synthetic pairs"] == "0.700 to 0.800"
    assert page.facts["STOI, real pairs"] == "0.600 to 0.800"
    synthetic, real = page.sections[0].tables
    assert ["STOI", "0.700", "0.800", "1.000"] in synthetic.rows
    assert ["STOI", "0.600", "0.800", "1.000"] in real.rows
    # An SI-SDR that nobody measured, and one that is infinite.
    assert ["SI-SDR, dB", "\N{EN DASH}", "\N{MINUS SIGN}3.250", "\N{EN DASH}"] in synthetic.rows
    assert "the best STOI on real pairs" in page.sections[0].text


def test_every_number_that_was_written_has_a_curve_but_for_those_that_stayed_zero(page):
    captions = {
        section.heading: " ".join(figure.caption for figure in section.figures)
        for section in page.sections
    }
    assert captions["Validation"] == "stoi, si_sdr on synthetic pairs. stoi, si_sdr on real pairs."
    assert captions["Losses"] == "loss, discriminator."
    assert captions["Gradients and balancing"] == "gradient_norm, discriminator_gradient_norm."
    assert captions["Learning rates"] == "learning_rate."
    assert captions["Speed"] == "steps_per_s, waiting_for_data."


def test_the_speed_is_the_middle_of_the_latest_figures(page):
    assert page.facts["speed"] == "3 steps/s"
    assert page.facts["waiting for data"] == "25% of the time"


def test_a_run_that_has_only_just_begun_has_a_report(tmp_path):
    text = write_run_report(tmp_path).read_text("utf-8")
    assert "only just begun" in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_before_the_first_validation_there_are_losses_and_no_scores():
    page = page_of([losses(10)])
    assert [section.heading for section in page.sections] == [
        "Losses",
        "Gradients and balancing",
        "Learning rates",
    ]


def test_a_run_that_diverged_says_since_when(page):
    lost = [losses(20, None), losses(30, None)]
    lead = page_of([losses(10), {"step": 10, "train/other": 1.0}, validation(10, 0.7), *lost]).lead
    assert "It diverged: train/loss is no number at step 20." in lead
    assert "diverged" not in page.lead


def test_lines_of_a_resumed_run_are_put_in_their_order(tmp_path):
    write_lines(tmp_path / "pace.jsonl", [PACE[1], PACE[0]])
    assert [row["step"] for row in read_metrics(tmp_path / "pace.jsonl")] == [20, 40]


def test_a_run_of_tens_of_thousands_of_lines_makes_no_larger_a_page():
    rows = [{"step": step, "train/loss": 1 + np.sin(step)} for step in range(30_000)]
    sizes = [len(page_of(part).sections[0].figures[0].picture.data) for part in (rows[:400], rows)]
    assert sizes[1] < 1.2 * sizes[0]


def test_a_network_that_makes_bone_from_air_is_not_called_an_enhancer(run):
    samples = report._newest_samples(run / "samples", reverse=True)
    assert [list(sample.signals) for sample in samples] == [
        ["air", "simulated bone", "real bone"]
    ] * 2


def test_a_folder_that_is_none_and_a_damaged_file_are_named(tmp_path):
    with pytest.raises(InputError, match="nothing: no such folder of a run"):
        write_run_report(tmp_path / "nothing")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: not JSON"):
        write_run_report(tmp_path)
