"""What is no signal is refused in one line; what is one comes back as a batch."""

import numpy as np
import pytest
import torch

from bcsim.dsp.signals import as_batch
from bcsim.errors import InputError


@pytest.mark.parametrize(
    ("signal", "says"),
    [
        (np.zeros(9, dtype=np.float16), "air is float16; convert it to float32 or float64"),
        (torch.zeros(9, dtype=torch.bfloat16), "air is bfloat16; convert it"),
        (torch.zeros(9, dtype=torch.int16), "air is int16; scale it to -1...1"),
        (np.zeros(9, dtype=np.uint8), "air is uint8; scale it"),
        (np.zeros(9, dtype=complex), "air is complex128; convert it"),
        (np.zeros(0), r"air has shape \(0,\)"),
        (torch.zeros(0, 9), r"air has shape \(0, 9\)"),
        (np.zeros(()), r"air has shape \(\)"),
        (torch.zeros(1, 1, 9), r"air has shape \(1, 1, 9\)"),
        (np.array([0.0, np.nan]), "air has samples that are NaN or infinite"),
        (torch.tensor([0.0, -np.inf]), "air has samples that are NaN or infinite"),
        ([0.0, 1.0], "air is a list; give a NumPy array or a tensor"),
    ],
)
def test_what_is_no_signal_is_refused_with_its_name(signal, says):
    with pytest.raises(InputError, match=says) as refused:
        as_batch(signal, "air")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["float32", "float64", ">f4", ">f8"])
def test_arrays_keep_their_precision_and_values_whatever_their_layout(kind):
    samples = np.arange(12, dtype=kind).reshape(3, 4)[:, ::-1]
    samples.flags.writeable = False
    batch = as_batch(samples, "air")
    assert batch.dtype == getattr(torch, samples.dtype.name)
    assert batch.tolist() == samples.tolist()


def test_a_tensor_keeps_its_gradient():
    signal = torch.ones(5, requires_grad=True)
    as_batch(signal, "air").square().sum().backward()
    assert signal.grad is not None
    assert signal.grad.tolist() == [2.0] * 5
