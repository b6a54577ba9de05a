"""Keep a pair within full scale by turning it down."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene


@EFFECTS.register("peak_limit")
@dataclass(frozen=True)
class PeakLimit(Effect):
    """Scale the signals where one exceeds `peak`, so that nothing clips.

    Args:
        peak: largest magnitude allowed, as a part of full scale.
        together: whether the sensor and the air microphone are scaled by one factor, which keeps
            the level of one relative to the other; else each by its own, as whoever records turns
            down the one that clips. What the air microphone picks up and `air` stay together.
    """

    needs_whole_clip: ClassVar[bool] = True
    limits: ClassVar[Limits] = {"peak": (1e-6, 1e3)}

    peak: float = 1.0
    together: bool = True

    def factors_at_peaks(self, peaks: Mapping[str, float]) -> dict[str, float]:
        at = {name: torch.tensor(value, dtype=torch.float64) for name, value in peaks.items()}
        return {name: float(factor) for name, factor in self._factors(at).items()}

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        signals = scene.signals
        peaks = {name: _peak(signal) for name, signal in signals.items() if name != "ambient"}
        factors = self._factors(peaks)
        factors["ambient"] = factors["air"]
        changed = {
            name: signal * factors[name]
            for name, signal in signals.items()
            if not _is_one(factors[name])  # what is not changed need not be encoded again
        }
        gains = {name: factors[name][:, 0] for name in peaks}
        return replace(scene, **changed).with_gains(gains)

    def _factors(self, peaks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the factor of each signal at its peak."""
        groups = [[*peaks]] if self.together else [["bone"], [n for n in peaks if n != "bone"]]
        factors = {}
        for names in groups:
            largest = torch.stack([peaks[name] for name in names]).amax(dim=0)
            factors |= dict.fromkeys(names, self.peak / largest.clamp(min=self.peak))
        return factors


def _is_one(factor: Tensor) -> bool:
    """Tell whether a factor of a batch changes nothing; a GPU is not waited for to know."""
    return factor.device.type == "cpu" and bool((factor == 1).all())


def _peak(signal: Tensor) -> Tensor:
    return torch.maximum(signal.amax(dim=-1, keepdim=True), -signal.amin(dim=-1, keepdim=True))
