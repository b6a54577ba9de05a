"""EBEN's TemporalTransforms, against its own outputs and against closed forms."""

import math

import numpy as np
import pytest
import torch
import torchaudio

from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.crop import Crop
from bcsim.effects.distributions import Constant
from bcsim.effects.edge_fade import EdgeFade
from bcsim.effects.peak_normalize import PeakNormalize
from bcsim.effects.white_noise import WhiteNoise
from bcsim.effects.zero_phase_lowpass import ZeroPhaseLowpass
from bcsim.workflows.presets import resolve_simulator

RATE = 16_000


def apply(effect, signal):
    scene = Scene.from_air(torch.as_tensor(signal, dtype=torch.float64)[None], RATE)
    return effect.apply(scene, stack_draws([effect.sample(0, "clip", "step")]))


def lowpass(cutoff_hz=600.0, q=1.0):
    return ZeroPhaseLowpass(cutoff_hz=Constant(cutoff_hz), q=Constant(q))


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden" / "temporal_transforms.npz")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("key", "effect"),
    [
        ("lowpass_600_1", lowpass(600, 1)),
        ("lowpass_480_1.2", lowpass(480, 1.2)),
        ("smoothing", EdgeFade()),
        ("normalize", PeakNormalize()),
        ("select_part_1s", Crop(duration_s=1.0, position=Constant(0.25))),
    ],
)
def test_every_step_gives_what_the_published_code_gave(golden, key, effect):
    ours = apply(effect, golden["input"]).bone[0].numpy()
    assert np.abs(ours - golden[key]).max() < 1e-5


@pytest.mark.parametrize(
    ("frequency_hz", "gain_db"), [(424, 2.5), (600, 0), (1000, -15.8), (2000, -42.8), (4000, -74)]
)
def test_a_tone_comes_out_at_the_published_response(frequency_hz, gain_db):
    tone = torch.sin(2 * math.pi * frequency_hz / RATE * torch.arange(RATE).double())
    middle = slice(4000, 12_000)
    out = apply(lowpass(), tone).bone[0]
    measured_db = 20 * torch.log10(out[middle].norm() / tone[middle].norm())
    assert abs(measured_db.item() - gain_db) < 0.3


def test_the_lowpass_equals_two_passes_of_torchaudios_biquad(speech):
    padded = torch.nn.functional.pad(speech, (10_000, 10_000), mode="reflect")

    def one_pass(signal):
        return torchaudio.functional.filtering.lfilter(signal, a, b, clamp=False)

    w0 = 2 * math.pi * 600 / RATE
    alpha = math.sin(w0) / 2
    cosine = math.cos(w0)
    b = torch.tensor([(1 - cosine) / 2, 1 - cosine, (1 - cosine) / 2], dtype=torch.float64)
    a = torch.tensor([1 + alpha, -2 * cosine, 1 - alpha], dtype=torch.float64)
    expected = one_pass(one_pass(padded).flip(-1)).flip(-1)[:, 10_000:-10_000]
    scene = Scene.from_air(speech, RATE)
    ours = lowpass().apply(scene, stack_draws([lowpass().sample(0, c, "s") for c in "ab"])).bone
    assert torch.allclose(ours, expected, rtol=0, atol=1e-12)


def test_an_input_above_full_scale_is_not_clamped(speech):
    quiet = apply(lowpass(), speech[0]).bone
    loud = apply(lowpass(), 50 * speech[0]).bone
    assert loud.abs().max() > 1
    assert torch.allclose(loud, 50 * quiet, rtol=1e-12, atol=1e-12)


def test_the_lowpass_delays_nothing(speech):
    out = apply(lowpass(), speech[0]).bone[0]
    lag = np.correlate(out.numpy(), speech[0].numpy(), mode="full").argmax() - (len(out) - 1)
    assert lag == 0


def test_a_clip_shorter_than_the_padding_is_reflected_to_and_fro():
    ramp = torch.linspace(0, 1, 100).double()
    triangle = torch.cat([ramp, ramp[1:-1].flip(0)])
    middle = slice(198 * 100, 198 * 100 + 100)
    expected = apply(lowpass(), triangle.repeat(200)).bone[0, middle]
    assert torch.allclose(apply(lowpass(), ramp).bone[0], expected, rtol=0, atol=1e-12)


def test_noise_has_the_standard_deviation_asked_for(speech):
    scene = apply(WhiteNoise(relative_std=Constant(0.1)), speech[0].repeat(4))
    noise = scene.bone - scene.air
    assert noise.std().item() == pytest.approx(0.1 * scene.air.std().item(), rel=0.02)


def test_fades_are_quadratic_and_meet_full_scale():
    scene = apply(EdgeFade(512), torch.ones(2000))
    ramp = (torch.arange(512).double() / 511) ** 2
    for signal in (scene.air[0], scene.bone[0]):
        assert torch.allclose(signal[:512], ramp)
        assert torch.allclose(signal[-512:], ramp.flip(0))
        assert (signal[512:-512] == 1).all()


def test_peaks_are_clipped_at_the_quantile_and_scaled_to_one(speech):
    scene = apply(PeakNormalize(0.99), speech[0])
    magnitudes = np.sort(speech[0].abs().numpy())
    limit = magnitudes[int(0.99 * len(magnitudes))]
    expected = np.clip(speech[0].numpy(), -limit, limit) / limit
    assert np.abs(scene.bone[0].numpy() - expected).max() < 1e-12


def test_ambient_noise_is_scaled_with_what_the_microphone_picks_up(speech):
    scene = Scene.from_air(speech, RATE).with_ambient(0.1 * speech.roll(3000))
    out = PeakNormalize(0.999).apply(scene, {})
    assert scene.ambient is not None
    assert out.ambient is not None
    factor = out.ambient.norm(dim=-1, keepdim=True) / scene.ambient.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(out.ambient, factor * scene.ambient)
    expected = (factor * (speech + scene.ambient)).clamp(-1, 1)
    torch.testing.assert_close(out.microphone, expected)
    assert out.microphone.abs().max() == 1
    assert out.gains is not None
    torch.testing.assert_close(out.gains["noisy_air"], factor[:, 0])
    torch.testing.assert_close((out.gains["air"][:, None] * speech).clamp(-1, 1), out.air)


def test_the_preset_draws_cutoff_and_q_in_the_published_ranges():
    simulator = resolve_simulator("temporal-transforms").simulator
    draws = [simulator.sample(0, str(k))["zero_phase_lowpass"] for k in range(500)]
    cutoffs = np.array([draw["cutoff_hz"] for draw in draws])
    qs = np.array([draw["q"] for draw in draws])
    assert 480 <= cutoffs.min() < 490
    assert 710 < cutoffs.max() <= 720
    assert 0.8 <= qs.min() < 0.81
    assert 1.19 < qs.max() <= 1.2
    assert abs(np.corrcoef(cutoffs, qs)[0, 1]) < 0.15


def test_the_preset_keeps_length_and_ends_at_peak_one(speech):
    scene = resolve_simulator("temporal-transforms").simulator.render(speech, ["a", "b"], seed=0)
    assert scene.bone.shape == speech.shape
    assert torch.allclose(scene.bone.abs().amax(-1), torch.ones(2).double())
    assert torch.allclose(scene.air.abs().amax(-1), torch.ones(2).double())
