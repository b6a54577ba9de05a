"""Higher or lower voices at the same pace, both sides of a pair alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Parameter, Uniform
from bcsim.effects.speed import change_speed

FRAME_S = 0.064
OVERLAP = 4  # frames over each sample
FLOOR = 1e-6  # of the loudest bin: what is below has no phase worth keeping


@EFFECTS.register("pitch")
@dataclass(frozen=True)
class Pitch(Effect):
    r"""Shift the pitch of every channel and keep the pace.

    A phase vocoder (Flanagan and Golden 1966, doi 10.1002/j.1538-7305.1966.tb01706.x) stretches the
    clip by :math:`r = 2^{n/12}`, and playing it r times as fast brings the duration back and the
    pitch up. The vocoder turns the phases of every frame, those round a peak of the spectrum alike
    (Laroche and Dolson 1999, doi 10.1109/89.759041); the turns are found on air and done to all
    channels, so the response from one side to the other moves along the frequency axis with the
    voice and loses neither gain nor phase. Formants move, too.

    Args:
        semitones: shift n in semitones, up or, if negative, down.
    """

    needs_whole_clip: ClassVar[bool] = True
    limits: ClassVar[Limits] = {"semitones": (-24.0, 24.0)}

    semitones: Parameter = Uniform(-2.0, 2.0)

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        lengths = scene.lengths.tolist()
        shifts = [
            _Shift(air[:length], semitones, scene.sample_rate)
            for air, length, semitones in zip(
                scene.air, lengths, drawn["semitones"].tolist(), strict=True
            )
        ]
        return scene.each(lambda signal: _each_clip(signal, lengths, shifts))


class _Shift:
    """The shift of every channel of a clip, with the phases that are found on air (T,)."""

    def __init__(self, air: Tensor, semitones: float, sample_rate: int) -> None:
        self.ratio = 2 ** (semitones / 12)
        self.hop = max(1, round(FRAME_S * sample_rate / OVERLAP))
        self.num_fft = OVERLAP * self.hop
        spectrum = self._spectrum(air.detach())
        position = torch.arange(
            0, spectrum.shape[-1] - 1, 1 / self.ratio, dtype=torch.float64, device=air.device
        )
        self.frame = position.long()  # (K,), the frame that each new one is made of
        self.part = position - self.frame  # and how far it is on the way to the next
        magnitude = spectrum.abs()
        phase = torch.where(magnitude > FLOOR * magnitude.max(), spectrum.angle(), 0)
        advance = (phase[:, 1:] - phase[:, :-1])[:, self.frame]
        first = phase[:, self.frame[:1]]
        accumulated = torch.cat([first, first + advance.cumsum(-1)[:, :-1]], dim=-1)
        turn = accumulated - phase[:, self.frame]
        # The bins of one partial turn together, or they would cancel.
        self.turn = turn.gather(0, _nearest_peak(magnitude[:, self.frame]))  # (F, K), radians

    def __call__(self, clip: Tensor) -> Tensor:
        if self.ratio == 1:
            return clip
        spectrum = self._spectrum(clip)
        here, next_one = spectrum[:, self.frame], spectrum[:, self.frame + 1].abs()
        magnitude = here.abs() * (1 - self.part) + next_one * self.part
        turned = torch.polar(magnitude, here.angle() + self.turn)
        window = self._window(clip)
        stretched = torch.istft(turned, self.num_fft, self.hop, window=window)
        shifted = change_speed(stretched, self.ratio)[self.num_fft :]
        shifted = pad(shifted, (0, max(0, len(clip) - len(shifted))))[: len(clip)]
        return shifted.to(clip.dtype)

    def _spectrum(self, clip: Tensor) -> Tensor:
        """Return (F, N) of the clip with silence of a frame before and two behind."""
        padded = pad(clip.double(), (self.num_fft, 2 * self.num_fft))
        return torch.stft(
            padded,
            self.num_fft,
            self.hop,
            window=self._window(clip),
            pad_mode="constant",
            return_complex=True,
        )

    def _window(self, clip: Tensor) -> Tensor:
        return torch.hann_window(self.num_fft, dtype=torch.float64, device=clip.device)


def _nearest_peak(magnitude: Tensor) -> Tensor:
    """Return for every bin (F, K) the bin of the nearest peak in its frame; itself without one."""
    num_bins = len(magnitude)
    number = torch.arange(num_bins, device=magnitude.device)[:, None].expand_as(magnitude)
    edges = pad(magnitude, (0, 0, 1, 1), value=-1.0)
    is_peak = (magnitude > edges[:-2]) & (magnitude >= edges[2:]) & (magnitude > 0)
    below = torch.where(is_peak, number, -num_bins).cummax(0).values
    above = torch.where(is_peak, number, 2 * num_bins).flip(0).cummin(0).values.flip(0)
    nearest = torch.where(number - below <= above - number, below, above)
    return torch.where((nearest >= 0) & (nearest < num_bins), nearest, number)


def _each_clip(signal: Tensor, lengths: Sequence[int], shifts: Sequence[_Shift]) -> Tensor:
    rows = [shift(row[:n]) for row, n, shift in zip(signal, lengths, shifts, strict=True)]
    padded = pad_sequence(rows, batch_first=True)
    return pad(padded, (0, signal.shape[-1] - padded.shape[-1]))
