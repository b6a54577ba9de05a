import numpy as np
import pytest
import torch

from bcsim.models.spectrum_copy import SpectrumCopy, pitch_bins

RATE, BIN_HZ = 16_000, 50.0
INSIDE = slice(1600, -1600)


def moving(**settings) -> SpectrumCopy:
    """Copies alone, with an equalizer that does nothing yet."""
    return SpectrumCopy(mask_layers=0, equalizer_bands=4, **settings).double().eval()


def tones(*frequencies_hz: float) -> torch.Tensor:
    time_s = torch.arange(RATE).double() / RATE
    sines = [torch.sin(2 * torch.pi * frequency_hz * time_s) for frequency_hz in frequencies_hz]
    return torch.stack(sines).sum(0)[None, None]


@torch.no_grad()
def power_at(model: SpectrumCopy, signal: torch.Tensor) -> torch.Tensor:
    """Return the power of the output at every Hz."""
    out = model(signal)[0, 0, INSIDE]
    window = torch.hann_window(len(out), dtype=out.dtype)
    return torch.fft.rfft(out * window, RATE).abs().square()


def test_the_count_is_that_of_the_published_network():
    assert SpectrumCopy().num_parameters == 1_718_675


@pytest.mark.parametrize("high_hz", [2450.0, 2400.0])  # moves by 16 bins, and by 15
def test_a_tone_is_moved_by_the_width_of_the_source(high_hz):
    """With the phase of frames left alone, a move by 15 bins would cancel where they overlap."""
    power = power_at(moving(source_high_hz=high_hz), tones(2000.0))
    width = high_hz - 1650.0
    for copy in range(1, 5):
        around = slice(round(2000 + copy * width - BIN_HZ), round(2000 + copy * width + BIN_HZ) + 1)
        gain_db = 10 * (power[around].sum() / power[1950:2051].sum()).log10()
        assert gain_db.item() == pytest.approx(0, abs=0.5)
    between = power[round(2000 + width / 2 - 100) : round(2000 + width / 2 + 100)]
    assert between.max() < 1e-4 * power[1950:2051].max()


def test_folding_mirrors_a_tone_at_the_edge_and_moves_it_beyond():
    power = power_at(moving(mode="fold"), tones(2000.0))
    edge_hz = 2450.0 - BIN_HZ / 2  # between the last bin of the source and the first above
    own = power[1950:2051].sum()
    for expected_hz in (2 * edge_hz - 2000, 2000 + 1600, 2 * edge_hz + 1600 - 2000):
        around = power[round(expected_hz - 75) : round(expected_hz + 75)].sum()
        assert (10 * (around / own).log10()).item() == pytest.approx(0, abs=0.5)


@torch.no_grad()
@pytest.mark.parametrize("mode", ["translate", "fold", "excite"])
def test_what_lies_below_stays_and_what_is_above_is_not_quieter_than_40_db(mode):
    noise = np.random.default_rng(0).standard_normal(RATE)
    low = torch.from_numpy(np.fft.irfft(np.fft.rfft(noise) * (np.arange(8001) < 2300)))[None, None]
    power = power_at(moving(mode=mode), low)
    before = torch.fft.rfft(low[0, 0, INSIDE] * torch.hann_window(12_800).double(), RATE)
    before = before.abs().square()[:2000]
    torch.testing.assert_close(power[:2000], before, rtol=0.02, atol=0.01 * before.mean().item())
    source, above = power[1700:2250].mean(), power[2600:7900].mean()
    assert -10 < (10 * (above / source).log10()).item() < 3


def test_copies_of_harmonics_are_harmonics_where_they_snap_to_the_pitch():
    harmonics = [210.0 * number for number in range(1, 12)]  # up to 2310 Hz
    multiples = 210 * np.arange(12, 37)
    for snap, part in ((True, 0.8), (False, 0.3)):
        power = power_at(moving(snap_to_pitch=snap), tones(*harmonics))
        near = sum(power[hz - 20 : hz + 21].sum() for hz in multiples.tolist())
        assert (near / power[2500:7800].sum() > part) == snap


def test_the_pitch_is_that_of_the_harmonics_and_noise_has_none():
    model = moving()
    for pitch_hz in (110.0, 233.0):
        harmonics = tones(*[pitch_hz * number for number in range(1, 8)])
        found = BIN_HZ * pitch_bins(model.frames.spectra(harmonics[0]), RATE)[0, 5:-5]
        np.testing.assert_allclose(found, pitch_hz, rtol=0.02)
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, RATE)))
    voiced = pitch_bins(model.frames.spectra(noise), RATE) > 0
    assert voiced.double().mean() < 0.2
    assert not pitch_bins(torch.zeros_like(model.frames.spectra(noise)), RATE).any()


@torch.no_grad()
def test_copies_that_keep_the_phase_take_over_magnitudes_alone():
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 3200)))
    model, kept = moving(), moving(keep_phase=True)
    spectra = model.frames.spectra(noise)
    moved, own = model.enhance_spectra(spectra), kept.enhance_spectra(spectra)
    torch.testing.assert_close(own.abs(), moved.abs())
    torch.testing.assert_close(own.angle(), spectra[:, 0].angle())


@torch.no_grad()
def test_the_equalizer_raises_the_lows_as_well():
    model = moving()
    assert model.equalizer is not None
    model.equalizer[0] = 0.06  # 6 dB
    signal = tones(300.0)
    assert model(signal)[..., INSIDE].std() / signal[..., INSIDE].std() == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(
    "settings",
    [
        {"mask_layers": 0},
        {"mask_units": 0},
        {"source_high_hz": 1600.0},
        {"source_high_hz": 8050.0},
        {"source_low_hz": 0.0},
        {"mode": "fold", "snap_to_pitch": True},
        {"highest_gain_db": 100.0},
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings):
    with pytest.raises(ValueError, match="spectrum_copy"):
        SpectrumCopy(**settings)
