import base64
import dataclasses
import io
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from bcsim.errors import InputError
from bcsim.reports import pictures, plots, sensor_plots
from bcsim.reports.pictures import Picture
from bcsim.sensors.profile import SensorProfile

SAMPLE_RATE = 16_000
HOSTILE = "</text><script>alert(1)</script> $\\frac{ \x00 & 喉"
TONE = np.sin(2 * np.pi * 3000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
CENTRES_HZ = np.geomspace(50, 7900, 40)
CURVES = {f"kind {k}": k * np.cos(CENTRES_HZ / 3000) for k in range(8)}


def every_plot(sensor: SensorProfile) -> dict[str, Callable[[], Picture]]:
    rows = [{"step": step, "loss": 1 / step} for step in range(1, 9)]
    return {
        "magnitude": lambda: sensor_plots.magnitude(sensor),
        "coherence": lambda: sensor_plots.coherence(sensor),
        "group_delay": lambda: sensor_plots.group_delay(sensor),
        "dots": lambda: sensor_plots.dots(["a", HOSTILE, "c"], [1.0, 2.0, float("nan")], "ms", 1.5),
        "speech_gains": lambda: sensor_plots.speech_gains(CENTRES_HZ, CURVES, CURVES),
        "leakage": lambda: sensor_plots.leakage(CENTRES_HZ, -CENTRES_HZ / 400, SAMPLE_RATE),
        "fitted_against_true": lambda: plots.fitted_against_true(sensor, sensor),
        "noise_floor": lambda: plots.noise_floor(sensor),
        "long_term_spectra": lambda: plots.long_term_spectra({"air": [TONE]}, SAMPLE_RATE),
        "spectrograms": lambda: plots.spectrograms({"air": TONE}, SAMPLE_RATE)["air"],
        "training_curves": lambda: plots.training_curves(rows, ["loss"]),
    }


def embedded_image(picture: Picture) -> np.ndarray:
    match = re.search(rb"data:image/png;base64,([A-Za-z0-9+/=\s]+)", picture.data)
    assert match is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(match[1]))).convert("RGB")).astype(int)


def test_the_same_numbers_give_the_same_bytes(sensor: SensorProfile):
    for name, draw in every_plot(sensor).items():
        assert draw().data == draw().data, name


def test_every_plot_is_sound_xml_that_refers_to_nothing_outside(sensor: SensorProfile):
    for name, draw in every_plot(sensor).items():
        svg = draw().data.decode("utf-8")
        ElementTree.fromstring(svg)
        references = re.findall(r'(?:href|src)="([^"]*)"', svg) + re.findall(r"url\(([^)]*)\)", svg)
        assert all(target.startswith(("#", "data:")) for target in references), name
        assert not re.search(r"<!DOCTYPE|<script|<metadata", svg), name


def test_no_color_of_the_light_page_is_left_fixed(sensor: SensorProfile):
    """Black axes on a dark page were invisible; every colour has to follow."""
    for name, draw in every_plot(sensor).items():
        svg = draw().data.decode("utf-8").lower()
        body = svg[svg.index("</style>") :]
        assert not set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", body)), name
        assert "prefers-color-scheme:dark" in svg


def test_settings_of_matplotlib_are_left_as_they_were(sensor: SensorProfile):
    before = dict(matplotlib.rcParams)
    sensor_plots.magnitude(sensor)
    assert dict(matplotlib.rcParams) == before


def test_settings_of_the_user_do_not_show(sensor: SensorProfile):
    expected = sensor_plots.magnitude(sensor).data
    with matplotlib.rc_context({"axes.grid": False, "font.size": 30, "lines.linewidth": 9}):
        assert sensor_plots.magnitude(sensor).data == expected


def test_hostile_names_are_text():
    svg = plots.long_term_spectra({HOSTILE: [TONE]}, SAMPLE_RATE).data.decode("utf-8")
    root = ElementTree.fromstring(svg)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert HOSTILE.replace("\x00", "\N{REPLACEMENT CHARACTER}") in texts
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))


def test_a_perfect_fit_shows_an_error_of_zero(sensor: SensorProfile):
    svg = plots.fitted_against_true(sensor, sensor).data.decode("utf-8")
    curves = re.findall(r'<path d="([^"]*)"[^>]*stroke: var\(--bone\)', svg)
    assert len(set(re.findall(r"[ML] \S+ (\S+)", curves[-1]))) == 1


def test_a_tone_is_where_it_should_be_in_its_spectrogram():
    picture = plots.spectrograms({"tone": TONE}, SAMPLE_RATE)["tone"]
    brightness = embedded_image(picture).sum(axis=2).mean(axis=1)
    assert re.search(rb'<image[^>]*transform="matrix\(\S+ 0 0 -', picture.data)  # shown upside down
    rows = len(brightness)  # 0 Hz to half the sample rate
    peak_hz = np.argmax(brightness) / (rows - 1) * SAMPLE_RATE / 2
    assert peak_hz == pytest.approx(3000, abs=SAMPLE_RATE / 2 / rows)


def test_spectrograms_share_one_scale():
    drawn = plots.spectrograms({"loud": TONE, "faint": 0.01 * TONE}, SAMPLE_RATE)
    loud, faint = (embedded_image(drawn[name]).sum(axis=2).max() for name in ("loud", "faint"))
    assert faint < 0.7 * loud


def test_spectrograms_of_silence_and_of_clips_shorter_than_a_frame_are_drawn():
    drawn = plots.spectrograms({"silence": np.zeros(SAMPLE_RATE), "click": np.ones(3)}, SAMPLE_RATE)
    assert set(drawn) == {"silence", "click"}


def test_images_of_few_colors_are_compressed_without_loss():
    generator = np.random.default_rng(3)
    colors = generator.integers(0, 256, (40, 3), dtype=np.uint8)
    pixels = colors[generator.integers(0, 40, (50, 60))]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    svg = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    compressed = pictures._compress_images(svg)
    assert len(compressed) < len(svg)
    np.testing.assert_array_equal(embedded_image(Picture(compressed.encode())), pixels)


def test_a_sensor_without_a_usable_band_is_drawn_too(sensor: SensorProfile):
    nowhere = dataclasses.replace(sensor, usable_band_hz=(0.0, 0.0))
    for draw in every_plot(nowhere).values():
        assert draw().data.startswith(b"<svg")


def test_each_role_keeps_its_color_in_every_picture():
    assert plots._colors({"air": 0, "bone": 0}) == [pictures.AIR, pictures.BONE]
    real, simulated = plots._colors({"real bone": 0, "simulated bone": 0})
    assert real == pictures.BONE
    assert simulated not in (pictures.AIR, pictures.BONE)


def test_a_missing_metric_leaves_its_panel_empty():
    rows = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}, {"step": 3}]
    assert plots.training_curves(rows, ["loss", "stoi"]).data.startswith(b"<svg")


def test_metrics_are_read_up_to_where_a_kill_cut_the_file(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "train/loss": 2.0}\n{"step": 2, "train/loss": null}\n{"step": 3, "tr'
    )
    assert plots.read_metrics(path) == [
        {"step": 1, "train/loss": 2.0},
        {"step": 2, "train/loss": None},
    ]
    for damaged in ("oops\n{}\n", "[1]\n", '{"loss": 1}\n'):
        path.write_text(damaged)
        with pytest.raises(InputError, match=r"metrics\.jsonl line 1: not"):
            plots.read_metrics(path)
    assert plots.read_metrics(tmp_path / "missing.jsonl") == []  # not begun yet


def test_what_the_sensor_scores_unprocessed_is_a_line_in_the_panel_of_the_metric():
    rows = [
        {"step": 10, "train/loss": 1.0},
        {"step": 10, "validation/stoi": 0.7, "validation/unprocessed_stoi": 0.6},
        {
            "step": 10,
            "validation/lsd": 7,
            "validation/unprocessed_lsd": 9,
            "validation/clean_lsd": 0,
        },
    ]
    svg = plots.training_curves(rows).data.decode("utf-8")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert [text for text in texts if "/" in text] == [
        "train/loss",
        "validation/stoi (dashed: unprocessed)",
        "validation/lsd (dashed: unprocessed, dotted: clean)",
    ]


def test_a_long_curve_is_thinned_to_means_and_how_far_they_range():
    """One spike among 30,000 values moves no mean much, but is not lost either."""
    values = np.ones(30_000)
    values[12_345] = 1000.0
    rows = [{"step": step, "x": value} for step, value in enumerate(values)]
    svg = plots.training_curves(rows, ["x"]).data.decode("utf-8")
    assert len(svg) < 60_000
    assert "1000" in re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_a_loss_that_falls_by_decades_has_a_logarithmic_scale_in_plain_numbers():
    rows = [{"step": step, "train/loss": 10.0**-step} for step in range(4)]
    svg = plots.training_curves(rows, ["train/loss"]).data.decode("utf-8")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"1", "0.1", "0.01", "0.001"} <= set(texts)


def test_a_row_of_spectrograms_is_the_same_file_every_time():
    first, again = (
        plots.spectrogram_row({"air": TONE, "bone": TONE / 2}, SAMPLE_RATE) for _ in range(2)
    )
    assert first.media_type == "image/png"
    assert first.data == again.data
    assert first.data.startswith(b"\x89PNG")


def test_nothing_of_pyplot_is_used():
    for module in (plots, pictures):
        assert module.__file__ is not None
        assert "import matplotlib.pyplot" not in Path(module.__file__).read_text(encoding="utf-8")
