import json

import numpy as np
import pytest
import torch

from bcsim.dsp.randomness import torch_stream
from bcsim.models.eben import EQUALIZER_PACE, EBENGenerator


@pytest.fixture
def golden(shared):
    return np.load(shared / "golden/eben_p1.npz")


def golden_weights(golden) -> dict[str, torch.Tensor]:
    """Make the weights as ../shared/golden/README.md says."""
    weights = {}
    shapes = json.loads(str(golden["generator_shapes"]))
    for index, key in enumerate(sorted(shapes)):
        drawn = np.random.default_rng([int(golden["seed"]), index]).standard_normal(shapes[key])
        if key.startswith("pqmf."):
            drawn = golden[key.replace(".", "_")]
        elif key.endswith("original0"):
            drawn = 1 + 0.1 * drawn
        elif not key.endswith("original1"):
            drawn = 0.1 * drawn
        weights[key] = torch.tensor(drawn, dtype=torch.float32)
    return weights


@pytest.mark.shared
@torch.no_grad()
def test_published_weights_give_the_published_outputs(golden):
    model = EBENGenerator(4, 32, 1)
    model.load_state_dict(golden_weights(golden))
    cut = torch.tensor(golden["input"])[None, None, : int(golden["valid_length"])]
    speech, bands = model.forward_with_bands(cut)
    np.testing.assert_allclose(model.pqmf.analysis(cut)[0], golden["analysis"], atol=1e-5)
    np.testing.assert_allclose(bands[0], golden["bands"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(speech[0, 0], golden["speech"], rtol=0, atol=1e-5)
    assert torch.equal(model(cut), speech)


@pytest.mark.shared
def test_the_state_dict_is_that_of_the_published_checkpoints(golden):
    shapes = {key: list(value.shape) for key, value in EBENGenerator().state_dict().items()}
    assert shapes == json.loads(str(golden["generator_shapes"]))
    assert len(shapes) == 92


@pytest.mark.shared
@torch.no_grad()
def test_checkpoints_with_the_older_weight_norm_load_as_well(golden):
    """Early EBEN checkpoints hold `weight_g` and `weight_v` where later ones are parametrised."""
    weights = golden_weights(golden)
    older = {
        key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for key, value in weights.items()
    }
    assert "latent_conv.1.weight_g" in older
    model = EBENGenerator(4, 32, 1)
    model.load_state_dict(older)
    assert all(torch.equal(model.state_dict()[key], weights[key]) for key in weights)


@pytest.mark.parametrize(("p", "count"), [(1, 1_946_144), (2, 1_946_240), (4, 1_946_432)])
def test_sizes_are_those_published(p, count):
    model = EBENGenerator(4, 32, p)
    assert model.num_parameters == count
    assert sum(value.nbytes for value in model.state_dict().values()) == 4 * count


def test_valid_lengths_are_those_published():
    model = EBENGenerator()
    assert model.valid_length(47_840) == 47_840
    assert model.valid_length(47_841) == 48_096
    assert model.valid_length(15_840) == 15_840
    speech, bands = model.forward_with_bands(torch.zeros(1, 1, 47_840))
    assert speech.shape == (1, 1, 47_840)
    assert bands.shape == (1, 4, 11_968)


def test_an_output_depends_on_the_published_6340_inputs_at_most():
    model = EBENGenerator(width=2, latent=2).double()
    x = torch.rand(1, 1, model.valid_length(16_000), dtype=torch.float64, requires_grad=True)
    y = model(x)
    spans = []
    for t in range(8192, 8192 + model.frame_samples):
        (gradient,) = torch.autograd.grad(y[0, 0, t], x, retain_graph=True)
        touched = gradient[0, 0].nonzero()
        spans.append(int(touched.max() - touched.min()) + 1)
    assert max(spans) == 6340


def test_the_causal_form_waits_for_its_frame_and_the_filters_of_its_bands():
    """Strides of 64 bands' samples at a quarter of the rate, and 32 taps less a step of 4."""
    published, causal = (
        EBENGenerator(width=2, latent=2),
        EBENGenerator(width=2, latent=2, causal=True),
    )
    assert (published.latency_samples, causal.latency_samples) == (3163, 256 + 32 - 4 - 1)
    assert causal.causal
    assert published.state_dict().keys() == causal.state_dict().keys()
    assert published.num_parameters == causal.num_parameters


def test_the_published_form_refuses_lengths_that_it_would_cut():
    with pytest.raises(ValueError, match="the next length that does is 16096"):
        EBENGenerator(width=2, latent=2).forward_with_bands(torch.zeros(1, 1, 16_000))


@torch.no_grad()
def test_without_a_network_the_input_bands_come_back():
    """tanh(0 + band) of a quiet signal is the band itself, and p = m bands are all of it."""
    model = EBENGenerator(4, 32, 4, width=2, latent=2).double()
    model.last_conv.weight.zero_()
    generator = np.random.default_rng(0)
    quiet = torch.from_numpy(1e-4 * generator.standard_normal((1, 1, 8000)))
    out = model(quiet)
    inside = slice(64, -64)
    error = (out - quiet)[..., inside].square().sum() / quiet[..., inside].square().sum()
    assert 10 * torch.log10(error).item() == pytest.approx(-49.1, abs=0.5)


@torch.no_grad()
def test_the_equalizer_stands_in_for_the_identity():
    """A single tap of minus one in every band, and no network, inverts the signal."""
    model = EBENGenerator(4, 32, 4, width=2, latent=2, equalizer_taps=1).double()
    assert model.equalizer is not None
    model.last_conv.weight.zero_()
    model.equalizer.weight.copy_(-torch.eye(4)[..., None] / EQUALIZER_PACE)
    quiet = 1e-4 * torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 8000)))
    without = EBENGenerator(4, 32, 4, width=2, latent=2).double()
    without.last_conv.weight.zero_()
    torch.testing.assert_close(model(quiet), -without(quiet))


@pytest.mark.parametrize(
    "sizes",
    [{"equalizer_taps": 2}, {"equalizer_taps": 999}, {"p": 0}, {"p": 5}, {"width": 0}, {"n": 30}],
)
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match=r"wants|have to be positive"):
        EBENGenerator(**sizes)


def test_the_initial_gain_keeps_the_size_of_what_goes_through():
    """As torch draws them, the first weights leave a thousandth of the speech at the bottleneck."""
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 15_840)))
    sizes = {}
    for gain in (1.0, 2.2):
        with torch_stream(1, "weights"):
            model = EBENGenerator(4, 32, 4, width=16, latent=32, initial_gain=gain).double()
        hidden = []
        model.latent_conv.register_forward_hook(lambda _, __, out, seen=hidden: seen.append(out))
        with torch.no_grad():
            model(noise)
            sizes[gain] = (hidden[0].std() / model.pqmf.analysis(noise).std()).item()
    assert sizes[1.0] < 0.05
    assert 0.3 < sizes[2.2] < 3
