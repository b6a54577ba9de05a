import numpy as np
import pytest
import torch

from bcsim.models.feature_fusion import FeatureFusion


def build(**config: bool) -> FeatureFusion:
    torch.manual_seed(0)
    return FeatureFusion(**FeatureFusion.small, **config).double().eval()


def signals() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((1, 2, 8192)))


@torch.no_grad()
def test_a_mask_attenuates_the_microphone_and_never_raises():
    model = build()
    model.mask.weight.zero_()
    model.mask.bias.fill_(100)
    torch.testing.assert_close(model(signals()), signals()[:, 1:])
    model.mask.bias.fill_(-100)
    assert model(signals()).abs().max() < 1e-12


@torch.no_grad()
def test_the_network_sees_how_periodic_the_sensor_is_with_pitch_alone():
    """Noise through a comb of 200 Hz has the voicing of a voice; its band levels hardly differ."""
    model = build()
    noise = np.random.default_rng(1).standard_normal(8192)
    comb = np.copy(noise)
    for t in range(80, len(comb)):
        comb[t] += 0.9 * comb[t - 80]
    bones = torch.from_numpy(np.stack([noise, comb]))[:, None]
    spectra = model.frames.spectra(bones)[:, 0]
    octaves, change, voicing = model._of_pitch(spectra).unbind(-1)
    assert voicing[1, 4:-4].mean() > 2 * voicing[0, 4:-4].mean()
    f0_hz = 150 * 2 ** (octaves[1, 8:-2] / voicing[1, 8:-2])
    assert (f0_hz - 200).abs().median() < 4
    assert change[:, :2].abs().max() == 0
    assert build(with_pitch=False).num_parameters < model.num_parameters


@torch.no_grad()
@pytest.mark.parametrize("gain_db", [-12, 12])
def test_the_gain_of_the_sensor_does_not_matter(gain_db):
    model, louder = build(), signals()
    louder[:, 0] *= 10 ** (gain_db / 20)
    torch.testing.assert_close(model(louder), model(signals()), rtol=0, atol=1e-5)


def test_sizes_that_make_no_network_are_refused():
    with pytest.raises(ValueError, match="have to be positive"):
        FeatureFusion(width=0)
    with pytest.raises(ValueError, match="f_min_hz 70"):
        FeatureFusion(hop_size=64)
