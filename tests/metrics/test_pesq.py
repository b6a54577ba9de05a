"""PESQ: its scale's ends, what has none, and signals of any length."""

import math
import sys

import numpy as np
import pytest
import torch

from bcsim.errors import UsageError
from bcsim.metrics import METRICS
from bcsim.metrics.comparison import Comparison
from bcsim.metrics.scores import enhancement_metrics

RATE = 16_000
# P.862.2: 0.999 + 4 / (1 + exp(-1.3669 * 4.5 + 3.8224)), the raw score being 4.5 at most.
HIGHEST = 0.999 + 4 / (1 + math.exp(-1.3669 * 4.5 + 3.8224))


def score(estimate: torch.Tensor, real: torch.Tensor, rate: int = RATE) -> float:
    return METRICS["pesq"](Comparison.prepare(estimate, real, rate, match_level=False))


def bursts(count: int, seconds: float = 0.25) -> torch.Tensor:
    """Noise that comes and goes: an utterance each time, as P.862 counts them."""
    generator = np.random.default_rng(6)
    noise = 0.1 * generator.standard_normal((count, 2, round(seconds * RATE)))
    noise[:, 1] = 0
    return torch.from_numpy(noise.reshape(-1))


def test_a_signal_against_itself_has_the_highest_score_at_any_level(speech):
    assert score(speech[0], speech[0]) == pytest.approx(HIGHEST, abs=1e-3)
    assert score(0.01 * speech[0], speech[0]) == pytest.approx(HIGHEST, abs=0.01)


def test_more_noise_is_worse(speech):
    noise = torch.from_numpy(np.random.default_rng(5).standard_normal(speech.shape[1]))
    scores = [score(speech[0] + gain * noise, speech[0]) for gain in (0.0, 0.001, 0.01, 0.1)]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 2


def test_other_rates_are_resampled(speech):
    half = speech[0, ::2]
    assert score(half, half, RATE // 2) == pytest.approx(HIGHEST, abs=1e-3)


def test_silence_and_clicks_have_no_score(speech):
    silent = torch.zeros_like(speech[0])
    click = silent.clone()
    click[5000:5800:2], click[5001:5800:2] = 0.125, -0.125  # 50 ms
    assert math.isnan(score(speech[0], silent))
    assert math.isnan(score(click, click))  # no utterance
    assert math.isnan(score(speech[0, :3000], speech[0, :3000]))  # under 0.25 s


def test_an_estimate_without_an_utterance_has_the_lowest_score(speech):
    click = torch.zeros_like(speech[0])
    click[5000:5800:2], click[5001:5800:2] = 0.125, -0.125
    for estimate in (0 * click, speech[0] * math.nan):
        assert score(estimate, speech[0]) == METRICS["pesq"].worst
    assert score(click, speech[0]) < 1.2


def test_more_utterances_than_the_reference_code_has_room_for_do_no_harm():
    """A minute with 120 utterances once ended the process: its arrays hold 50."""
    long = bursts(120)
    assert score(long, long) == pytest.approx(HIGHEST, abs=1e-3)


def test_long_signals_score_the_mean_of_their_parts():
    good = bursts(20)
    generator = np.random.default_rng(3)
    bad = good + 0.05 * torch.from_numpy(generator.standard_normal(len(good)))
    both = score(torch.cat([good, bad]), torch.cat([good, good]))
    assert both == pytest.approx((HIGHEST + score(bad, good)) / 2, abs=0.02)


def test_an_estimate_that_is_silent_in_one_of_two_parts_is_scored_by_both():
    good = bursts(40)
    half = good.clone()
    half[len(half) // 2 :] = 0
    expected = (HIGHEST + METRICS["pesq"].worst) / 2
    assert score(half, good) == pytest.approx(expected, abs=0.1)


def test_without_the_package_other_scores_remain_and_the_remedy_is_said(speech, monkeypatch):
    everywhere = enhancement_metrics()
    assert "pesq" in everywhere
    monkeypatch.setattr("bcsim.metrics.base.find_spec", lambda name: None)
    assert enhancement_metrics() == [name for name in everywhere if METRICS[name].package is None]
    monkeypatch.setitem(sys.modules, "pesq", None)
    with pytest.raises(UsageError, match=r"pip install 'bcsim\[pesq\]'"):
        score(speech[0], speech[0])
