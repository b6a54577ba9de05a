"""The distance of magnitude spectra."""

import torch
from torch import Tensor

from bcsim.losses import LOSSES
from bcsim.losses.base import Objective
from bcsim.losses.frames import both_spectra, check_frames, magnitude_of


@LOSSES.register("magnitude_mse")
class MagnitudeMSE(Objective):
    r"""Mean squared error of magnitudes, compressed on demand.

    .. math::
        \mathrm{mean}\,(\lvert \hat{S} \rvert^g - \lvert S \rvert^g)^2, \quad
        \lvert S \rvert = \sqrt{\Re^2 S + \Im^2 S + 10^{-8}}

    Tan and Wang 2018, doi 10.21437/Interspeech.2018-1405, train CRN with g = 1. Phases are not
    seen: a network that makes its own needs another loss beside it.

    Args:
        fft_size: size of the FFT in samples.
        hop_size: hop in samples.
        win_length: length of the Hann window in samples.
        compression: power g of the magnitudes; 1 leaves them alone.

    Raises:
        ValueError: if the sizes do not fit together, or g is out of range.
    """

    window: Tensor

    def __init__(
        self,
        fft_size: int = 512,
        hop_size: int = 128,
        win_length: int = 512,
        compression: float = 1.0,
    ) -> None:
        super().__init__()
        check_frames(fft_size, hop_size, win_length)
        if not 0 < compression <= 1:
            raise ValueError(f"compression is {compression:g}; it wants 0 < compression <= 1")
        self.fft_size, self.hop_size, self.compression = fft_size, hop_size, compression
        self.register_buffer("window", torch.hann_window(win_length), persistent=False)

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        framing = (self.fft_size, self.hop_size, self.window)
        ours, wanted = map(magnitude_of, both_spectra(estimate, target, *framing))
        difference = ours.pow(self.compression) - wanted.pow(self.compression)
        return {"magnitude_mse": difference.square().mean()}
