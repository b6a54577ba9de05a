"""A mapper of envelopes: from the mel levels of the sensor to gains of mel bands.

What a body-conduction sensor lacks is above all the envelope of bands over time, which a small
recurrent network predicts from the sensor's own: the small sister of networks that map every bin.
The phase stays the sensor's.
"""

from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from bcsim.dsp.mel import mel_means
from bcsim.dsp.spectra import power_of
from bcsim.models import MODELS
from bcsim.models.spectral import SpectralEnhancer, sine_frames

KERNEL = 5  # frames of the first convolution
MIN_POWER = 1e-10  # relative to loud frames
FLOOR_DB, CEILING_DB = -60.0, 20.0  # of the bands' levels, relative to that of loud speech
MAX_GAIN_DB = 40.0
MIDDLE_DB = -25.0  # of the bands' levels in speech, relative to that of loud speech
MAX_CONTRAST_DB = 30.0  # from there that the expansion goes by
SCALE_DB = 20.0  # of the network's inputs and outputs


@MODELS.register("envelope_mapper")
class EnvelopeMapper(SpectralEnhancer):
    """A recurrent network that predicts the mel envelopes of air, and applies them as gains.

    The levels of the sensor's mel bands, relative to that of loud speech (`SpectralEnhancer`), pass
    a convolution over five frames and a recurrent network of gated units (GRU), which predicts the
    levels of air's bands. The spectra of the sensor are multiplied by the difference of predicted
    and own levels, within 40 dB, interpolated over the bins.

    Frames have square-root Hann windows of two hops. The causal form runs forward only.

    Few pairs teach a network less about other talkers than it believes: of the gains that it
    predicts for them, part is wrong. Outside training, `gain_scale` of every gain in dB is applied,
    and neighbouring bands are averaged, while training itself sees the gains as predicted. Levels
    between the sensor's and the predicted ones rise and fall less than either, which `expansion`
    makes up for.

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

    input_bank: Tensor
    output_bank: Tensor
    spread: Tensor
    smoothed_spread: Tensor

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
        sizes = (width, num_layers, input_bands, output_bands, hop_size, sample_rate)
        if min(sizes) < 1:
            raise ValueError("envelope_mapper: its sizes and the sample_rate have to be positive")
        _check_within("gain_scale", gain_scale, 1)
        _check_within("expansion", expansion, 1)
        _check_within("band_smoothing", band_smoothing, 1 / 3)
        self.config = {
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
        self.sample_rate, self.channels = sample_rate, ("bone",)
        self.set_frames(sine_frames(2 * hop_size), 0 if causal else None)
        set_bands(self, 2 * hop_size, input_bands, output_bands)
        self.gain_scale, self.expansion = gain_scale, expansion
        smoothed = band_average(output_bands, band_smoothing) @ self.spread
        self.register_buffer("smoothed_spread", smoothed, persistent=False)
        self.encoder = LevelEncoder(input_bands, width, num_layers, causal)
        self.levels = nn.Linear(width if causal else 2 * width, output_bands)

    def enhance_spectra(self, spectra: Tensor) -> Tensor:
        bone = spectra[:, 0]
        power = power_of(bone)
        own_db = levels_db(power @ self.output_bank)
        hidden = levels_db(power @ self.input_bank) / SCALE_DB
        predicted_db = SCALE_DB * self.levels(self.encoder(hidden))
        gains_db = (predicted_db - own_db).clamp(-MAX_GAIN_DB, MAX_GAIN_DB)
        if self.training:
            return bone * 10 ** (gains_db @ self.spread / 20)
        contrast_db = (predicted_db - MIDDLE_DB).clamp(-MAX_CONTRAST_DB, MAX_CONTRAST_DB)
        gains_db = self.gain_scale * gains_db + self.expansion * contrast_db
        return bone * 10 ** (gains_db @ self.smoothed_spread / 20)

    @property
    def last_layer(self) -> Tensor:
        return self.levels.weight

    def reduced(self, share: float) -> "EnvelopeMapper":
        applied = {name: share * self.config[name] for name in ("gain_scale", "expansion")}
        network = EnvelopeMapper(**{**self.config, **applied})
        network.load_state_dict(self.state_dict())
        return network.eval()


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


def set_bands(model: SpectralEnhancer, num_fft: int, input_bands: int, output_bands: int) -> None:
    """Give a model the banks of mel bands that it sees, and of those whose gains it predicts.

    Args:
        model: enhancer whose buffers `input_bank` (F, input bands), `output_bank` (F, M) and
            `spread` (M, F), which interpolates values of the latter over the bins, are set.
        num_fft: size of the FFT in samples, F = num_fft // 2 + 1.
        input_bands: number of mel bands that the model sees.
        output_bands: number of mel bands whose gains it predicts, M.
    """
    with torch.device("cpu"):  # the bands are there whatever device the weights are made on
        input_bank, output_bank = (
            mel_means(model.sample_rate, num_fft, bands) for bands in (input_bands, output_bands)
        )
        banks = {"input_bank": input_bank.T, "output_bank": output_bank.T}
        banks["spread"] = band_interpolation(output_bank)
    for name, bank in banks.items():
        model.register_buffer(name, bank.float(), persistent=False)


def band_interpolation(bank: Tensor) -> Tensor:
    """Return (M, F) that interpolates values of the bands of a bank (M, F) over the bins."""
    weights = bank / bank.amax(1, keepdim=True)
    peaks = weights.argmax(1)
    weights[0, : peaks[0]] = weights[-1, peaks[-1] :] = 1
    return weights / weights.sum(0)


def band_average(bands: int, neighbour: float) -> Tensor:
    """Return (M, M), rows of gains of M bands to their averages over a band and its neighbours.

    Args:
        bands: number of bands, M.
        neighbour: weight of either neighbour; the outer bands are their own outer neighbours.
    """
    with torch.device("cpu"):
        padded = pad(torch.eye(bands)[None], (1, 1), mode="replicate")[0]
    return neighbour * (padded[:, :-2] + padded[:, 2:]) + (1 - 2 * neighbour) * padded[:, 1:-1]


def levels_db(power: Tensor) -> Tensor:
    """Return levels in dB of power relative to that of loud speech, from -60 to 20."""
    return (10 * torch.log10(power + MIN_POWER)).clamp(FLOOR_DB, CEILING_DB)


def _check_within(name: str, value: float, highest: float) -> None:
    if not 0 <= value <= highest:
        raise ValueError(f"envelope_mapper: {name} is {value:g}; it wants 0 to {highest:.2g}")
