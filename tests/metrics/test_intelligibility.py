"""STOI and ESTOI: the same in every run, and nobody else's draws move."""

import numpy as np
import torch

from bcsim.metrics.scores import enhancement_scores


def test_scores_repeat_and_leave_numpys_global_generator_alone(speech):
    noisy = speech[0] + 0.05 * torch.flip(speech[1], [0])
    np.random.set_state(np.random.RandomState(7).get_state())  # noqa: NPY002
    first = enhancement_scores(noisy, speech[0], 16_000)
    drawn = np.random.uniform()  # noqa: NPY002
    assert drawn == np.random.RandomState(7).uniform()
    assert enhancement_scores(noisy, speech[0], 16_000) == first
