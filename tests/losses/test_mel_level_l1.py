import pytest
import torch

from bcsim.losses.mel_level_l1 import MelLevelL1


def noise(seed: int = 0, num_samples: int = 16_000) -> torch.Tensor:
    return torch.randn(1, 1, num_samples, generator=torch.Generator().manual_seed(seed))


def cost(estimate: torch.Tensor, target: torch.Tensor, **settings: float) -> float:
    return MelLevelL1(**settings)(estimate, target).item()  # pyright: ignore[reportArgumentType]


def test_a_gain_costs_its_decibels():
    assert cost(noise(), 0.25 * noise(), floor_db=-150) == pytest.approx(12.04, abs=0.01)


def test_the_level_of_both_signals_is_not_seen():
    louder, softer = (cost(g * noise(1), g * noise(2)) for g in (1.0, 0.001))
    assert softer == pytest.approx(louder, rel=1e-3)


def test_what_lies_below_the_floor_counts_little():
    """Speech of half a second, and noise 70 dB below it that only the estimate has in the rest."""
    target = noise(1)
    target[..., 8000:] = 0
    estimate = target + 10 ** (-70 / 20) * noise(2)
    assert cost(estimate, target, floor_db=-50) < 0.1
    assert cost(estimate, target, floor_db=-120) > 10


def test_the_error_of_one_band_is_divided_by_the_bands():
    """A tone 20 dB louder than the target's, in the middle of one of four bands."""
    tone = torch.sin(2 * torch.pi * 1500 * torch.arange(16_000) / 16_000)[None, None]
    loss = MelLevelL1(num_mels=4, floor_db=-20)
    assert 20 / 8 < loss(10 * tone, tone).item() < 20


def test_silence_has_a_finite_gradient():
    estimate = torch.zeros(1, 1, 1000, requires_grad=True)
    MelLevelL1()(estimate, torch.zeros(1, 1, 1000)).backward()
    assert estimate.grad is not None
    assert torch.isfinite(estimate.grad).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"floor_db": 0.0}, "floor_db is 0"), ({"num_mels": 0}, "num_mels is 0")],
)
def test_senseless_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MelLevelL1(**settings)
