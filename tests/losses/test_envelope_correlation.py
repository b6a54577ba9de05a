import numpy as np
import pytest
import torch

from bcsim.losses.envelope_correlation import EnvelopeCorrelation
from bcsim.metrics.scores import enhancement_scores
from bcsim.rng import stream


def modulated(name: str, rate_hz: float = 3.0, num_samples: int = 32_000) -> torch.Tensor:
    """Noise whose level goes up and down, (1, 1, T)."""
    time_s = np.arange(num_samples) / 16_000
    envelope = 0.02 + np.clip(np.sin(2 * np.pi * rate_hz * time_s), 0, None)
    noise = stream(4, name).standard_normal(num_samples)
    return torch.from_numpy(envelope * noise).float()[None, None]


def cost(estimate: torch.Tensor, target: torch.Tensor) -> float:
    return EnvelopeCorrelation().terms(estimate, target)["envelope_correlation"].item()


def test_neither_level_nor_polarity_is_seen():
    target = modulated("a")
    assert cost(0.3 * target, target) == pytest.approx(0, abs=1e-4)
    assert cost(-target, target) == pytest.approx(0, abs=1e-6)


def test_what_stoi_calls_worse_costs_more():
    target = modulated("a", 4.0)
    wrong_rate, noise = modulated("b", 7.0), modulated("c", 0.0)
    ranked = [target + 0.05 * noise, target + 0.5 * noise, wrong_rate]
    costs = [cost(x, target) for x in ranked]
    stois = [
        enhancement_scores(x[0, 0].double(), target[0, 0].double(), 16_000)["stoi"] for x in ranked
    ]
    assert costs == sorted(costs)
    assert stois == sorted(stois, reverse=True)


def test_envelopes_in_opposite_phase_cost_twice_those_that_have_nothing_in_common():
    """The correlation is -1 there and 0 here; one band, tones whose envelopes are known."""
    time_s = torch.arange(16_000) / 16_000
    tone = torch.sin(2 * torch.pi * 1000 * time_s)
    swing = 2 * torch.pi * 62.5 / 12 * time_s  # two periods in a segment of 24 frames
    loss = EnvelopeCorrelation(num_mels=1)
    down, across = (
        loss.terms(
            ((1 + 0.5 * envelope) * tone)[None, None], ((1 + 0.5 * swing.sin()) * tone)[None, None]
        )["envelope_correlation"].item()
        for envelope in (-swing.sin(), swing.cos())
    )
    assert down / across == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"segment_frames": 1}, "segment_frames is 1"), ({"num_mels": 0}, "num_mels is 0")],
)
def test_senseless_sizes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EnvelopeCorrelation(**settings)
