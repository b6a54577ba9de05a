import math
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import conv2d

from bcsim.models.dccrn import DCCRN, ComplexBatchNorm, _Complex
from bcsim.rng import stream

CL = {"widths": (32, 64, 128, 256, 256, 256), "complex_recurrent": True}
SMALL = dict(DCCRN.small)


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(stream(1, "dccrn", *shape).standard_normal(shape))


def test_sizes_are_those_published():
    assert DCCRN().num_parameters == 3_742_349
    assert DCCRN(**CL).num_parameters == 3_671_053
    assert DCCRN(**CL, complex_norm=True).num_parameters == 3_671_053 + 864
    assert DCCRN(**CL, variant="asteroid").num_parameters == 3_669_336


def test_the_public_weights_have_the_same_names_and_shapes():
    """The mask network of JorisCos/DCCRNet_Libri1Mix_enhsingle_16k, told by its structure."""
    parts = ("re_module", "im_module")
    norm = {
        **dict.fromkeys(("weight", "bias", "running_mean", "running_var"), 1),
        "num_batches_tracked": 0,
    }
    expected: dict[str, list[int]] = {}

    def block(name: str, conv: str, shape: list[int], width: int) -> None:
        for part in parts:
            expected[f"{name}.{conv}.{part}.weight"] = shape
            for key, rank in norm.items():
                expected[f"{name}.norm.{part}.{key}"] = [width] * rank
            expected[f"{name}.activation.{part}.weight"] = [1]

    down = [1, 16, 32, 64, 128, 128, 128]
    for number, (narrow, wide) in enumerate(pairwise(down)):
        block(f"encoders.{number}", "conv", [wide, narrow, 5, 2], wide)
    for number, (narrow, wide) in enumerate(pairwise(down[1:])):
        block(f"decoders.{5 - number}", "deconv", [2 * wide, narrow, 5, 2], narrow)
    for part in parts:
        for layer, inputs in enumerate((512, 128)):
            rnn = f"encoders.6.rnn.rnns.{layer}.{part}.rnn"
            sizes = {"weight_ih": [512, inputs], "weight_hh": [512, 128]}
            sizes |= {"bias_ih": [512], "bias_hh": [512]}
            expected |= {f"{rnn}.{name}_l0": shape for name, shape in sizes.items()}
        expected[f"encoders.6.linear.{part}.weight"] = [512, 128]
        expected[f"encoders.6.linear.{part}.bias"] = [512]
        expected[f"output_layer.0.{part}.weight"] = [32, 1, 5, 2]
        expected[f"output_layer.0.{part}.bias"] = [1]
    state = DCCRN(**CL, variant="asteroid").state_dict()
    assert len(expected) == 178
    assert {name: list(value.shape) for name, value in state.items()} == expected


def test_six_layers_look_six_frames_ahead_and_the_causal_form_none():
    """A frame has 400 samples of which the first counts for nothing, and comes every 100."""
    assert DCCRN().latency_samples == 398 + 6 * 100
    assert not DCCRN().causal
    assert DCCRN(causal=True).latency_samples == 398
    assert DCCRN(**CL, variant="asteroid").latency_samples == 398 + 6 * 100


def test_16000_samples_are_163_frames_which_give_them_back():
    frames = DCCRN(**SMALL).frames.double()
    signal = noise(1, 16_000)
    spectra = frames.spectra(signal)
    error = frames.signal(spectra) - signal
    assert spectra.shape == (1, 163, 257)
    assert 10 * math.log10(signal.square().sum() / error.square().sum()) > 120


@pytest.mark.parametrize(
    ("mask", "real", "imaginary", "gain"),
    [
        ("C", 1.0, 0.0, 1.0),
        ("R", 1.0, 1.0, 1.0),
        ("E", 1.0, 0.0, math.tanh(1)),
        ("C", 0.0, 1.0, 1j),
    ],
)
def test_a_constant_mask_does_to_spectra_what_its_rule_says(mask, real, imaginary, gain):
    model = DCCRN(**SMALL, mask=mask).double().eval()
    layer = model.output_layer[0]
    with torch.no_grad():
        for weights in layer.parameters():
            weights.zero_()
        biases = dict(layer.named_parameters())
        biases["re_module.bias"].fill_((real + imaginary) / 2)  # the difference is the real part,
        biases["im_module.bias"].fill_((imaginary - real) / 2)  # the sum the imaginary one
        spectra = torch.complex(noise(1, 1, 9, 257), noise(1, 1, 9, 257))
        found = model.enhance_spectra(spectra)
    torch.testing.assert_close(found[..., 1:], gain * spectra[:, 0, :, 1:], rtol=1e-7, atol=1e-7)
    assert found[..., 0].abs().max() == 0


def test_a_complex_convolution_is_that_of_torchs_complex_numbers():
    layer = _Complex(lambda: torch.nn.Conv2d(3, 2, 3, bias=False)).double()
    parts = noise(2, 1, 3, 6, 5)
    weights = torch.complex(*layer.parameters())
    expected = conv2d(torch.complex(*parts), weights)
    torch.testing.assert_close(torch.complex(*layer(parts)), expected)


def test_a_complex_norm_whitens_what_is_correlated():
    norm = ComplexBatchNorm(3).double()
    white = noise(2, 4, 3, 8, 50)
    parts = torch.stack([2 * white[0] + 1, white[1] - white[0]])
    found = norm(parts)
    real, imaginary = found.transpose(1, 2).flatten(2)
    assert found.mean().abs() < 1e-12
    for part in (real, imaginary):
        variance = part.var(-1, correction=0)
        torch.testing.assert_close(variance, torch.ones_like(variance), rtol=0, atol=5e-4)
    assert (real * imaginary).mean(-1).abs().max() < 1e-4


def test_a_complex_norm_is_evaluated_with_the_statistics_of_training():
    norm = ComplexBatchNorm(2).double()
    parts = 0.3 * noise(2, 4, 2, 8, 50) + 2
    expected = norm(parts)
    for _ in range(300):
        norm(parts)
    torch.testing.assert_close(norm.eval()(parts), expected)
    one = norm(parts[:, :1])
    torch.testing.assert_close(one, expected[:, :1])


@pytest.mark.parametrize(
    "settings",
    [
        {"mask": "D"},
        {"variant": "other"},
        {"variant": "asteroid"},
        {"variant": "asteroid", "complex_recurrent": True, "causal": True},
        {"variant": "asteroid", "complex_recurrent": True, "mask": "C"},
        {"widths": (4, 7)},
        {"widths": ()},
        {"units": 0},
        {"widths": (2,) * 10},
        {"sample_rate": 1},
        {"channels": ("air",)},
    ],
)
def test_what_makes_no_network_is_refused(settings):
    with pytest.raises(ValueError, match=r"dccrn: "):
        DCCRN(**{**SMALL, **settings})
