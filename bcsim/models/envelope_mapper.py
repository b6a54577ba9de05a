"""A mapper of envelopes: from the mel levels of the sensor to gains of mel bands.

A small recurrent network, the small sister of networks that map every bin. What is done with the
levels that it predicts is told in `bcsim.models.band_gains`.
"""

from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from bcsim.models import MODELS
from bcsim.models.band_gains import FLOOR_DB, SCALE_DB, BandGains

KERNEL = 5  # frames of the first convolution


@MODELS.register("envelope_mapper")
class EnvelopeMapper(BandGains):
    """A recurrent network that predicts the mel envelopes of air, which are applied as gains.

    The levels of the sensor's mel bands pass a convolution over five frames and a recurrent network
    of gated units (GRU). The causal form runs forward only.

    Args:
        width: channels of the convolution, and units of each direction of a recurrent layer.
        num_layers: number of recurrent layers.
        input_bands: mel bands of the sensor that the network sees.
        output_bands: mel bands whose gains are predicted.
        hop_size: hop in samples; a window is twice as long.
        causal: whether the network looks ahead no further than its window.
        gain_scale: part of the predicted gains in dB that is applied outside training, 0 to 1.
        expansion: dB that a band is turned down by, outside training, for every dB that its
            predicted level is below -25 dB re loud speech, and up for every dB above, 0 to 1.
        band_smoothing: weight of each of the two neighbours of a band in its gain outside training,
            0 to 1/3.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes that make no network, or a `gain_scale`, an `expansion` or a
            `band_smoothing` beyond its range.

    Example:
        >>> mapper = EnvelopeMapper(causal=True)
        >>> mapper.num_parameters, mapper.latency_samples
        (244392, 511)
    """

    small = MappingProxyType({"width": 4, "input_bands": 8, "output_bands": 6})

    def __init__(
        self,
        width: int = 128,
        num_layers: int = 2,
        input_bands: int = 64,
        output_bands: int = 40,
        hop_size: int = 256,
        causal: bool = False,
        gain_scale: float = 1.0,
        expansion: float = 0.0,
        band_smoothing: float = 0.0,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        config = {
            "width": width,
            "num_layers": num_layers,
            "input_bands": input_bands,
            "output_bands": output_bands,
            "hop_size": hop_size,
            "causal": causal,
            "gain_scale": gain_scale,
            "expansion": expansion,
            "band_smoothing": band_smoothing,
            "sample_rate": sample_rate,
        }
        self.set_gains(config)
        self.encoder = LevelEncoder(input_bands, width, num_layers, causal)
        self.levels = nn.Linear(width if causal else 2 * width, output_bands)

    def predict(self, levels: Tensor) -> Tensor:
        return self.levels(self.encoder(levels))

    @property
    def last_layer(self) -> Tensor:
        return self.levels.weight


class LevelEncoder(nn.Module):
    """A convolution over frames and a recurrent network, from levels to what is found in them.

    Args:
        bands: number of mel bands, M.
        width: channels of the convolution, and units of each direction of a recurrent layer.
        num_layers: number of recurrent layers.
        causal: whether it runs forward only.
    """

    def __init__(self, bands: int, width: int, num_layers: int, causal: bool) -> None:
        super().__init__()
        self.edge = (KERNEL - 1, 0) if causal else (KERNEL // 2, KERNEL // 2)
        self.convolution = nn.Conv1d(bands, width, KERNEL)
        self.recurrent = nn.GRU(
            width, width, num_layers, batch_first=True, bidirectional=not causal
        )

    def forward(self, levels: Tensor) -> Tensor:
        """Return (B, frames, units) for levels of mel bands over `SCALE_DB`, (B, frames, M)."""
        # Silence, not the level of loud speech, lies before the first frame.
        hidden = pad(levels.transpose(1, 2), self.edge, value=FLOOR_DB / SCALE_DB)
        return self.recurrent(torch.relu(self.convolution(hidden)).transpose(1, 2))[0]
