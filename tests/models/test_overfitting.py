"""Every registered model learns one short clip by heart: gradients lead where they should."""

import math

import pytest
import torch
from torch import Tensor

from bcsim.dsp.randomness import torch_stream
from bcsim.models import MODELS
from bcsim.models.base import Enhancer
from bcsim.models.storage import build_enhancer
from bcsim.recipe import read_yaml
from bcsim.workflows.presets import bundled_recipes

RATE, NUM_SAMPLES = 16_000, 4096
MAX_STEPS, FALL = 200, 10
# Of the others, the size is that of the recipe NAME-small or, without one, of the class.
SIZES = {
    "hifigan_bwe": {"width": 16, "num_layers": 4},
    "seanet": {"width": 8, "latent": 32},
}
LEARNING_RATES = {"crn": 0.01, "hifigan_bwe": 0.01, "hifigan_vocoder": 0.01}  # else 0.003


def spec_of(name: str) -> dict[str, object]:
    path = bundled_recipes("training").get(f"{name}-small")
    if name in SIZES or path is None:
        return {"name": name, **SIZES.get(name, MODELS[name].small)}
    return read_yaml(path)["model"]


def clip(channels: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Return input (1, C, T) and target (1, 1, T): a voice, for the sensor without its highs.

    Each of 49 harmonics of 150 Hz rises and falls by itself. The sensor's response has no phase,
    so that networks which keep the sensor's phase can give air back.
    """
    time_s, number = torch.arange(NUM_SAMPLES) / RATE, torch.arange(1, 50)[:, None]
    envelopes = 0.5 + 0.5 * torch.sin(2 * math.pi * 4 * time_s + 0.3 * number)
    harmonics = torch.sin(2 * math.pi * 150 * number * time_s + 0.7 * number.square())
    air = (envelopes * harmonics).sum(0)
    air *= 0.1 / air.square().mean().sqrt()
    frequencies = torch.fft.rfftfreq(NUM_SAMPLES, 1 / RATE)
    response = 0.1 + 0.9 / (1 + (frequencies / 800) ** 4)
    hum = 0.05 * torch.sin(2 * math.pi * 1100 * time_s)
    signals = {"bone": torch.fft.irfft(torch.fft.rfft(air) * response), "air": air + hum}
    return torch.stack([signals[channel] for channel in channels])[None], air[None, None]


def error(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the squared error of magnitudes, relative to the target's."""
    found, wanted = (
        torch.stft(x[:, 0], 512, 128, window=torch.hann_window(512), return_complex=True).abs()
        for x in (estimate, target)
    )
    return (found - wanted).square().sum() / wanted.square().sum()


def steps_to_fall(model: Enhancer, rate: float, max_steps: int = MAX_STEPS) -> int | None:
    """Return the number of steps after which the error is a tenth, or None if it never is."""
    signals, target = clip(model.channels)
    if model.num_statistics_pairs:
        model.fit_statistics([(signals, target)] * model.num_statistics_pairs)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    wanted = 0.0
    for step in range(max_steps):
        with torch_stream(0, "dropout", step):
            found = error(model(signals), target)
        if step == 0:
            wanted = found.item() / FALL
        if found.item() < wanted:
            return step
        optimizer.zero_grad()
        found.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return None


@pytest.mark.parametrize("name", MODELS)
def test_a_model_learns_one_clip_by_heart(name):
    model = build_enhancer(spec_of(name), seed=1).train()
    assert steps_to_fall(model, LEARNING_RATES.get(name, 0.003)) is not None


def test_a_network_that_does_not_learn_is_found_out():
    model = build_enhancer(spec_of("micro_crn"), seed=1).train()
    assert steps_to_fall(model, 0.003, max_steps=10) is not None
    model = build_enhancer(spec_of("micro_crn"), seed=1).train()
    for weights in model.parameters():
        weights.register_hook(torch.zeros_like)
    assert steps_to_fall(model, 0.003, max_steps=10) is None
