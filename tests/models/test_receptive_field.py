import pytest
import torch

from bcsim.models.receptive_field import Layer, receptive_field


def test_a_strided_pair_reaches_as_far_as_its_gradient():
    """Encoder and decoder of stride 4 and 8 taps, without padding on the future side."""
    down = torch.nn.Conv1d(1, 1, 8, 4, bias=False).double()
    up = torch.nn.ConvTranspose1d(1, 1, 8, 4, bias=False).double()
    x = torch.zeros(1, 1, 64, dtype=torch.float64, requires_grad=True)
    y = up(down(torch.nn.functional.pad(x, (4, 0))))
    measured = []
    for t in range(32, 36):
        (gradient,) = torch.autograd.grad(y[0, 0, t], x, retain_graph=True)
        touched = gradient[0, 0].nonzero()
        measured.append((t - int(touched.min()), int(touched.max()) - t))
    layers = [Layer(8, 4, left=4), Layer(8, 4, transposed=True)]
    assert receptive_field(layers, frame=4) == tuple(map(max, zip(*measured, strict=True)))


@pytest.mark.parametrize("dilation", [1, 3, 9])
def test_a_dilated_kernel_reaches_its_span(dilation):
    layer = Layer(3, dilation=dilation, left=dilation)
    assert receptive_field([layer], frame=1) == (dilation, dilation)
