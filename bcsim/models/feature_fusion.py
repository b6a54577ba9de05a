"""Fusion of the sensor with a noisy air microphone at the input: levels of both, and the pitch.

Body-conducted speech is noisy nowhere that the voice is strong, so its pitch and voicing tell a
network which of the microphone's frames and harmonics are speech. A design of this project: that
of the products which do this is not published.
"""

from types import MappingProxyType

import torch
from torch import Tensor, nn

from bcsim.dsp.features import deltas, pitch
from bcsim.dsp.spectra import power_of
from bcsim.models import MODELS
from bcsim.models.band_gains import SCALE_DB, MelBands, levels_db
from bcsim.models.envelope_mapper import LevelEncoder

MIDDLE_HZ = 150.0  # of voices; the network sees octaves from there
NUM_OF_PITCH = 3  # octaves, their change, and voicing


@MODELS.register("feature_fusion")
class FeatureFusion(MelBands):
    """Mask the microphone's mel bands, by the levels of both channels and the pitch of the sensor.

    One network of a convolution over five frames and gated units (GRU) sees the levels of the
    microphone's mel bands and of the sensor's, each relative to that of its loud speech
    (`SpectralEnhancer`), and of the sensor the fundamental frequency, its change over two frames,
    and the voicing. It predicts a gain from 0 to 1 for each of the microphone's bands; the phase
    is the microphone's. What the microphone lacks, this network cannot add: `gated_fusion` can.

    Frames have square-root Hann windows of two hops. The causal form runs forward only.

    Args:
        width: channels of the convolution, and units of each direction of a recurrent layer.
        num_layers: number of recurrent layers.
        input_bands: mel bands of each channel that the network sees.
        output_bands: mel bands of the mask.
        hop_size: hop in samples; a window is twice as long.
        with_pitch: whether the network sees the pitch.
        causal: whether the network looks ahead no further than its window.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes that make no network, or a window that is too short for a pitch.

    Example:
        >>> fusion = FeatureFusion(causal=True)
        >>> fusion.num_parameters, fusion.latency_samples
        (178600, 511)
    """

    small = MappingProxyType({"width": 4, "input_bands": 8, "output_bands": 6})

    def __init__(
        self,
        width: int = 96,
        num_layers: int = 2,
        input_bands: int = 64,
        output_bands: int = 40,
        hop_size: int = 256,
        with_pitch: bool = True,
        causal: bool = False,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if min(width, num_layers, input_bands, output_bands, hop_size, sample_rate) < 1:
            raise ValueError("feature_fusion: its sizes and the sample_rate have to be positive")
        config = {
            "width": width,
            "num_layers": num_layers,
            "input_bands": input_bands,
            "output_bands": output_bands,
            "hop_size": hop_size,
            "with_pitch": with_pitch,
            "causal": causal,
            "sample_rate": sample_rate,
        }
        self.set_bands(config, ("bone", "air"))
        self.with_pitch = with_pitch
        num_features = 2 * input_bands + (NUM_OF_PITCH if with_pitch else 0)
        self.encoder = LevelEncoder(num_features, width, num_layers, causal)
        self.mask = nn.Linear(width if causal else 2 * width, output_bands)
        if with_pitch:
            window = self.frames.analysis
            pitch(torch.zeros_like(window), window, sample_rate)  # raises for one too short

    def enhance_spectra(self, spectra: Tensor) -> Tensor:
        levels = levels_db(power_of(spectra) @ self.input_bank) / SCALE_DB
        features = [levels[:, 1], levels[:, 0]]
        if self.with_pitch:
            features.append(self._of_pitch(spectra[:, 0]))
        mask = torch.sigmoid(self.mask(self.encoder(torch.cat(features, dim=-1))))
        return spectra[:, 1] * (mask @ self.spread)

    def _of_pitch(self, bone: Tensor) -> Tensor:
        """Return pitch, its change, and voicing (B, frames, 3) for spectra (B, frames, F)."""
        frames = torch.fft.irfft(bone, self.frames.fft_size)
        frequency_hz, voicing = pitch(frames, self.frames.analysis, self.sample_rate)
        # Where there is no voice, its pitch is that of noise: the less it is to say.
        octaves = ((frequency_hz / MIDDLE_HZ).log2() * voicing)[..., None]
        return torch.cat([octaves, deltas(octaves), voicing[..., None]], dim=-1)

    @property
    def last_layer(self) -> Tensor:
        return self.mask.weight
