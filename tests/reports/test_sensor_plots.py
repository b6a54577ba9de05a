"""A fitted sensor's plots: what they show is what was given."""

import dataclasses
import re

import numpy as np
import pytest

from bcsim.reports import sensor_plots
from bcsim.reports.pictures import Picture
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.transfer_function import TransferFunction

GRID_HZ = np.linspace(0, 8000, 513)


def delayed(delay_s: float, gain: np.ndarray | float = 1.0) -> TransferFunction:
    return response_of(gain * np.exp(-2j * np.pi * GRID_HZ * delay_s))


def response_of(values: np.ndarray) -> TransferFunction:
    response = np.array(values, dtype=np.complex128)
    response[[0, -1]] = np.real(response[[0, -1]])
    return TransferFunction(GRID_HZ, response, np.ones(513), 10.0)


def texts(picture: Picture) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture.data.decode("utf-8"))


@pytest.mark.parametrize("delay_s", [-0.45e-3, 0.0, 1e-3, 4e-3])
def test_a_pure_delay_has_that_group_delay_at_every_frequency(delay_s):
    found = sensor_plots.group_delay_ms(delayed(delay_s))
    # Half the sample rate, where a real filter has no fraction of a sample, is in the last bands.
    np.testing.assert_allclose(found[8:440], 1000 * delay_s, atol=2e-3)


def test_a_one_pole_lowpass_has_the_group_delay_of_the_closed_form():
    r"""For y = (1 - a) x + a y', tau = (a cos w - a^2)/(1 - 2 a cos w + a^2) samples."""
    a, w = 0.6, np.pi * GRID_HZ / 8000
    found = sensor_plots.group_delay_ms(response_of((1 - a) / (1 - a * np.exp(-1j * w))))
    expected = (a * np.cos(w) - a**2) / (1 - 2 * a * np.cos(w) + a**2) / 16
    # A third of an octave, weighted by power, is a little nearer to its lower end.
    np.testing.assert_allclose(found[:400], expected[:400], atol=0.006)


def test_where_nothing_passes_there_is_no_delay_to_show():
    gain = np.where(GRID_HZ < 2000, 1.0, 1e-5)
    found = sensor_plots.group_delay_ms(delayed(1e-3, gain))
    assert np.isnan(found[GRID_HZ > 2600]).all()
    assert np.isfinite(found[GRID_HZ < 1500]).all()


def test_the_interval_is_drawn_where_it_is_known(sensor: SensorProfile):
    bins = len(sensor.noise_psd)
    known = np.stack([np.full(bins, -1.0), np.full(bins, 1.0)])
    with_interval = dataclasses.replace(sensor, magnitude_interval_db=known)
    without = dataclasses.replace(sensor, magnitude_interval_db=np.zeros((0, bins)))
    assert "95 % interval" in texts(sensor_plots.magnitude(with_interval))
    assert "95 % interval" not in texts(sensor_plots.magnitude(without))


def test_a_coherence_above_its_ceiling_leaves_no_gap(sensor: SensorProfile):
    """The ceiling is an estimate, too, and may come out under the coherence."""
    coherence = sensor.transfer_function.coherence
    low = dataclasses.replace(sensor, coherence_ceiling=0.5 * coherence)
    high = dataclasses.replace(sensor, coherence_ceiling=np.ones_like(coherence))
    heights = []
    for profile in (low, high):
        svg = sensor_plots.coherence(profile).data.decode("utf-8")
        polygon = re.search(r'<g id="FillBetween[^>]*>.*?\bd="([^"]*)"', svg, re.DOTALL)
        assert polygon is not None
        levels = [float(y) for y in re.findall(r"[ML] \S+ (\S+)", polygon[1])]
        half = len(levels) // 2
        # There and back: the lower edge, then the upper one.
        heights.append(abs(np.mean(levels[:half]) - np.mean(levels[half:])))
    assert heights[0] < 1 < heights[1]


def test_each_pair_has_its_dot_and_its_name_as_long_as_names_can_be_read():
    few = sensor_plots.dots(["anna/1", "a" * 60], [0.1, 0.2], "ms", 0.15)
    assert "anna/1" in texts(few)
    assert any("\N{HORIZONTAL ELLIPSIS}" in text for text in texts(few))
    many = sensor_plots.dots([f"pair {k}" for k in range(300)], list(np.arange(300.0)), "ms")
    assert not any(text.startswith("pair 1") for text in texts(many))
    assert many.data.count(b"<use") >= 300
    assert few.data.count(b"<use") < many.data.count(b"<use")


@pytest.mark.parametrize("values", [[3.0, 3.0], [float("nan"), float("nan")], [1.0]])
def test_dots_that_all_agree_or_are_all_unknown_are_drawn(values):
    names = [f"pair {k}" for k in range(len(values))]
    assert sensor_plots.dots(names, values, "ppm").data.startswith(b"<svg")


def test_more_kinds_than_colours_are_told_apart_by_dashes():
    centres_hz = np.geomspace(50, 7900, 40)
    curves = {f"kind {k}": np.full(40, float(k)) for k in range(9)}
    svg = sensor_plots.speech_gains(centres_hz, curves, curves).data.decode("utf-8")
    strokes = re.findall(r'clip-path[^>]*style="fill: none; (stroke[^"]*)"', svg)
    looks = {
        (re.search(r"--\w+", style)[0], "dasharray" in style)  # type: ignore[index]
        for style in strokes
        if "stroke-width: 1.5" in style
    }
    assert len(looks) == 9
