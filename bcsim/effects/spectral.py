"""Effects that are known by their spectrum, and how neighbours among them share one transform.

A linear effect says its frequency response, a stationary noise its amplitude spectrum, a leak its
response to the noise field. Whatever number of them follow each other, the sensor's signal is
transformed forward once, multiplied by the product of the responses, and transformed back once.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from bcsim.dsp.fir import extend_by_reflection, fast_length, frequency_grid
from bcsim.dsp.noise import white_noise
from bcsim.effects.base import Drawn, Effect, Scene

BLOCK = 1 << 13  # samples in a transform of a long clip, or more if filters are long
AT_ONCE = 1 << 16  # samples transformed at a time


class SpectralEffect(Effect):
    """An effect on the sensor's signal that is known by its spectrum."""

    # Whether the clip goes on by reflection at its ends (as EBEN's padding does) or by silence.
    reflects_edges: ClassVar[bool] = False

    @abstractmethod
    def half_length(self, sample_rate: int) -> int:
        """Return the half-length of the filter: samples by which an input may affect the output."""

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        return render_spectral(scene, [(self, drawn)])


class LinearEffect(SpectralEffect):
    """A filter on the sensor's signal."""

    @abstractmethod
    def response(self, frequencies_hz: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
        """Return the frequency response.

        Args:
            frequencies_hz: (F,), uniform from 0 to half the sample rate.
            drawn: parameters of B clips.
            sample_rate: sample rate in Hz.

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
        """Return the amplitudes relative to white noise of unit variance, (B, F), real."""


class AmbientFilter(SpectralEffect):
    """A path of the noise field into the sensor: what it lets through adds to the signal.

    Nothing happens in a scene without `ambient`.
    """

    @abstractmethod
    def response(self, frequencies_hz: Tensor, drawn: Drawn, sample_rate: int) -> Tensor:
        """Return the frequency response from ambient to sensor; see `LinearEffect.response`."""


Step = tuple[SpectralEffect, Drawn]


def render_spectral(scene: Scene, steps: Sequence[Step]) -> Scene:
    """Apply neighbouring spectral effects with one forward and one inverse transform.

    Long clips go through in blocks that overlap by the half-length of all filters (overlap-save).

    Args:
        scene: B clips.
        steps: effects in their order, each with its draws; all of them have equal `reflects_edges`.
    """
    num_samples = scene.bone.shape[-1]
    half_length = _total_half_length(scene, steps)
    size = _transform_size(num_samples, half_length)
    hop = size - 2 * half_length
    num_blocks = -(-num_samples // hop)
    frequencies_hz = frequency_grid(size, scene.sample_rate, scene.bone)
    edges = (half_length, num_blocks * hop + half_length - num_samples)
    sources = [
        (waveform.unfold(-1, size, hop), response.to(scene.bone.dtype.to_complex())[:, None])
        for waveform, response in _sources(scene, steps, frequencies_hz, edges)
    ]
    # On a processor, what is at work at a time should stay in its cache.
    on_cpu = scene.bone.device.type == "cpu"
    at_once = max(1, AT_ONCE // (size * len(scene.bone))) if on_cpu else num_blocks
    rendered = []
    for start in range(0, num_blocks, at_once):
        chosen = slice(start, start + at_once)
        blocks, response = sources[0]
        spectrum = torch.fft.rfft(blocks[:, chosen]) * response
        for blocks, response in sources[1:]:
            spectrum = spectrum + torch.fft.rfft(blocks[:, chosen]) * response
        rendered.append(
            torch.fft.irfft(spectrum, size)[..., half_length : half_length + hop].flatten(1)
        )
    bone = rendered[0] if len(rendered) == 1 else torch.cat(rendered, dim=-1)
    return scene.with_bone(bone[:, :num_samples])


def _transform_size(num_samples: int, half_length: int) -> int:
    """Return the length of a transform: of the whole clip, or of blocks where those cost less."""
    whole = fast_length(num_samples + 2 * half_length)
    block = max(BLOCK, 1 << (8 * half_length).bit_length())
    return whole if whole <= 2 * block else block


def _total_half_length(scene: Scene, steps: Sequence[Step]) -> int:
    """Return the longest half-length of the filters from any source to the sensor's new signal."""
    farthest = behind = 0
    for effect, _ in reversed(steps):
        half_length = behind + effect.half_length(scene.sample_rate)
        farthest = max(farthest, half_length)
        if isinstance(effect, LinearEffect):
            behind = half_length
    return farthest


def _sources(
    scene: Scene, steps: Sequence[Step], frequencies_hz: Tensor, edges: tuple[int, int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield waveforms, each with its response: filtered, they add up to the sensor's new signal.

    A waveform has `edges` more samples before and behind the clip; its response is that of all the
    effects from where it comes in, (B, F). The sensor's old signal comes first.
    """
    behind = torch.ones_like(frequencies_hz)[None]  # the response of the steps gone through
    added = []
    for effect, drawn in reversed(steps):
        if isinstance(effect, LinearEffect):
            behind = behind * effect.response(frequencies_hz, drawn, scene.sample_rate)
        elif isinstance(effect, StationaryNoise):
            num_samples = scene.bone.shape[-1] + sum(edges)
            first = scene.start - edges[0]
            white = white_noise(drawn["seed"], num_samples, first, scene.bone.dtype)
            added.append((white, effect.amplitude(frequencies_hz, scene, drawn) * behind))
        elif isinstance(effect, AmbientFilter) and scene.ambient is not None:
            response = effect.response(frequencies_hz, drawn, scene.sample_rate)
            if scene.leak_gain is not None:
                response = response * scene.leak_gain[:, None]
            added.append((pad(scene.ambient, edges), response * behind))
    if steps[0][0].reflects_edges:
        reflected = extend_by_reflection(scene.bone, scene.lengths, edges[0])
        yield pad(reflected, (0, edges[1] - edges[0])), behind
    else:
        yield pad(scene.bone, edges), behind
    yield from added
