"""The distance of complex spectra."""

import torch
from torch import Tensor

from bcsim.losses import LOSSES
from bcsim.losses.base import Objective
from bcsim.losses.frames import both_spectra, check_frames, magnitude_of


@LOSSES.register("complex_stft")
class ComplexSTFT(Objective):
    r"""Mean squared error of real and imaginary parts, and of magnitudes on demand.

    .. math::
        \mathrm{mean}\,(\Re \hat{Z} - \Re Z)^2 + \mathrm{mean}\,(\Im \hat{Z} - \Im Z)^2
        + w\,\mathrm{mean}\,(\lvert \hat{S} \rvert^g - \lvert S \rvert^g)^2,
        \quad Z = S \lvert S \rvert^{g-1}

    with :math:`\lvert S \rvert = \sqrt{\Re^2 S + \Im^2 S + 10^{-8}}`. With g below 1 the soft parts
    of speech count for more. Its parts have fixed weights, so they are one term.

    g = 0.3 and w = 7/3, at a weight of 0.3, are the compressed loss that DPCRN comes with; Braun
    and Tashev, arXiv 2009.12286, compare the family.

    Args:
        fft_size: size of the FFT in samples.
        hop_size: hop in samples.
        win_length: length of the Hann window in samples.
        compression: power g of the magnitudes; 1 leaves them alone.
        magnitude_weight: weight w of the magnitudes, 0 or more.

    Raises:
        ValueError: if the sizes do not fit together, or g or w is out of range.
    """

    window: Tensor

    def __init__(
        self,
        fft_size: int = 512,
        hop_size: int = 128,
        win_length: int = 512,
        compression: float = 1.0,
        magnitude_weight: float = 0.0,
    ) -> None:
        super().__init__()
        check_frames(fft_size, hop_size, win_length)
        if not 0 < compression <= 1:
            raise ValueError(f"compression is {compression:g}; it wants 0 < compression <= 1")
        if not magnitude_weight >= 0:
            raise ValueError(f"magnitude_weight is {magnitude_weight:g}; it wants 0 or more")
        self.fft_size, self.hop_size = fft_size, hop_size
        self.compression, self.magnitude_weight = compression, magnitude_weight
        self.register_buffer("window", torch.hann_window(win_length), persistent=False)

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        framing = (self.fft_size, self.hop_size, self.window)
        ours, wanted = both_spectra(estimate, target, *framing)
        our_magnitude, wanted_magnitude = magnitude_of(ours), magnitude_of(wanted)
        g = self.compression
        difference = (
            ours * our_magnitude.pow(g - 1)[..., None]
            - wanted * wanted_magnitude.pow(g - 1)[..., None]
        )
        cost = difference.square().sum(-1).mean()
        if self.magnitude_weight > 0:
            difference = our_magnitude.pow(g) - wanted_magnitude.pow(g)
            cost = cost + self.magnitude_weight * difference.square().mean()
        return {"complex_stft": cost}
