"""Kinds of sounds, found in signals whose kinds are known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcsim.reports.speech_kinds import speech_kinds
from bcsim.sensors.responses.base import SpeechResponse
from bcsim.sensors.responses.residual import Residual

RATE = 16_000


@dataclass(frozen=True, eq=False)
class TreblePays(SpeechResponse):
    """Minus 12 dB for frames with more level above 2 kHz than below, plus 6 dB for others."""

    def predict(self, levels_db: Tensor, num_frames: Tensor) -> Tensor:
        power = 10 ** (levels_db / 10)
        treble = self.bank.centres_hz > 2000
        bright = power[..., treble].sum(-1) > power[..., ~treble].sum(-1)
        return torch.where(bright, -12.0, 6.0)[..., None].expand(levels_db.shape)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def from_arrays(
        cls, common: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> "TreblePays":
        return cls(**common)


def turns(seed: int) -> NDArray[np.float64]:
    """Three quarters of low noise, then one quarter of high noise, a second in all."""
    white = np.random.default_rng([seed, 12]).standard_normal(RATE)
    low, high = (
        np.asarray(
            scipy.signal.sosfilt(scipy.signal.butter(4, hz, kind, fs=RATE, output="sos"), white)
        )
        for hz, kind in ((700, "low"), (3500, "high"))
    )
    return np.where(np.arange(RATE) < 0.75 * RATE, low / low.std(), high / high.std())


def test_low_and_high_sounds_are_told_apart_with_what_each_gets():
    speech = TreblePays(RATE, 0.0, residual=None)
    low, high = speech_kinds(speech, [turns(k) for k in range(3)], count=2)
    assert low.centroid_hz < 700
    assert high.centroid_hz > 4000
    assert low.share == pytest.approx(0.75, abs=0.03)
    assert low.share + high.share == pytest.approx(1)
    # A frame or two on each boundary are of both kinds.
    np.testing.assert_allclose(low.gains_db, 6.0, atol=0.6)
    np.testing.assert_allclose(high.gains_db, -12.0, atol=1.5)


def test_kinds_do_not_depend_on_chance_and_pauses_have_none():
    speech = TreblePays(RATE, 0.0, residual=Residual(np.eye(40), 0.5, 0.0))
    first, second = (speech_kinds(speech, [turns(1)]) for _ in range(2))
    assert [kind.centroid_hz for kind in first] == [kind.centroid_hz for kind in second]
    assert speech_kinds(speech, [np.zeros(RATE)]) == []
