import pytest
import torch

from bcsim.models.band_gains import MIDDLE_DB, SCALE_DB, band_average
from bcsim.models.envelope_mapper import EnvelopeMapper
from bcsim.rng import stream


def mapper(
    output_bands: int = 6,
    gain_scale: float = 1.0,
    expansion: float = 0.0,
    band_smoothing: float = 0.0,
) -> EnvelopeMapper:
    """A mapper of small drawn weights, the same ones whatever its settings are."""
    model = EnvelopeMapper(
        width=4,
        input_bands=8,
        output_bands=output_bands,
        gain_scale=gain_scale,
        expansion=expansion,
        band_smoothing=band_smoothing,
    ).double()
    draws = stream(0, "mapper")
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(torch.from_numpy(0.1 * draws.standard_normal(weights.shape)))
    return model


def noise() -> torch.Tensor:
    return torch.from_numpy(0.1 * stream(1, "noise").standard_normal((1, 1, 4096)))


@torch.no_grad()
def test_a_gain_scale_of_0_gives_the_sensor_as_it_is():
    assert torch.allclose(mapper(gain_scale=0.0).eval()(noise()), noise(), atol=1e-12)


@torch.no_grad()
def test_half_the_gain_in_db_is_applied_where_the_scale_is_a_half():
    """One band has one gain a frame: the spectra of the output then tell the gains in dB."""
    whole, half = mapper(output_bands=1), mapper(output_bands=1, gain_scale=0.5)
    spectra = whole.frames.spectra(noise())
    gains = [model.eval().enhance_spectra(spectra) / spectra[:, 0] for model in (whole, half)]
    gains_db = [20 * gain.abs().log10() for gain in gains]
    assert gains_db[0].abs().mean() > 1
    assert torch.allclose(gains_db[1], 0.5 * gains_db[0], atol=1e-6)


@torch.no_grad()
def test_bands_that_are_predicted_to_be_soft_are_turned_down_further():
    """A network whose weights are 0 predicts its biases: 10 dB below the middle, here."""
    model = mapper(gain_scale=0.0, expansion=0.2).eval()
    for weights in model.parameters():
        weights.zero_()
    model.levels.bias.fill_((MIDDLE_DB - 10) / SCALE_DB)
    assert torch.allclose(model(noise()), 10 ** (-0.2 * 10 / 20) * noise(), atol=1e-9)


@torch.no_grad()
def test_training_sees_the_gains_as_predicted():
    plain, careful = mapper().train(), mapper(gain_scale=0.7, expansion=0.1).train()
    assert torch.equal(plain(noise()), careful(noise()))
    assert not torch.allclose(plain.eval()(noise()), careful.eval()(noise()))


def test_bands_are_averaged_with_their_neighbours():
    gains = torch.tensor([4.0, 0.0, 0.0, 8.0])
    assert (gains @ band_average(4, 0.25)).tolist() == [3.0, 1.0, 2.0, 6.0]
    assert (gains @ band_average(4, 0.0)).tolist() == gains.tolist()


@pytest.mark.parametrize(
    "settings", [{"gain_scale": 1.1}, {"expansion": 2.0}, {"band_smoothing": -0.1}]
)
def test_settings_beyond_their_range_are_refused(settings):
    with pytest.raises(ValueError, match=r"it wants 0 to"):
        mapper(**settings)


@torch.no_grad()
def test_a_reduced_network_applies_a_part_of_every_gain():
    torch.manual_seed(0)
    mapper = EnvelopeMapper(**EnvelopeMapper.small, gain_scale=0.8, expansion=0.2).eval()
    signal = 0.1 * torch.randn(1, 1, 4096)
    torch.testing.assert_close(mapper.reduced(1.0)(signal), mapper(signal))
    torch.testing.assert_close(mapper.reduced(0.0)(signal), signal, rtol=0, atol=1e-6)
    half = mapper.reduced(0.5)
    assert (half.config["gain_scale"], half.config["expansion"]) == (0.4, 0.1)
