"""Whoever hands the library an odd signal, rate or seed is told so in one line of its own."""

import inspect

import numpy as np
import pytest
import soundfile
import torch

import bcsim
from bcsim.discriminators import DISCRIMINATORS
from bcsim.effects.gain import Gain
from bcsim.effects.white_noise import WhiteNoise
from bcsim.losses import LOSSES
from bcsim.metrics.scores import enhancement_scores
from bcsim.models.seanet import SEANet
from bcsim.sensors.recorded_pair import RecordedPair

RATE = 16_000
GOOD = np.full(4000, 0.1)
ODD = {
    "half": (GOOD.astype(np.float16), "is float16; convert it"),
    "16 bits": (np.full(4000, 3000, dtype=np.int16), "is int16; scale it"),
    "64 bits": (np.full(4000, 3000), "is int64; scale it"),
    "truth values": (np.ones(4000, dtype=bool), "is bool; scale it"),
    "complex": (GOOD * 1j, "is complex128; convert it"),
    "empty": (np.zeros(0), r"has shape \(0,\); give"),
    "NaN": (np.where(np.arange(4000) == 7, np.nan, GOOD), "samples that are NaN or infinite"),
    "infinite": (np.where(np.arange(4000) == 7, np.inf, GOOD), "samples that are NaN or infinite"),
}
LISTS = {"a list": (GOOD.tolist(), "give a NumPy array or a tensor"), "nothing": (None, "give")}
ONE = SEANet(width=1, latent=1).eval()
TWO = SEANet(width=1, latent=1, channels=("bone", "air")).eval()


def as_tensor(signal: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(signal)


TAKE_ARRAYS = {
    "Simulator": lambda s: bcsim.Simulator((Gain(3.0),), RATE)(s, RATE),
    "Simulator, a tensor": lambda s: bcsim.Simulator((Gain(3.0),), RATE)(as_tensor(s), RATE),
    "enhance": lambda s: bcsim.enhance(ONE, s, RATE),
    "enhance, a tensor": lambda s: bcsim.enhance(ONE, as_tensor(s), RATE),
    "enhance, air": lambda s: bcsim.enhance(TWO, GOOD, RATE, s),
    "fit_sensor, air": lambda s: bcsim.fit_sensor(s, GOOD),
    "fit_sensor, bone": lambda s: bcsim.fit_sensor([GOOD], [s]),
    "fit_sensor, ambient": lambda s: bcsim.fit_sensor(
        GOOD, GOOD, ambient=RecordedPair("noise", GOOD, s)
    ),
}


@pytest.mark.parametrize("function", list(TAKE_ARRAYS))
@pytest.mark.parametrize("odd", list(ODD))
def test_an_odd_signal_is_named_with_the_remedy(function, odd):
    signal, says = ODD[odd]
    with pytest.raises(bcsim.InputError, match=says) as refused:
        TAKE_ARRAYS[function](signal)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("function", ["Simulator", "enhance", "fit_sensor, ambient"])
@pytest.mark.parametrize("odd", list(LISTS))
def test_what_is_no_array_is_named_too(function, odd):
    signal, says = LISTS[odd]
    with pytest.raises(bcsim.InputError, match=says):
        TAKE_ARRAYS[function](signal)


@pytest.mark.parametrize("shape", [(2, 4000), (1, 4000), (1, 1, 4000), ()])
def test_a_recording_of_another_shape_than_one_channel_is_refused(shape):
    with pytest.raises(bcsim.InputError, match="shape"):
        bcsim.enhance(ONE, np.zeros(shape), RATE)


@pytest.mark.parametrize("odd", [name for name in ODD if name != "empty"])
def test_a_model_says_what_it_cannot_take(odd):
    """An empty signal gives an empty one: `enhance` is for recordings, a model for any T."""
    signal = as_tensor(ODD[odd][0])[None, None]
    signal = signal.float() if signal.dtype == torch.float64 else signal
    with pytest.raises(bcsim.InputError, match=r"signal is torch|NaN or infinite"):
        ONE(signal)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("odd", list(ODD))
@pytest.mark.parametrize("which", [0, 1])
def test_a_loss_says_what_it_cannot_take(name, odd, which):
    takes_rate = "sample_rate" in inspect.signature(LOSSES[name]).parameters
    loss = LOSSES[name](**({"sample_rate": RATE} if takes_rate else {}))
    signals = [torch.ones(1, 4000), torch.ones(1, 4000)]
    signals[which] = as_tensor(ODD[odd][0])[None]
    with pytest.raises(ValueError, match=r"(estimate|target) (is|has)|a loss was given") as refused:
        loss(*signals)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", list(DISCRIMINATORS))
@pytest.mark.parametrize(
    "odd", ["half", "16 bits", "64 bits", "truth values", "complex", "empty", "a list", "flat"]
)
def test_a_discriminator_says_what_it_cannot_take(name, odd):
    signals = {"a list": GOOD.tolist(), "flat": as_tensor(GOOD).float()}
    signal = signals[odd] if odd in signals else as_tensor(ODD[odd][0])[None, None]
    signal = signal.float() if odd == "empty" else signal
    with pytest.raises(bcsim.InputError, match=r"speech (is|has)|a discriminator was given"):
        DISCRIMINATORS[name]()(signal)


@pytest.mark.parametrize("odd", ["half", "16 bits", "truth values", "complex"])
@pytest.mark.parametrize("which", [0, 1])
def test_scores_say_what_they_cannot_take(odd, which):
    signals = [as_tensor(GOOD), as_tensor(GOOD)]
    signals[which] = as_tensor(ODD[odd][0])
    with pytest.raises(bcsim.InputError, match=ODD[odd][1]):
        enhancement_scores(*signals, sample_rate=RATE)
    signals[which] = GOOD
    with pytest.raises(bcsim.InputError, match="give a tensor"):
        enhancement_scores(*signals, sample_rate=RATE)
    with pytest.raises(bcsim.InputError, match="give a whole number of Hz"):
        enhancement_scores(as_tensor(GOOD), as_tensor(GOOD), sample_rate=0)


RATES = [0, -16_000, 16_000.5, float("nan"), "16000", None, True]


@pytest.mark.parametrize("rate", RATES)
def test_a_sample_rate_that_is_none_is_named(rate, tmp_path):
    for call in (
        lambda: bcsim.enhance(ONE, GOOD, rate),
        lambda: bcsim.fit_sensor(GOOD, GOOD, sample_rate=rate),
        lambda: bcsim.PairDataset(tmp_path, sample_rate=rate),
        lambda: bcsim.doctor(tmp_path, tmp_path, sample_rate=rate if rate is not None else 0),
    ):
        with pytest.raises(bcsim.InputError, match=r"sample_rate is .*; give a whole number of Hz"):
            call()
    with pytest.raises(bcsim.InputError, match="the simulator renders at 16000 Hz"):
        bcsim.Simulator((Gain(3.0),), RATE)(GOOD, rate)


@pytest.mark.parametrize("seed", [True, 1.5, None, "1"])
def test_a_seed_that_is_no_whole_number_is_refused(seed):
    """A fraction was cut off, and True was 1, without a word."""
    simulator = bcsim.Simulator((WhiteNoise(),), RATE)
    with pytest.raises(bcsim.UsageError, match=r"seed is .*; it wants a whole number"):
        simulator(GOOD, RATE, seed=seed)


def test_a_model_in_training_mode_enhances_nothing():
    with pytest.raises(bcsim.UsageError, match=r"in training mode, .*; call eval"):
        bcsim.enhance(SEANet(width=1, latent=1).train(), GOOD, RATE)


def test_a_direction_that_is_none_is_named(tmp_path):
    with pytest.raises(bcsim.UsageError, match=r"direction is 'air_to_bone'.*air-to-bone"):
        bcsim.load_enhancer(tmp_path, "air_to_bone")  # pyright: ignore[reportArgumentType]


def test_the_letters_of_a_text_are_not_the_names_of_clips():
    with pytest.raises(bcsim.InputError, match="clip_ids is the text 'ab'; give a list of 2"):
        bcsim.Simulator((Gain(3.0),), RATE)(np.zeros((2, 100)), RATE, clip_ids="ab")


@pytest.mark.parametrize("length_s", [0, -1, float("nan"), float("inf"), 1e-6])
def test_a_segment_holds_a_sample_or_more(length_s, tmp_path):
    for role in ("air", "bone"):
        (tmp_path / role).mkdir()
        soundfile.write(tmp_path / role / "a.wav", GOOD, RATE)
    with pytest.raises(bcsim.UsageError, match="segment_s is"):
        bcsim.PairDataset(tmp_path, segment_s=length_s)
