"""Coupling: how closely bone follows air, simulated less real."""

import math

import numpy as np
import pytest
import torch

from bcsim.metrics import METRICS
from bcsim.metrics.comparison import Comparison
from bcsim.metrics.coupling import (
    BAND_CENTRES_HZ,
    coupling_of,
    envelope_correlations,
    real_coupling,
)
from bcsim.metrics.scores import coupling_metrics

RATE = 16_000


def noise(seed: int) -> torch.Tensor:
    generator = np.random.default_rng([seed, 7])
    time = torch.arange(3 * RATE) / RATE
    envelope = torch.sin(2 * math.pi * 2.2 * time).clamp(min=1e-3)
    return torch.from_numpy(generator.standard_normal(3 * RATE)) * envelope


def compared(simulated, real, air) -> Comparison:
    return Comparison.prepare(simulated, real, RATE, reference=air)


@pytest.mark.parametrize("name", coupling_metrics())
def test_a_simulation_that_follows_air_too_closely_is_above_zero(name):
    """Spectral distances call a copy of air as good as another draw of noise."""
    air = noise(1)
    real = air + noise(2)
    measure = METRICS[name]
    assert measure(compared(air, real, air)) > 0.05
    assert measure(compared(noise(3), real, air)) < -0.05
    assert abs(measure(compared(air + noise(4), real, air))) < 0.03
    assert measure(compared(0.1 * real, real, air)) == pytest.approx(0, abs=1e-6)


def test_the_envelope_correlation_is_that_of_numpy_over_active_frames():
    air, bone = noise(1), noise(1) + noise(2)
    pair = compared(bone, bone, air)
    powers = [
        np.abs(
            np.fft.rfft(
                np.lib.stride_tricks.sliding_window_view(x.numpy(), 512)[::256]
                * np.hanning(513)[:-1]
            )
        )
        ** 2
        for x in (bone - bone.mean(), air - air.mean())
    ]
    # The band around 4 kHz: triangular in mel, with its neighbours' centres as feet.
    band = int(np.argmin(np.abs(np.array(BAND_CENTRES_HZ) - 4000)))
    mels = 2595 * np.log10(1 + np.arange(257) * RATE / 512 / 700)
    low, centre, high = (2595 * math.log10(1 + BAND_CENTRES_HZ[band + k] / 700) for k in (-1, 0, 1))
    weights = np.interp(mels, [low, centre, high], [0, 1, 0])
    own, of_air = (np.sqrt(power @ weights)[pair.active.numpy()] for power in powers)
    found = envelope_correlations(pair.real, pair)
    assert float(found[band]) == pytest.approx(np.corrcoef(own, of_air)[0, 1], abs=1e-5)


def test_a_recording_of_silence_has_no_coupling():
    pair = compared(noise(1), torch.zeros(3 * RATE), noise(1))
    assert envelope_correlations(pair.real, pair).isnan().all()
    assert all(math.isnan(real_coupling(pair, name)) for name in coupling_metrics())


def test_bands_that_a_low_rate_does_not_have_are_unknown():
    generator = np.random.default_rng(3)
    air = torch.from_numpy(generator.standard_normal(24_000))
    pair = Comparison.prepare(air, air, 8000, reference=air)
    known = ~envelope_correlations(pair.real, pair).isnan()
    assert known[:12].all()
    assert not known[-4:].any()
    assert coupling_of(pair.real, pair, "envelope_coupling") == pytest.approx(1)
