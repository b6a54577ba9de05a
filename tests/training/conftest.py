"""A small run on pairs in memory: modulated noise, and the same through a low-pass."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import signal

from bcsim.datasets.pairs import Pair, Pairs
from bcsim.rng import stream
from bcsim.training.config import (
    DataConfig,
    LoopConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
    ValidationConfig,
)


class MemoryPairs(Pairs):
    """Pairs made on the spot; those listed in `broken` hold a NaN."""

    def __init__(self, num_items: int, broken: frozenset[str] = frozenset()) -> None:
        super().__init__([f"talker/{n:03d}" for n in range(num_items)], 16_000, seed=3)
        self.broken = broken

    def crop(self, index: int, epoch: int, num_samples: int) -> Pair:
        pair = self.whole(index)
        start = self.crop_start(index, epoch, len(pair.air), num_samples)
        cut = slice(start, start + num_samples)
        return Pair(pair.id, pair.air[cut], pair.bone[cut], pair.sample_rate)

    def whole(self, index: int) -> Pair:
        name = self.ids[index]
        air, bone = (torch.from_numpy(samples).float() for samples in _recorded(name, index))
        return Pair(name, air, bone * np.nan if name in self.broken else bone, 16_000)


@functools.cache  # every crop is cut out of it
def _recorded(name: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    time_s = np.arange(20_000) / 16_000
    envelope = np.clip(np.sin(2 * np.pi * (2 + index) * time_s), 0.01, None)
    air = 0.1 * envelope * stream(3, name).standard_normal(len(time_s))
    sections = signal.butter(2, 1000, fs=16_000, output="sos")
    return air, np.asarray(signal.sosfilt(sections, air))


@pytest.fixture(scope="session")
def pairs() -> MemoryPairs:
    return MemoryPairs(5)


@pytest.fixture(scope="session")
def config() -> TrainingConfig:
    return TrainingConfig(
        model={"name": "eben", "width": 2, "latent": 2},
        losses=[
            {"name": "l1", "weight": 10.0},
            {
                "name": "multi_resolution_stft",
                "fft_sizes": [256],
                "hop_sizes": [64],
                "win_lengths": [256],
            },
        ],
        training=LoopConfig(
            num_steps=7,
            gradient_clip_norm=1.0,
            ema_decay=0.9,
            device="cpu",
            log_interval_steps=2,
            checkpoint_interval_steps=3,
        ),
        optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=0.01),
        schedule=ScheduleConfig(name="cosine", warmup_steps=2),
        data=DataConfig(crop_s=0.25, batch_size=2, num_workers=0),
        validation=ValidationConfig(interval_steps=4, num_items=2, max_item_s=1.0, num_samples=1),
        seed=11,
    )


@pytest.fixture
def changed(config) -> Callable[..., TrainingConfig]:
    """Return the config with other values: `changed(seed=1, training={"num_steps": 2})`."""

    def change(**sections: Any) -> TrainingConfig:
        values = {
            name: replace(getattr(config, name), **value) if name in nested else value
            for name, value in sections.items()
        }
        return replace(config, **values)

    nested = {"training", "optimizer", "schedule", "data", "validation"}
    return change
