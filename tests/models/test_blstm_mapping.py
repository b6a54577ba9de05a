import math

import pytest
import torch

from bcsim.dsp.spectra import power_of
from bcsim.errors import InputError
from bcsim.models.blstm_mapping import BLSTMMapping
from bcsim.rng import stream


def noise(name: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(stream(1, "blstm", name).standard_normal(shape))


def speech(name: str, batch: int = 2, num_samples: int = 3200) -> torch.Tensor:
    level = torch.linspace(0.1, 1, num_samples)
    return 0.05 * level * noise(name, batch, 1, num_samples)


@pytest.fixture
def model() -> BLSTMMapping:
    return BLSTMMapping(units=2, num_layers=1).double().eval()


@pytest.fixture
def fitted(model) -> BLSTMMapping:
    bone, air = speech("bone"), 3 * speech("air")
    model.fit_statistics([(bone, air)])
    return model


@torch.no_grad()
def test_a_network_that_knows_the_normed_spectra_of_air_gives_them_back(fitted, monkeypatch):
    """Normed by air's statistics and taken back by the same: to 1e-4 of the log spectrum."""
    bone, air = speech("bone"), 3 * speech("air")
    peak = bone.abs().amax(-1, keepdim=True)
    log_power = (power_of(fitted.frames.spectra(air / peak)[:, 0]) + 1e-6).log()
    known = (log_power - fitted.air_mean) / fitted.air_deviation
    monkeypatch.setattr(fitted, "_map", lambda normed: known)
    spectra = fitted.frames.spectra(bone / peak)
    found = fitted.enhance_spectra(spectra)
    loud = power_of(spectra[:, 0]) > 1e-8  # elsewhere there is no phase to speak of
    assert loud.float().mean() > 0.98
    torch.testing.assert_close(power_of(found)[loud].log(), log_power[loud], rtol=0, atol=1e-4)
    turned = found * spectra[:, 0].conj()  # the phase stays that of bone
    assert (turned.imag.abs() <= 1e-9 * turned.abs()).all()


@torch.no_grad()
def test_a_network_that_says_nothing_gives_the_mean_spectrum_of_air_not_of_bone(fitted):
    for weights in fitted.output.parameters():
        weights.zero_()
    spectra = fitted.frames.spectra(speech("other"))
    found = power_of(fitted.enhance_spectra(spectra)).log()
    inner = slice(10, -10)  # every bin of these frames holds something
    torch.testing.assert_close(
        found[:, inner], fitted.air_mean.expand_as(found[:, inner]), rtol=0, atol=1e-4
    )
    assert (fitted.air_mean - fitted.bone_mean).mean() == pytest.approx(2 * math.log(3), abs=0.2)


def test_statistics_are_means_over_utterances_of_each_ones_own(model):
    """Not those of all frames together: a long or a loud one counts like any other."""
    bone, air = speech("bone"), speech("air")
    model.fit_statistics([(bone[:1], air[:1]), (bone[1:], air[1:])])
    found = {name: value.clone() for name, value in model.named_buffers() if "frames" not in name}
    peak = bone.abs().amax(-1, keepdim=True)
    for name, signal in (("bone", bone), ("air", air)):
        log_power = (power_of(model.frames.spectra(signal / peak)[:, 0]) + 1e-6).log()
        mean, deviation = log_power.mean(1).mean(0), log_power.std(1, correction=0).mean(0)
        torch.testing.assert_close(found[f"{name}_mean"], mean)
        torch.testing.assert_close(found[f"{name}_deviation"], deviation)


def test_zeros_behind_a_short_clip_and_silent_pairs_are_left_out_of_statistics(model):
    bone, air = speech("bone", 1), speech("air", 1)
    model.fit_statistics([(bone, air)])
    expected = model.air_mean.clone()
    long = [torch.nn.functional.pad(x, (0, 6400)) for x in (bone, air)]
    silent = torch.zeros_like(long[0])
    model.fit_statistics([(torch.cat([long[0], silent]), torch.cat([long[1], silent]))])
    torch.testing.assert_close(model.air_mean, expected)
    with pytest.raises(InputError, match="silent"):
        model.fit_statistics([(silent, silent)])


@torch.no_grad()
def test_by_the_utterance_a_filter_of_the_sensor_changes_nothing_but_the_phase():
    """A gain for each bin shifts log-power spectra, and their own mean takes the shift away."""
    spectra = torch.complex(noise("re", 1, 1, 40, 129), noise("im", 1, 1, 40, 129))
    gains = torch.linspace(2.0, 0.5, 129, dtype=torch.float64)
    found = {}
    for scope in ("corpus", "utterance"):
        model = BLSTMMapping(units=2, num_layers=1, statistics=scope).double().eval()
        plain, filtered = (model.enhance_spectra(x) for x in (spectra, gains * spectra))
        found[scope] = (plain - filtered).abs().max().item()
    assert found["utterance"] < 1e-3 < found["corpus"]


@torch.no_grad()
def test_a_gain_before_the_network_is_the_same_gain_behind_it_and_runs_do_not_differ(fitted):
    signal = speech("other")
    found = fitted(signal)
    assert torch.equal(fitted(signal), found)
    torch.testing.assert_close(fitted(0.25 * signal), 0.25 * found)


@pytest.mark.parametrize(
    "settings",
    [{"units": 0}, {"dropout": 1.0}, {"statistics": "speaker"}, {"fft_size": 100, "hop_size": 64}],
)
def test_what_makes_no_network_is_refused(settings):
    with pytest.raises(ValueError, match=r"wants|positive"):
        BLSTMMapping(**settings)
