"""What every registered model has to do, whoever wrote it."""

import inspect
import json
from collections.abc import Callable
from functools import cache

import pytest
import torch

from bcsim.models import MODELS
from bcsim.models.base import Enhancer
from bcsim.models.eben import EBENGenerator
from bcsim.models.spectral import SpectralEnhancer
from bcsim.models.storage import build_enhancer, load_enhancer, save_enhancer
from bcsim.rng import stream

# Every model at the small size that it declares, and what else of it has a path of its own.
VARIANTS = [
    {
        "name": "deep_feature_denoiser",
        **MODELS["deep_feature_denoiser"].small,
        "statistics": "running",
        "causal": True,
    },
    {"name": "hifigan_bwe", **MODELS["hifigan_bwe"].small, "weight_norm": False},
    {"name": "hifigan_vocoder", **MODELS["hifigan_vocoder"].small, "paired": False},
    {
        "name": "hifigan_vocoder",
        **MODELS["hifigan_vocoder"].small,
        "strides": [8, 8],
        "mapper_units": 3,
    },
    {"name": "eben", "width": 2, "latent": 4, "equalizer_taps": 65},
    {
        **{"name": "envelope_mapper", "causal": True},
        **{"gain_scale": 0.7, "expansion": 0.1, "band_smoothing": 0.25},
        **MODELS["envelope_mapper"].small,
    },
    {"name": "conv_mapper", "causal": True, **MODELS["conv_mapper"].small},
    {"name": "eben", "width": 2, "latent": 4, "equalizer_taps": 65, "causal": True},
    {"name": "eben", "m": 2, "n": 16, "p": 2, "width": 2, "latent": 4},
    {
        **{"name": "dccrn", "mask": "C", "causal": True, "channels": ["bone", "air"]},
        **{"complex_norm": True, "complex_recurrent": True, **MODELS["dccrn"].small},
    },
    {
        **{"name": "dccrn", "variant": "asteroid", "complex_recurrent": True},
        **MODELS["dccrn"].small,
    },
    {"name": "blstm_mapping", "statistics": "utterance", **MODELS["blstm_mapping"].small},
    {"name": "seanet", "width": 4, "latent": 4, "causal": True, "weight_norm": False},
    {"name": "crn", "channels": ["bone", "air"], **MODELS["crn"].small},
    {"name": "gated_fusion", "fusion": "late", "causal": True, **MODELS["gated_fusion"].small},
    {"name": "feature_fusion", "causal": True, **MODELS["feature_fusion"].small},
    {"name": "gcrn", "channels": ["bone", "air"], **MODELS["gcrn"].small},
    {"name": "spectrum_copy", "causal": True, **MODELS["spectrum_copy"].small},
    {"name": "spectrum_copy", "mode": "fold", "mask_layers": 0, "equalizer_bands": 6},
    {"name": "seanet", "width": 2, "latent": 4, "channels": ["bone", "air"], "strides": [2, 4]},
]
SMALL = [*({"name": name, **MODELS[name].small} for name in MODELS), *VARIANTS]


def signal(model: Enhancer, batch: int, num_samples: int) -> torch.Tensor:
    shape = (batch, len(model.channels), num_samples)
    noise = stream(1, "models", *shape).standard_normal(shape)
    return torch.from_numpy(0.1 * noise).to(next(model.parameters()).dtype)


@pytest.fixture(scope="module", params=SMALL, ids=str)
def model(request) -> Enhancer:
    return build_enhancer(request.param, seed=1).eval()


@pytest.fixture(params=SMALL, ids=str)
def small_model(request) -> Enhancer:
    return build_enhancer(request.param, seed=1).double().eval()


@torch.no_grad()
@pytest.mark.parametrize("num_samples", [0, 1, 2, 255, 256, 991, 4000])
def test_any_length_comes_out_as_it_went_in(model, num_samples):
    out = model(signal(model, 2, num_samples))
    assert out.shape == (2, 1, num_samples)
    assert out.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_the_default_size_takes_an_odd_length_too(name):
    model = build_enhancer({"name": name}, seed=1).eval()
    out = model(signal(model, 1, 2501))
    assert out.shape == (1, 1, 2501)
    assert out.isfinite().all()


@torch.no_grad()
def test_a_row_is_enhanced_as_it_would_be_alone(model):
    batch = signal(model, 3, 3000)
    alone = torch.cat([model(row[None]) for row in batch])
    torch.testing.assert_close(model(batch), alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_model_runs_in_half_precision_where_that_is_safe(model):
    with torch.autocast("cpu", torch.bfloat16):
        out = model(signal(model, 1, 3000))
    assert out.float().isfinite().all()


@torch.no_grad()
def test_silence_gives_finite_samples(model):
    assert model(torch.zeros_like(signal(model, 1, 2000))).isfinite().all()


@torch.no_grad()
def test_no_sample_depends_on_one_beyond_the_declared_latency(model):
    if model.latency_samples is None:
        return
    before = signal(model, 1, model.valid_length(20_000))
    changed_at = 12_345
    after = before.clone()
    after[..., changed_at:] += 1
    first = changed_at - model.latency_samples
    assert first > 0
    same, changed = model(before)[..., :first], model(after)[..., :first]
    torch.testing.assert_close(same, changed, rtol=0, atol=1e-6)


def test_gradients_reach_as_far_as_declared_and_no_further(small_model):
    model = small_model
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.01  # a filter that is not fitted yet reaches nowhere
    history, look_ahead = model.history_samples, model.latency_samples
    # Without bound: some frames, of which all but the farthest of the past have to be reached.
    middle = ((history or 8000) // model.frame_samples + 1) * model.frame_samples
    length = model.valid_length(middle + model.frame_samples + (look_ahead or 8000) + 1)
    x = signal(model, 1, length).requires_grad_()
    y = model(x)

    @cache
    def reach(t: int) -> tuple[int, int]:
        """The first and the last sample of the input that sample t of the output depends on."""
        (gradient,) = torch.autograd.grad(y[0, 0, t], x, retain_graph=True)
        touched = gradient.abs().sum(dim=(0, 1)).nonzero()
        return int(touched.min()), int(touched.max())

    times = within(reach, middle, middle + model.frame_samples - 1)
    back, ahead = (max(t - reach(t)[0] for t in times), max(reach(t)[1] - t for t in times))
    assert back == history if history is not None else back > 4000
    assert ahead == look_ahead if look_ahead is not None else ahead > 4000


def within(reach: Callable[[int], tuple[int, int]], first: int, last: int) -> list[int]:
    """The times between which nothing new is reached: both ends move on with time, or stand."""
    if last - first < 2 or reach(first) == reach(last):
        return [first, last]
    middle = (first + last) // 2
    return within(reach, first, middle) + within(reach, middle, last)


def test_a_causal_model_waits_for_its_frame_or_window_alone(model):
    if model.causal:
        spectral = isinstance(model, SpectralEnhancer)
        # Windows that begin or end with zeros look ahead by less than their length.
        window = model.frames.look_ahead + 1 if spectral else model.frame_samples
        if isinstance(model, EBENGenerator):  # and for the filters of its bands
            window += model.pqmf.num_taps - model.pqmf.num_bands
        assert model.latency_samples == window - 1


@torch.no_grad()
def test_a_delay_by_a_frame_delays_the_output(small_model):
    model = small_model
    if model.history_samples is None:
        return  # what lies before the cut is never forgotten
    whole = signal(model, 1, model.valid_length(24_000))
    cut = model.frame_samples * 3
    late, early = model(whole)[..., cut:], model(whole[..., cut:])
    inside = slice(model.history_samples, late.shape[-1] - model.latency_samples)
    assert late[..., inside].shape[-1] > 1000
    torch.testing.assert_close(late[..., inside], early[..., inside], rtol=0, atol=1e-12)


def test_a_wrong_number_of_channels_is_refused(model):
    with pytest.raises(ValueError, match="it wants"):
        model(torch.zeros(1, len(model.channels) + 1, 512))
    with pytest.raises(ValueError, match="it wants"):
        model(torch.zeros(1, 512))


def test_every_weight_learns_or_is_frozen_on_purpose(small_model):
    small_model(signal(small_model, 1, 4096)).square().sum().backward()
    for name, weights in small_model.named_parameters():
        if weights.requires_grad:
            assert weights.grad is not None, name
            assert weights.grad.isfinite().all(), name


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_a_default_and_a_type(name):
    for parameter in list(inspect.signature(MODELS[name]).parameters.values()):
        assert parameter.default is not inspect.Parameter.empty
        assert parameter.annotation is not inspect.Parameter.empty


@torch.no_grad()
def test_a_saved_model_is_the_same_model(small_model, tmp_path):
    model = small_model.float()
    save_enhancer(tmp_path, model, {})
    loaded = load_enhancer(tmp_path)
    x = signal(model, 1, 3000)
    assert torch.equal(loaded(x), model(x))
    assert json.loads((tmp_path / "config.json").read_text())["model"].keys() == {
        "name",
        *inspect.signature(type(model)).parameters,
    }


@pytest.mark.parametrize("spec", [{"name": name, **MODELS[name].small} for name in MODELS], ids=str)
def test_the_seed_decides_the_weights_and_nothing_else_does(spec):
    first = build_enhancer(spec, seed=1).state_dict()
    torch.rand(7)
    again, other = build_enhancer(spec, seed=1).state_dict(), build_enhancer(spec, 2).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
