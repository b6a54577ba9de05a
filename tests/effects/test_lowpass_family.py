"""Butterworth and windowed-sinc low-passes, against scipy and closed forms."""

import numpy as np
import pytest
import torch
from scipy import signal

from bcsim.effects.base import Scene, stack_draws
from bcsim.effects.butterworth_lowpass import ButterworthLowpass
from bcsim.effects.distributions import Constant
from bcsim.effects.fir_lowpass import FirLowpass
from bcsim.effects.polarity import Polarity

RATE = 16_000


def impulse_response(effect, num_samples=8192):
    impulse = torch.zeros(1, num_samples).double()
    impulse[0, num_samples // 2] = 1
    drawn = stack_draws([effect.sample(0, "clip", "step")])
    return effect.apply(Scene.from_air(impulse, RATE), drawn).bone[0].numpy()


@pytest.mark.parametrize("order", range(1, 9))
@pytest.mark.parametrize("cutoff_hz", [100.0, 600.0, 5000.0])
def test_one_pass_is_scipys_butterworth(order, cutoff_hz):
    out = impulse_response(ButterworthLowpass(Constant(cutoff_hz), order, zero_phase=False))
    impulse = np.zeros(8192)
    impulse[4096] = 1
    sections = signal.butter(order, cutoff_hz, fs=RATE, output="sos")
    assert np.abs(out - np.asarray(signal.sosfilt(sections, impulse))).max() < 1e-10


@pytest.mark.parametrize("order", [1, 2, 5, 8])
def test_two_passes_are_scipys_filtfilt(order):
    out = impulse_response(ButterworthLowpass(Constant(400.0), order))
    impulse = np.zeros(8192)
    impulse[4096] = 1
    sections = signal.butter(order, 400.0, fs=RATE, output="sos")
    expected = signal.sosfiltfilt(sections, impulse, padlen=0)
    assert np.abs(out - expected).max() < 1e-10
    assert np.abs(out[1:] - out[1:][::-1]).max() < 1e-12


@pytest.mark.parametrize(("zero_phase", "at_cutoff_db"), [(False, -3.0103), (True, -6.0206)])
def test_the_cutoff_is_where_it_says(zero_phase, at_cutoff_db):
    response = np.fft.rfft(impulse_response(ButterworthLowpass(Constant(1000.0), 6, zero_phase)))
    gain_db = 20 * np.log10(np.abs(response[[512, 1024]]))
    assert gain_db[0] == pytest.approx(at_cutoff_db, abs=1e-3)
    warped = np.tan(np.pi * 2000 / RATE) / np.tan(np.pi * 1000 / RATE)
    octave_db = -10 * np.log10(1 + warped**12) * (2 if zero_phase else 1)
    assert gain_db[1] == pytest.approx(octave_db, abs=1e-3)


@pytest.mark.parametrize("order", range(1, 9))
@pytest.mark.parametrize("zero_phase", [False, True])
def test_at_its_lowest_cutoff_nothing_is_left_beyond_the_reach(order, zero_phase):
    """Results would depend on the transform's length if it rang on: -200 dB is none."""
    effect = ButterworthLowpass(Constant(1.0), order, zero_phase)
    size = 1 << 17
    hz = torch.fft.rfftfreq(size, 1 / RATE).double()
    response = effect.response(hz, stack_draws([effect.sample(0, "c", "s")]), RATE)
    taps = torch.fft.irfft(response + 0j, size)[0].abs()
    half_length = effect.half_length(RATE)
    assert taps[half_length:-half_length].max() < 1e-10 * taps.max()
    assert half_length < RATE  # and it is no longer than it needs to be


def test_an_order_out_of_range_is_refused():
    with pytest.raises(ValueError, match="order is 9; it wants 1 to 8"):
        ButterworthLowpass(order=9)
    with pytest.raises(ValueError, match="num_taps is 64; it wants an odd number"):
        FirLowpass(num_taps=64)


@pytest.mark.parametrize("num_taps", [31, 255, 1001])
def test_an_impulse_comes_out_as_scipys_taps_in_its_place(num_taps):
    out = impulse_response(FirLowpass(Constant(600.0), num_taps))
    half = num_taps // 2
    taps = signal.firwin(num_taps, 600.0, window="blackman", fs=RATE)
    assert np.abs(out[4096 - half : 4096 + half + 1] - taps).max() < 1e-12
    assert np.abs(out[: 4096 - half]).max() < 1e-12


def test_half_of_the_clips_are_turned_upside_down(speech):
    effect = Polarity()
    draws = [effect.sample(0, str(k), "step") for k in range(400)]
    signs = np.array([draw["sign"] for draw in draws])
    assert set(signs) == {-1.0, 1.0}
    assert abs(signs.sum()) < 4 * np.sqrt(400)
    chosen = [int((signs == sign).argmax()) for sign in (1.0, -1.0)]
    out = effect.apply(Scene.from_air(speech, RATE), stack_draws([draws[k] for k in chosen])).bone
    assert torch.allclose(out, speech * torch.tensor([[1.0], [-1.0]]), rtol=0, atol=1e-12)
