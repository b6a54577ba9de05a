"""Recorded pairs that effects change whenever they are asked for, as if there were more of them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from bcsim.datasets.pairs import Pair, Pairs
from bcsim.effects.base import Scene
from bcsim.simulator import Simulator

MARGIN = 1.25  # of the length that is read: a pair that is played faster gets shorter


class AugmentedPairs(Pairs):
    """Pairs whose crops effects change: every epoch has other draws. Whole pairs stay as they are.

    A quarter more than is wanted is read, so that speeds of up to 1.25 leave no silence behind.

    Args:
        pairs: pairs that are changed.
        simulator: effects that change them; the pairs have its sample rate.
    """

    def __init__(self, pairs: Pairs, simulator: Simulator) -> None:
        super().__init__(pairs.ids, pairs.sample_rate, pairs.seed)
        self.pairs, self.simulator = pairs, simulator
        self.channels, self.failures = pairs.channels, pairs.failures

    def with_channels(self, channels: tuple[str, ...]) -> Self:
        return type(self)(self.pairs.with_channels(channels), self.simulator)

    def crop(self, index: int, epoch: int, num_samples: int) -> Pair:
        return self.crops([(index, epoch)], num_samples)[0]

    def crops(self, picks: Sequence[tuple[int, int]], num_samples: int) -> list[Pair]:
        pairs = self.pairs.crops(picks, math.ceil(MARGIN * num_samples))
        names = [f"{self.ids[index]}@{epoch}" for index, epoch in picks]
        draws = [self.simulator.sample(self.seed, name) for name in names]
        changed = []
        # One at a time: only some of the pairs may have a noisy_air.
        for pair, draw in zip(pairs, draws, strict=True):
            scene = Scene.from_air(pair.air[None], self.sample_rate).with_bone(pair.bone[None])
            if pair.noisy_air is not None:
                scene = replace(scene, noisy_air=pair.noisy_air[None])
            with torch.inference_mode():
                scene = self.simulator.apply(scene, [draw])
            has_noise = "air" in self.channels
            noisy_air = _fitted(scene.noisy_air, num_samples) if has_noise else None
            air, bone = (_fitted(signal, num_samples) for signal in (scene.air, scene.bone))
            changed.append(replace(pair, air=air, bone=bone, noisy_air=noisy_air))
        return changed

    def whole(self, index: int) -> Pair:
        return self.pairs.whole(index)

    def num_without_noise(self, num_samples: int) -> int:
        return self.pairs.num_without_noise(num_samples)


def _fitted(signal: Tensor | None, num_samples: int) -> Tensor | None:
    """Return a signal (1, T) as (num_samples,), cut or with zeros behind."""
    if signal is None:
        return None
    return pad(signal[0].float(), (0, num_samples - signal.shape[-1])).clone()
