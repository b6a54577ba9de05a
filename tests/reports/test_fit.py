"""The report of a fit: everything that was found is in it, and nothing that was not."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch

from bcsim.fitting.coupling import HeldOutCoupling
from bcsim.fitting.fit import FitResult, SkippedPair
from bcsim.fitting.pairs import AlignedPair, Jump, NoiseFloor
from bcsim.fitting.selection import LearningPoint
from bcsim.reports.fit import Example, fit_page
from bcsim.reports.html import Page, Section, render
from bcsim.sensors.profile import SensorProfile

RATE = 16_000
HOSTILE = "<script>alert('x')</script>"


def aligned(name: str, samples: torch.Tensor, **changes) -> AlignedPair:
    quiet = NoiseFloor(torch.full((513,), 1e-9).double(), 1.0, from_pauses=True)
    pair = AlignedPair(
        name=name,
        talker="anna",
        air=samples,
        bone=samples,
        sample_rate=RATE,
        active=torch.ones((len(samples) - 1024) // 256 + 1, dtype=torch.bool),
        num_fft=1024,
        noise=quiet,
        air_noise=quiet,
        delay_s=-0.45e-3,
        level_db=-6.0,
        seconds=1.5,
        active_seconds=1.0,
    )
    return dataclasses.replace(pair, **changes)


@pytest.fixture
def result(sensor: SensorProfile, speech: torch.Tensor) -> FitResult:
    pairs = [
        aligned("anna/1", speech[0]),
        aligned(
            "anna/2",
            speech[1],
            drift_ppm=123.4,
            inverted=True,
            jumps=(Jump(3.1, 0.012, 3.05, 3.12),),
        ),
    ]
    scores = {"lsd": 7.5, "mel_sd": 6.4, "estoi": 0.58}
    return FitResult(
        profile=dataclasses.replace(
            sensor, provenance=dataclasses.replace(sensor.provenance, scores=scores)
        ),
        pairs=pairs,
        skipped=[SkippedPair("anna/3", f"bone is silent {HOSTILE}")],
        choice="power-ratio: none better beyond chance",
        candidates={"power-ratio": scores, "temporal-transforms": {"lsd": 13.77}},
        learning_curve=[
            LearningPoint("all", 12.0, 1.0, 7.5),
            LearningPoint("half the seconds", 6.0, 1.0, 8.25),
        ],
        coupling=HeldOutCoupling(
            real={"stoi_coupling": 0.716, "estoi_coupling": math.nan, "envelope_coupling": 0.5},
            simulated={"stoi_coupling": 0.868, "estoi_coupling": 0.8, "envelope_coupling": 0.7},
            real_bands=np.linspace(0.8, 0.2, 20),
            simulated_bands=np.append(np.linspace(0.9, 0.5, 19), math.nan),
        ),
        predictions=[],
    )


def example(name: str, samples: torch.Tensor) -> Example:
    signal = samples.numpy()
    return Example(name, signal, 0.5 * signal, 0.4 * signal)


def section(page: Page, heading: str) -> Section:
    return next(found for found in page.sections if found.heading == heading)


def test_everything_that_was_found_is_on_the_page(result: FitResult, speech: torch.Tensor):
    page = fit_page(result, [example("anna/1", speech[0])])
    text = render(page)
    for expected in (
        "none better beyond chance", "power-ratio (chosen)", "temporal-transforms", "13.8",
        "anna/2", ">123<", "polarity opposite", "delay jumps by +12.0 ms at 3.10 s",
        "anna/3", "half the seconds", "8.25", "Provenance", "not stated",
    ):  # fmt: skip
        assert expected in text, expected
    assert HOSTILE not in text
    assert page.facts["held-out LSD"] == "7.5 dB"
    assert page.facts["bone leads by"] == "0.45 ms"
    # Missing scores of the low-pass are gaps.
    coupling = section(page, "Coupling")
    rows = coupling.tables[0].text_rows()
    assert rows == [["STOI", "0.72", "0.87"], ["envelope", "0.50", "0.70"]]
    assert len(coupling.figures) == 1
    table = section(page, "Held-out accuracy").tables[0]
    assert table.text_rows()[1][1:] == ["13.8", "\N{EN DASH}", "\N{EN DASH}"]


def test_a_fit_of_one_pair_without_noise_band_or_trial_has_a_page_too(result: FitResult):
    profile = dataclasses.replace(
        result.profile,
        usable_band_hz=(0.0, 0.0),
        noise_psd=np.zeros_like(result.profile.noise_psd),
        magnitude_interval_db=result.profile.magnitude_interval_db[:0],
        provenance=dataclasses.replace(result.profile.provenance, scores={}),
    )
    bare = dataclasses.replace(
        result,
        profile=profile,
        pairs=result.pairs[:1],
        skipped=[],
        candidates={},
        coupling=None,
        learning_curve=[],
    )
    page = fit_page(bare, [])
    headings = [found.heading for found in page.sections]
    assert headings == ["Response", "Pairs", "Would more recordings help?", "Provenance"]
    assert page.facts["usable band"] == "none"
    assert "No pause" in section(page, "Response").text
    assert "remarks" not in section(page, "Pairs").tables[0].columns
    assert render(page)


def test_only_three_are_played_five_seconds_each_and_at_equal_gain(
    result: FitResult, speech: torch.Tensor
):
    long = speech[0].repeat(6)  # 9 s
    page = fit_page(result, [example(f"anna/{k}", long) for k in range(5)])
    players = section(page, "Listen").players
    assert [player.label for player in players[:3]] == [
        "anna/0: air", "anna/0: real bone", "anna/0: simulated bone",
    ]  # fmt: skip
    assert len(players) == 9
    assert {len(player.samples) for player in players} == {5 * RATE}
    peaks = [np.abs(player.samples).max() for player in players[:3]]
    assert peaks == pytest.approx([0.9, 0.45, 0.36])


def test_what_the_fit_has_heard_is_said(result: FitResult, speech: torch.Tensor):
    examples = [example("anna/1", speech[0])]
    heard = fit_page(result, examples)
    held_out = [(pair, result.profile) for pair in result.pairs]
    unheard = fit_page(dataclasses.replace(result, predictions=held_out), examples)
    assert "fitted to these recordings, too" in section(heard, "Listen").text
    assert "without these recordings" in section(unheard, "Listen").text


def test_long_lists_are_cut_and_the_page_says_so(result: FitResult):
    many = dataclasses.replace(result, pairs=result.pairs[:1] * 230)
    pairs = section(fit_page(many, []), "Pairs")
    assert len(pairs.tables[0].rows) == 200
    assert "30 more pairs" in pairs.text


def test_a_leakage_that_was_measured_is_shown(result: FitResult):
    bins = len(result.profile.noise_psd)
    leaky = dataclasses.replace(result.profile, leakage_db=np.linspace(-10, -40, bins))
    captions = [
        [figure.caption for figure in section(fit_page(found, []), "Response").figures]
        for found in (result, dataclasses.replace(result, profile=leaky))
    ]
    assert len(captions[1]) == len(captions[0]) + 1
    assert re.search("leaks", captions[1][-1])
