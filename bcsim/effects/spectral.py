"""Effects that are known by their spectrum, and how neighbours among them share one transform.

A linear effect says its frequency response, a stationary noise its amplitude spectrum. Whatever
number of them follow each other, the sensor's signal is transformed forward once, multiplied by
the product of the responses, and transformed back once.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.dsp.fir import extend_by_reflection, fast_length, frequency_grid
from bcsim.dsp.noise import white_noise
from bcsim.effects.base import Drawn, Effect, Scene


class SpectralEffect(Effect):
    """An effect on the sensor's signal that is known by its spectrum."""

    # Whether the clip goes on by reflection at its ends (as EBEN's padding does) or by silence.
    reflects_edges: ClassVar[bool] = False

    @abstractmethod
    def reach(self, sample_rate: int) -> int:
        """Return for how many samples, before or after, one sample makes itself felt."""

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        return render_spectral(scene, [(self, drawn)])


class LinearEffect(SpectralEffect):
    """A filter on the sensor's signal."""

    @abstractmethod
    def response(self, frequencies_hz: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
        """Return the frequency response.

        Args:
            frequencies_hz: (F,), uniform from 0 to half the sample rate.
            drawn: the parameters of B clips.
            sample_rate: in Hz.

        Returns:
            (B, F), complex or real.
        """


class StationaryNoise(SpectralEffect):
    """Gaussian noise of a known spectrum, added to the sensor's signal.

    Subclasses have a field `seed: Distribution = Seed()`. Noise starts before the clip and ends
    behind it, so its edges need no care.
    """

    @abstractmethod
    def amplitude(self, frequencies_hz: Tensor, scene: Scene, drawn: Drawn) -> Tensor:
        """Return what white noise of unit variance has to be multiplied by, (B, F), real."""


Step = tuple[SpectralEffect, Drawn]


def can_fuse(first: Effect, second: Effect) -> bool:
    """Tell whether two neighbours may share their transforms: both go on alike past the ends."""
    return (
        isinstance(first, SpectralEffect)
        and isinstance(second, SpectralEffect)
        and first.reflects_edges == second.reflects_edges
    )


def render_spectral(scene: Scene, steps: Sequence[Step]) -> Scene:
    """Apply neighbouring spectral effects with one forward and one inverse transform.

    Args:
        scene: B clips.
        steps: effects in their order, each with what it drew; all with the same kind of edges.
    """
    bone = scene.bone
    num_samples = bone.shape[-1]
    reach = sum(effect.reach(scene.sample_rate) for effect, _ in steps)
    reflects = steps[0][0].reflects_edges
    if reflects:
        bone = extend_by_reflection(bone, scene.lengths, reach)
    # What rings past the end, or before the start, wraps round into the `reach` samples of
    # padding and is cut off with them.
    size = fast_length(num_samples + 2 * reach)
    frequencies_hz = frequency_grid(size, scene.sample_rate, bone)
    spectrum = torch.fft.rfft(bone.double(), size)
    for effect, drawn in steps:
        if isinstance(effect, LinearEffect):
            spectrum = spectrum * effect.response(frequencies_hz, drawn, scene.sample_rate)
        elif isinstance(effect, StationaryNoise):
            amplitude = effect.amplitude(frequencies_hz, scene, drawn)
            white = _surrounding_noise(scene, drawn["seed"], effect.reach(scene.sample_rate), size)
            spectrum = spectrum + amplitude * torch.fft.rfft(white)
    rendered = torch.fft.irfft(spectrum, size)
    rendered = rendered[:, reach:] if reflects else rendered
    return scene.with_bone(rendered[:, :num_samples].to(scene.bone.dtype))


def _surrounding_noise(scene: Scene, seeds: Tensor, reach: int, size: int) -> Tensor:
    """Return white noise (B, size) that starts `reach` before each clip and ends behind it.

    The part before the clip stands, circularly, at the end of the row.
    """
    return white_noise(seeds, size, scene.start - reach).roll(-reach, -1)
