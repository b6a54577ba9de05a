"""How wearers differ: what was put in is found, and what is drawn has it."""

import numpy as np
import pytest
import torch

from bcsim.fitting.spread import expected_spread, measured_spread

BINS = 129
GRID = np.linspace(0, 1, BINS)
SHAPES = np.stack([4 * np.cos(np.pi * GRID), 2 * np.sin(np.pi * GRID)])


def curves(talkers: int, each: int, within_db: float, seed: int = 1):
    """Return curves of talkers that differ by two known shapes, and utterances by a third."""
    generator = np.random.default_rng(seed)
    rows, names = [], []
    for talker in range(talkers):
        own = generator.standard_normal(2) @ SHAPES
        for _ in range(each):
            rows.append(own + within_db * generator.standard_normal() * np.cos(3 * np.pi * GRID))
            names.append(f"talker {talker}")
    return torch.from_numpy(np.stack(rows)), names


def test_the_spread_between_talkers_is_found_without_that_within_them():
    rows, names = curves(talkers=300, each=2, within_db=5.0)
    found = measured_spread(rows, torch.ones_like(rows), names)
    true = np.sqrt((SHAPES**2).sum(axis=0))
    assert found.between == "talkers"
    assert np.abs(found.std_db - true).max() < 0.6
    all_utterances = measured_spread(rows, torch.ones_like(rows), [None] * len(names))
    assert np.abs(all_utterances.std_db - true).max() > 1.5


def test_the_components_make_up_the_standard_deviation():
    rows, names = curves(talkers=6, each=3, within_db=1.0)
    found = measured_spread(rows, torch.ones_like(rows), names)
    np.testing.assert_allclose(
        found.std_db, np.sqrt((found.components_db**2).sum(axis=0)), atol=1e-12
    )
    assert len(found.components_db) <= 5


def test_drawn_wearers_have_the_covariance_of_the_talkers():
    rows, _ = curves(talkers=40, each=1, within_db=0.0)
    found = measured_spread(rows, torch.ones_like(rows), [None] * len(rows))
    wanted = np.cov(rows.numpy().T)
    np.testing.assert_allclose(
        found.components_db.T @ found.components_db, wanted, atol=1e-6 * wanted.max()
    )


def test_what_noise_hides_does_not_count():
    rows, names = curves(talkers=8, each=1, within_db=0.0)
    hidden = torch.ones_like(rows)
    hidden[:, BINS // 2 :] = 0.0
    rows[:, BINS // 2 :] += torch.randn(8, BINS - BINS // 2, generator=torch.Generator()) * 30
    found = measured_spread(rows, hidden, names)
    assert np.abs(found.std_db[BINS // 2 :]).max() == 0
    assert found.std_db[0] > 1


def test_one_recording_shows_no_spread():
    row = torch.zeros(1, BINS, dtype=torch.float64)
    found = measured_spread(row, torch.ones_like(row), [None])
    assert found.components_db.shape == (0, BINS)
    assert not found.std_db.any()


@pytest.mark.parametrize(("bins", "rate"), [(257, 16_000), (1537, 48_000)])
def test_the_expected_spread_is_what_it_says_at_any_rate(bins, rate):
    grid = np.linspace(0, rate / 2, bins)
    expected = expected_spread(grid)
    at = {hz: expected.std_db[np.abs(grid - hz).argmin()] for hz in (250, 1000, 4000)}
    assert at[250] < 1.0  # where the level of speech is, which is drawn apart
    assert at[4000] == pytest.approx(5.5, abs=0.4)
    assert at[250] < at[1000] < at[4000]
    step = np.abs(np.diff(expected.components_db[:, grid > 200], axis=1)).max()
    assert step < 1.0  # smooth
