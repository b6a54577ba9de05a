"""Events by seed: Poisson where they should be, regular where they should be, in any stretch."""

import math

import pytest
import scipy.stats
import torch

from bcsim.dsp.events import Events, periodic_events, poisson_events

RATE = 16_000


def rates(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_counts_are_poisson():
    seeds = torch.arange(4000)
    events = poisson_events(seeds, torch.full((4000,), 0.7).double(), 3.0, 8.0)
    counts = torch.bincount(events.clip, minlength=4000).numpy()
    expected = 4000 * scipy.stats.poisson.pmf(range(11), 3.5)
    measured = [(counts == k).sum() for k in range(11)]
    chi_square = sum((m - e) ** 2 / e for m, e in zip(measured, expected, strict=True))
    assert chi_square < scipy.stats.chi2(11).ppf(1 - 1e-4)
    assert counts.mean() == pytest.approx(3.5, abs=4 * math.sqrt(3.5 / 4000))


def test_intervals_are_exponential():
    onset_s = poisson_events(torch.tensor([3]), rates(2.5), 0.0, 4000.0).onset_s.sort().values
    intervals = onset_s.diff().numpy()
    assert scipy.stats.kstest(intervals, "expon", args=(0, 1 / 2.5)).pvalue > 1e-4


def test_any_stretch_of_any_batch_has_the_events_of_the_whole():
    seeds, rate_hz = torch.tensor([5, 6, 7]), rates(0.3, 4.0, 1.0)
    for kind in (
        lambda *args: poisson_events(*args),
        lambda seeds, rate_hz, *span: periodic_events(seeds, rate_hz, 0.3, *span),
    ):
        whole = kind(seeds, rate_hz, 0.0, 600.0)
        for row in range(3):
            part = kind(seeds[row : row + 1], rate_hz[row : row + 1], 123.4, 345.6)
            chosen = (whole.clip == row) & (whole.onset_s >= 123.4) & (whole.onset_s < 345.6)
            assert chosen.sum() > 30
            assert torch.equal(part.onset_s, whole.onset_s[chosen])
            assert torch.equal(part.seeds, whole.seeds[chosen])
            assert torch.equal(part.uniform(3), whole.uniform(3)[chosen])
            assert torch.equal(part.noise(50), whole.noise(50)[chosen])


def test_each_clip_may_start_at_its_own_time():
    seeds = torch.tensor([5, 6])
    events = poisson_events(seeds, rates(1.0, 1.0), rates(-50.0, 10.0), 20.0)
    assert events.onset_s[events.clip == 0].min() < -30
    assert events.onset_s[events.clip == 1].min() >= 10


def test_processes_of_one_seed_are_unrelated():
    seeds, rate_hz = torch.arange(200), torch.full((200,), 1.0).double()
    counts = torch.stack(
        [
            torch.bincount(poisson_events(seeds, rate_hz, 0, 20, k).clip, minlength=200)
            for k in range(6)
        ]
    )
    between = torch.corrcoef(counts.double()) - torch.eye(6)
    assert between.abs().max().item() < 5 / math.sqrt(200)
    whole = [poisson_events(seeds, rate_hz, 0, 20, k).seeds for k in range(6)]
    assert torch.cat(whole).unique().numel() == sum(map(len, whole))


def test_at_rate_zero_nothing_happens():
    seeds, rate_hz = torch.tensor([1, 2]), rates(0.0, 0.0)
    for events in (
        poisson_events(seeds, rate_hz, -10.0, 1e6),
        periodic_events(seeds, rate_hz, 0.2, -10.0, 1e6),
    ):
        assert len(events.clip) == 0
        assert events.uniform(2).shape == (0, 2)


def test_a_periodic_event_stays_within_its_jitter_of_a_regular_grid():
    onset_s = periodic_events(torch.tensor([9]), rates(2.0), 0.4, 0.0, 1000.0).onset_s
    assert abs(len(onset_s) - 2000) <= 1
    moved = onset_s * 2 - torch.arange(len(onset_s))
    spread = moved - moved.mean()
    assert spread.abs().max().item() <= 0.21
    # uniform over 0.4: deviation 0.4/sqrt(12)
    assert spread.std().item() == pytest.approx(0.4 / math.sqrt(12), rel=0.05)


def test_marks_are_uniform_and_unrelated_to_when_it_happens():
    events = poisson_events(torch.arange(100), torch.full((100,), 1.0).double(), 0.0, 50.0)
    marks = events.uniform(3)
    for column in marks.T.numpy():
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-4
    fraction = events.onset_s - events.onset_s.floor()
    related = torch.corrcoef(torch.cat([marks.T, fraction[None]])) - torch.eye(4)
    assert related.abs().max().item() < 5 / math.sqrt(len(fraction))


@pytest.mark.parametrize("start", [0, 1, 777])
def test_shapes_are_placed_to_the_fraction_of_a_sample(start):
    """A tone burst that is placed is the burst evaluated at the samples' own times."""
    events = Events(torch.tensor([0, 1, 1]), rates(0.01234567, -0.01, 0.2), torch.arange(3))
    time_s = events.times_s(800, RATE)
    shapes = torch.sin(2 * math.pi * 300 * time_s) * (time_s < 0.05)
    placed = events.place(shapes, torch.zeros(2, 4000), start, RATE)
    clock_s = (start + torch.arange(4000).double()) / RATE
    expected = torch.zeros(2, 4000).double()
    for row, onset_s in ((0, 0.01234567), (1, -0.01), (1, 0.2)):
        since_s = clock_s - onset_s
        inside = (since_s >= 0) & (since_s < 0.05 - 1e-9)
        expected[row] += torch.sin(2 * math.pi * 300 * since_s) * inside
    # the burst's last sample, at exactly 50 ms, has the value sin(30 pi) = 0 either way
    assert torch.allclose(placed, expected, rtol=0, atol=1e-9)
