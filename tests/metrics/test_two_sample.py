import math

import numpy as np
import pytest
import torch

from bcsim.metrics.comparison import Comparison
from bcsim.metrics.two_sample import separability, two_sample_test

RATE = 16_000


def signals(seed: int, tilt: float) -> torch.Tensor:
    generator = np.random.default_rng([seed, 9])
    white = torch.from_numpy(generator.standard_normal(2 * RATE))
    spectrum = torch.fft.rfft(white)
    shape = torch.linspace(1, 0, len(spectrum), dtype=torch.float64) ** tilt
    return torch.fft.irfft(spectrum * shape, len(white))


def pairs(simulated_tilt: float) -> list[Comparison]:
    return [
        Comparison.prepare(signals(k, simulated_tilt), signals(100 + k, 1.0), RATE)
        for k in range(8)
    ]


TALKERS = [f"talker {k // 2}" for k in range(8)]


def test_what_is_drawn_alike_cannot_be_told_apart():
    result = two_sample_test(pairs(1.0), TALKERS)
    assert result.accuracy == pytest.approx(0.5, abs=0.06)
    assert result.null == pytest.approx(0.5, abs=0.06)


def test_what_differs_can():
    result = two_sample_test(pairs(4.0), TALKERS)
    assert result.accuracy > 0.9
    assert result.null == pytest.approx(0.5, abs=0.06)


def test_the_test_is_the_same_every_time():
    assert two_sample_test(pairs(1.2), TALKERS) == two_sample_test(pairs(1.2), TALKERS)


def test_folds_go_by_talker():
    """Frames that betray their talker, not their origin: learned by heart, of no use elsewhere."""
    generator = np.random.default_rng(1)
    samples, labels, groups = [], [], []
    for talker in range(8):
        for label in (0, 1):
            sign = 1 if (talker + label) % 2 else -1
            where = np.array([10 * talker, 5 * sign])
            samples.append(generator.standard_normal((60, 2)) + where)
            labels.append(label)
            groups.append(str(talker))
    assert separability(samples, labels, groups) < 0.7


def test_one_talker_is_too_few():
    result = two_sample_test(pairs(1.0)[:2], ["anna", "anna"])
    assert math.isnan(result.accuracy)
    assert math.isnan(result.null)
