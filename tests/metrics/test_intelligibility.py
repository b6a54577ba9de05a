"""STOI and ESTOI: the same in every run, and nobody else's draws move."""

import numpy as np
import pystoi
import scipy.signal
import torch

from bcsim.metrics.scores import enhancement_scores


def test_scores_repeat_and_leave_numpys_global_generator_alone(speech):
    noisy = speech[0] + 0.05 * torch.flip(speech[1], [0])
    np.random.set_state(np.random.RandomState(7).get_state())  # noqa: NPY002
    first = enhancement_scores(noisy, speech[0], 16_000)
    drawn = np.random.uniform()  # noqa: NPY002
    assert drawn == np.random.RandomState(7).uniform()
    assert enhancement_scores(noisy, speech[0], 16_000) == first


def test_pauses_full_of_rumble_do_not_count():
    """A second of rumble at the end of every file took STOI from .61 to .49."""
    generator = np.random.default_rng(4)
    loudness = np.abs(np.sin(2 * np.pi * 2.1 * np.arange(48_000) / 16_000)) ** 2
    real = loudness * generator.standard_normal(48_000)
    estimate = real + 0.7 * loudness * generator.standard_normal(48_000)
    real, estimate = (np.r_[signal, np.zeros(24_000)] for signal in (real, estimate))
    low = scipy.signal.butter(8, 130, fs=16_000, output="sos")
    rumble = np.asarray(scipy.signal.sosfilt(low, generator.standard_normal((2, len(real)))))
    rumble *= 10 ** (-10 / 20) * real.std() / rumble.std()
    quiet, rumbling = (
        enhancement_scores(torch.from_numpy(e), torch.from_numpy(r), 16_000)["stoi"]
        for e, r in ((estimate, real), (estimate + rumble[0], real + rumble[1]))
    )
    assert abs(rumbling - quiet) < 0.05


def test_ordinary_speech_has_pystois_own_score(speech):
    real, estimate = (s.numpy() - s.numpy().mean() for s in (speech[0], speech[0] + speech[1]))
    scored = enhancement_scores(torch.from_numpy(estimate), torch.from_numpy(real), 16_000)
    assert abs(scored["stoi"] - pystoi.stoi(real, estimate, 16_000)) < 1e-9
