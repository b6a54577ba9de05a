import pytest
import torch

from bcsim.losses.mse import MSE


def test_the_squared_error_is_averaged_over_all_samples_of_all_rows():
    estimate = torch.tensor([[[1.0, 2.0]], [[0.0, -4.0]]])
    target = torch.tensor([[[0.0, 2.0]], [[0.0, 1.0]]])
    assert MSE().terms(estimate, target)["mse"].item() == pytest.approx((1 + 0 + 0 + 25) / 4)
