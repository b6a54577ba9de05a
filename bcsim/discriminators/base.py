"""The base class of discriminators."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from bcsim.dsp.signals import check_fits
from bcsim.errors import InputError

MAX_SCALES = 16  # of a discriminator that looks at speech at several rates
Features = list[list[Tensor]]  # of every network: its inner features, then its score map


class Discriminator(nn.Module, ABC):
    """A set of networks that each score a different representation of speech.

    Subclasses are registered in `bcsim.discriminators.DISCRIMINATORS` and take plain values in
    their constructor, every one with a default.
    """

    def forward(self, speech: Tensor, bands: Tensor | None = None) -> Features:
        """Return the features and the score map of every network; scores are high for real speech.

        Args:
            speech: (B, 1, T), in the precision of the weights, unless PyTorch casts by itself.
            bands: (B, M, F), bands that a multi-band enhancer made the speech from, or None.

        Raises:
            InputError: for another shape or precision.
        """
        if not isinstance(speech, Tensor) or speech.ndim != 3 or speech.shape[1] != 1:
            given = tuple(speech.shape) if isinstance(speech, Tensor) else type(speech).__name__
            raise InputError(f"a discriminator was given {given}; it wants a tensor (B, 1, T)")
        casts = torch.is_autocast_enabled(speech.device.type) and speech.is_floating_point()
        if not casts:
            check_fits(speech, self, "speech")
        if speech.numel() == 0:
            raise InputError(f"speech has shape {tuple(speech.shape)}; give at least one sample")
        return self.features(speech, bands)

    @abstractmethod
    def features(self, speech: Tensor, bands: Tensor | None) -> Features:
        """Return what `forward` does, of speech that was checked.

        Discriminators of bands take those that they are given, or else split the speech themselves.
        """
