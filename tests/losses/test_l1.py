import pytest
import torch

from bcsim.losses.l1 import L1


def test_the_error_is_averaged_over_all_samples_of_all_rows():
    estimate = torch.tensor([[[1.0, 2.0]], [[0.0, -4.0]]])
    target = torch.tensor([[[0.0, 2.0]], [[0.0, 1.0]]])
    assert L1().terms(estimate, target)["l1"].item() == pytest.approx((1 + 0 + 0 + 5) / 4)
