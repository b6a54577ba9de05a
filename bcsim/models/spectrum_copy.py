"""Band extension by moving spectrum: what lies above the sensor's band is copied from within it.

Makhoul and Berouti, "High-frequency regeneration in speech coding systems", ICASSP 1979,
doi 10.1109/ICASSP.1979.1170672, name folding and translation.
"""

import math
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bcsim.dsp.features import pitch
from bcsim.dsp.mel import mel_means
from bcsim.dsp.spectra import power_of, sine_window
from bcsim.models import MODELS
from bcsim.models.band_gains import SCALE_DB, band_interpolation, levels_db
from bcsim.models.spectral import SpectralEnhancer, recurrent_outputs, sine_frames
from bcsim.rng import stream

HOP_S = 0.01
PITCH_HZ = (80.0, 400.0)
VOICED = 0.5  # part of a frame's power that repeats after a period
NOISE_FRAMES = 64  # after which the noise of `excite` repeats
MAX_GAIN_DB = 60.0
EQUALIZER_DB = 100.0  # Adam moves every weight alike; gains have further to go than weights
_MIN_POWER = 1e-12  # added under the root, whose slope is then finite in silence


@MODELS.register("spectrum_copy")
class SpectrumCopy(SpectralEnhancer):
    r"""Fill the bins above the sensor's band with copies of a band within it, and weigh the bins.

    Copies lie side by side up to half the sample rate. `translate` moves the band upwards by a
    multiple of its width; `fold` mirrors every other copy, as upsampling without a filter does;
    `excite` takes white noise that is as loud as the band in that frame. A move by k bins turns the
    phase of frame m by :math:`2 \pi k m H / N` (hop H, FFT size N), or the copies of a tone would
    cancel where frames overlap.

    What is below stays, and all bins together pass an equalizer of constant gains, and a recurrent
    network that gives every bin a factor from 0 to that of `highest_gain_db`. Either may be left
    out. Frames of 20 ms every 10 ms have sine windows both ways.

    As the study notes had it, copies keep the sensor's phase at their place (`keep_phase`), and
    the mask only attenuates. The count of parameters is that of their network.

    Args:
        mode: source of the new band: "translate", "fold" or "excite".
        source_low_hz: lower end of the band that is copied, in Hz.
        source_high_hz: upper end of it, above which the sensor conveys nothing, in Hz.
        snap_to_pitch: whether `translate` moves voiced frames by the next larger multiple of the
            pitch, so that copies of harmonics are harmonics.
        keep_phase: whether copies take over magnitudes alone.
        tilt_db_per_octave: gain of the copies for every octave above their source, in dB.
        equalizer_bands: mel bands of the equalizer; 0 for none.
        mask_layers: recurrent layers of the mask; 0 for none.
        mask_units: units of each direction of a recurrent layer.
        highest_gain_db: largest gain of the mask in dB.
        causal: whether the mask's network runs forward only, and nothing looks ahead further than
            its window.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for bands or sizes that do not fit together.

    Example:
        >>> SpectrumCopy().num_parameters
        1718675
        >>> SpectrumCopy(mask_layers=0, equalizer_bands=40).num_parameters
        40
    """

    small = MappingProxyType({"mask_layers": 1, "mask_units": 4, "equalizer_bands": 6})

    shift: Tensor
    source: Tensor
    mirrored: Tensor
    tilt: Tensor
    noise: Tensor
    spread: Tensor
    equalizer: nn.Parameter | None
    recurrent: nn.LSTM | None
    mask: nn.Linear | None

    def __init__(
        self,
        mode: Literal["translate", "fold", "excite"] = "translate",
        source_low_hz: float = 1650.0,
        source_high_hz: float = 2450.0,
        snap_to_pitch: bool = False,
        keep_phase: bool = False,
        tilt_db_per_octave: float = 0.0,
        equalizer_bands: int = 0,
        mask_layers: int = 3,
        mask_units: int = 161,
        highest_gain_db: float = 0.0,
        causal: bool = False,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if min(equalizer_bands, mask_layers) < 0 or equalizer_bands + mask_layers == 0:
            raise ValueError(
                f"spectrum_copy: equalizer_bands {equalizer_bands}, mask_layers {mask_layers}; it "
                "wants either of them, or nothing can be learnt"
            )
        if min(mask_units, sample_rate) < 1 or abs(highest_gain_db) > MAX_GAIN_DB:
            raise ValueError(
                "spectrum_copy: mask_units and sample_rate have to be positive, and "
                f"highest_gain_db within {MAX_GAIN_DB:g} dB"
            )
        if snap_to_pitch and mode != "translate":
            raise ValueError(f"spectrum_copy: mode {mode} has no pitch to snap to; use translate")
        self.config = {
            "mode": mode,
            "source_low_hz": source_low_hz,
            "source_high_hz": source_high_hz,
            "snap_to_pitch": snap_to_pitch,
            "keep_phase": keep_phase,
            "tilt_db_per_octave": tilt_db_per_octave,
            "equalizer_bands": equalizer_bands,
            "mask_layers": mask_layers,
            "mask_units": mask_units,
            "highest_gain_db": highest_gain_db,
            "causal": causal,
            "sample_rate": sample_rate,
        }
        self.sample_rate, self.channels = sample_rate, ("bone",)
        self.mode, self.snap_to_pitch, self.keep_phase = mode, snap_to_pitch, keep_phase
        hop = round(HOP_S * sample_rate)
        one_way = causal or not mask_layers
        frames = sine_frames(2 * hop)
        self.set_frames(frames, 0 if one_way else None, relative_level=mask_layers > 0)
        if not mask_layers and not snap_to_pitch:
            self.history_samples = frames.length - 1
        # A move by an odd number of bins turns every other frame by half a turn.
        self.frame_samples = hop * (NOISE_FRAMES if mode == "excite" else 2)
        self._set_source(source_low_hz, source_high_hz, tilt_db_per_octave)
        self._set_gains(equalizer_bands, mask_layers, mask_units, causal)
        self.highest_gain = 10 ** (highest_gain_db / 20)

    def _set_source(self, low_hz: float, high_hz: float, tilt_db_per_octave: float) -> None:
        """Set the source of every bin above the source band, and how far it is moved."""
        num_bins = self.frames.fft_size // 2 + 1
        bin_hz = self.sample_rate / self.frames.fft_size
        low, high = (round(frequency_hz / bin_hz) for frequency_hz in (low_hz, high_hz))
        if not 0 < low < high < num_bins:
            raise ValueError(
                f"spectrum_copy: a source from {low_hz:g} to {high_hz:g} Hz; it wants some bins of "
                f"{bin_hz:g} Hz above 0, and others between them and {self.sample_rate / 2:g} Hz"
            )
        self.low, self.high = low, high
        target, width = np.arange(high, num_bins), high - low
        copy = (target - high) // width + 1
        mirrored = (copy % 2 == 1) & (self.mode == "fold")
        # A mirrored bin is the conjugate of its source, moved up from the negative frequency.
        shift = np.where(mirrored, 2 * high - 1 + (copy - 1) * width, copy * width)
        source = np.where(mirrored, shift - target, target - shift)
        octaves = np.log2(target / source)
        for name, values in (("shift", shift), ("source", source), ("mirrored", mirrored)):
            self.register_buffer(name, torch.from_numpy(values), persistent=False)
        tilt = torch.from_numpy(10 ** (tilt_db_per_octave * octaves / 20)).float()
        self.register_buffer("tilt", tilt, persistent=False)
        noise = _periodic_noise(self.frames.hop_size)[:, high:]
        parts = torch.from_numpy(np.stack([noise.real, noise.imag])).float()
        self.register_buffer("noise", parts, persistent=False)

    def _set_gains(self, bands: int, num_layers: int, units: int, causal: bool) -> None:
        """Make the equalizer and the network of the mask."""
        num_fft = self.frames.fft_size
        self.equalizer = self.recurrent = self.mask = None
        if bands:
            with torch.device("cpu"):  # the bands are there whatever device the weights are made on
                spread = band_interpolation(mel_means(self.sample_rate, num_fft, bands)).float()
            self.register_buffer("spread", spread, persistent=False)
            self.equalizer = nn.Parameter(torch.zeros(bands))
        if num_layers:
            num_bins = num_fft // 2 + 1
            self.recurrent = nn.LSTM(
                num_bins, units, num_layers, batch_first=True, bidirectional=not causal
            )
            self.mask = nn.Linear(units if causal else 2 * units, num_bins)

    def enhance_spectra(self, spectra: Tensor) -> Tensor:
        bone = spectra[:, 0]
        copies = self._copies(bone) * self.tilt
        if self.keep_phase:
            own = bone[..., self.high :]
            copies = own * ((power_of(copies) + _MIN_POWER) / (power_of(own) + _MIN_POWER)).sqrt()
        extended = torch.cat([bone[..., : self.high], copies], dim=-1)
        if self.equalizer is not None:
            extended = extended * 10 ** (EQUALIZER_DB * self.equalizer @ self.spread / 20)
        if self.recurrent is None or self.mask is None:
            return extended
        hidden = recurrent_outputs(self.recurrent, levels_db(power_of(extended)) / SCALE_DB)
        return extended * (self.highest_gain * torch.sigmoid(self.mask(hidden)))

    def _copies(self, bone: Tensor) -> Tensor:
        """Return what is put above the source band, (B, frames, bins), complex."""
        number = torch.arange(bone.shape[1], device=bone.device)
        if self.mode == "excite":
            power = power_of(bone[..., self.low : self.high]).mean(-1, keepdim=True)
            noise = torch.complex(*self.noise)[number % NOISE_FRAMES]
            return (power + _MIN_POWER).sqrt() * noise
        if self.snap_to_pitch:
            return self._snapped(bone)
        picked = bone[..., self.source]
        picked = torch.where(self.mirrored, picked.conj(), picked)
        # A hop is half a frame, so a move by k bins turns frame m by k m half-turns.
        return picked * (1 - 2 * (self.shift * number[:, None] % 2))

    def _snapped(self, bone: Tensor) -> Tensor:
        """Return copies that are moved by multiples of the pitch, where there is one."""
        harmonic_bins = pitch_bins(bone.detach(), self.sample_rate)[..., None]
        shift = self.shift.double().expand(*bone.shape[:2], -1)
        multiple = (shift / harmonic_bins.clamp(min=1e-3)).ceil() * harmonic_bins
        shift = torch.where(harmonic_bins > 0, multiple, shift)
        moved = shift.round().long()
        source = (torch.arange(self.high, bone.shape[-1], device=bone.device) - moved).clamp(min=0)
        # In the middle of a frame, the move has turned by pi a bin and hop, averaged over the frame
        # and the one before; a move by whole bins turns by pi a bin until there.
        before = torch.cat([shift[:, :1], shift[:, :-1]], dim=1)
        half_turns = ((shift + before) / 2).cumsum(1) - moved
        angle = (math.pi * (half_turns % 2)).to(bone.real.dtype)
        return bone.gather(-1, source) * torch.polar(torch.ones_like(angle), angle)

    @property
    def last_layer(self) -> Tensor:
        weights = self.equalizer if self.mask is None else self.mask.weight
        assert weights is not None
        return weights


def pitch_bins(spectra: Tensor, sample_rate: int) -> Tensor:
    """Return the pitch of each frame in bins, 0 where it has none from 80 to 400 Hz.

    Frames of which less than half repeats after a period (`bcsim.dsp.features.pitch`) have none.

    Args:
        spectra: spectra of frames with a sine window as long as the FFT, (B, frames, F), complex.
        sample_rate: sample rate in Hz.

    Returns:
        (B, frames), float64.
    """
    size = 2 * (spectra.shape[-1] - 1)
    window = torch.from_numpy(sine_window(size)).to(spectra.device)
    frames = torch.fft.irfft(spectra, size).double()
    lowest_hz, highest_hz = PITCH_HZ
    frequency_hz, voicing = pitch(
        frames, window, sample_rate, f_min_hz=lowest_hz, f_max_hz=highest_hz
    )
    return torch.where(voicing > VOICED, frequency_hz * (size / sample_rate), 0.0)


def _periodic_noise(hop: int) -> NDArray[np.complex128]:
    """Return the spectra of frames of white noise that goes round, (frames, F), of power 1."""
    samples = stream(0, "spectrum_copy").standard_normal(NOISE_FRAMES * hop).reshape(-1, hop)
    frames = np.concatenate([samples, np.roll(samples, -1, axis=0)], axis=1)
    window = sine_window(2 * hop)
    return np.fft.rfft(frames * window) / np.sqrt(np.square(window).sum())
