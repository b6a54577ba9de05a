"""What mappers of envelopes share: levels of mel bands in, gains of mel bands out.

What a body-conduction sensor lacks is above all the envelope of bands over time, which a small
network predicts from the sensor's own. The phase stays the sensor's.
"""

from abc import abstractmethod
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from bcsim.dsp.mel import mel_means
from bcsim.dsp.spectra import power_of
from bcsim.models.spectral import SpectralEnhancer, sine_frames

MIN_POWER = 1e-10  # relative to loud frames
FLOOR_DB, CEILING_DB = -60.0, 20.0  # of the bands' levels, relative to that of loud speech
MAX_GAIN_DB = 40.0
MIDDLE_DB = -25.0  # of the bands' levels in speech, relative to that of loud speech
MAX_CONTRAST_DB = 30.0  # from there that the expansion goes by
SCALE_DB = 20.0  # of a network's inputs and outputs


class MelBands(SpectralEnhancer):
    """An enhancer that sees mel bands, and works on others that are spread over the bins.

    Its buffers are `input_bank` (F, input bands), `output_bank` (F, M) and `spread` (M, F), which
    interpolates values of the latter over the bins. Frames have square-root Hann windows of two
    hops. Subclasses call `set_bands` in their constructor.
    """

    input_bank: Tensor
    output_bank: Tensor
    spread: Tensor

    def set_bands(self, config: dict[str, Any], channels: tuple[str, ...]) -> None:
        """Set frames and bands.

        Args:
            config: arguments of the constructor, all of them, under their names.
            channels: channels of the input.
        """
        self.config = config
        self.sample_rate, self.channels = config["sample_rate"], channels
        num_fft = 2 * config["hop_size"]
        self.set_frames(sine_frames(num_fft), 0 if config["causal"] else None)
        with torch.device("cpu"):  # the bands are there whatever device the weights are made on
            input_bank, output_bank = (
                mel_means(self.sample_rate, num_fft, config[name])
                for name in ("input_bands", "output_bands")
            )
            banks = {"input_bank": input_bank.T, "output_bank": output_bank.T}
            banks["spread"] = band_interpolation(output_bank)
        for name, bank in banks.items():
            self.register_buffer(name, bank.float(), persistent=False)


class BandGains(MelBands):
    """An enhancer that predicts the mel envelopes of air in `predict`, and applies them as gains.

    The levels of the sensor's mel bands are relative to that of loud speech (`SpectralEnhancer`).
    The spectra of the sensor are multiplied by the difference of predicted and own levels, within
    40 dB, interpolated over the bins.

    Few pairs teach a network less about other talkers than it believes: of the gains that it
    predicts for them, part is wrong. Outside training, `gain_scale` of every gain in dB is applied,
    and neighbouring bands are averaged, while training itself sees the gains as predicted. Levels
    between the sensor's and the predicted ones rise and fall less than either, which `expansion`
    makes up for.

    Subclasses call `set_gains` in their constructor.
    """

    smoothed_spread: Tensor

    def set_gains(self, config: dict[str, Any]) -> None:
        """Set frames, bands, and what is applied of the predicted gains.

        Args:
            config: arguments of the constructor, all of them, under their names: the sizes,
                `causal`; `gain_scale`, part of the gains in dB that is applied outside training, 0
                to 1; `expansion`, dB that a band is turned down by for every dB that its predicted
                level is below -25 dB re loud speech, and up for every dB above, 0 to 1;
                `band_smoothing`, weight of each of the two neighbours of a band in its gain, 0 to
                1/3.

        Raises:
            ValueError: for sizes that make no network, or a value beyond its range.
        """
        kind = type(self).__name__
        sizes = [value for value in config.values() if type(value) is int]
        if min(sizes) < 1:
            raise ValueError(f"{kind}: its sizes and the sample_rate have to be positive")
        for name, highest in (("gain_scale", 1.0), ("expansion", 1.0), ("band_smoothing", 1 / 3)):
            if not 0 <= config[name] <= highest:
                wanted = f"it wants 0 to {highest:.2g}"
                raise ValueError(f"{kind}: {name} is {config[name]:g}; {wanted}")
        self.set_bands(config, ("bone",))
        smoothed = band_average(config["output_bands"], config["band_smoothing"]) @ self.spread
        self.register_buffer("smoothed_spread", smoothed, persistent=False)

    @abstractmethod
    def predict(self, levels: Tensor) -> Tensor:
        """Return the levels of air's bands (B, frames, M) for the sensor's (B, frames, bands).

        Both are in dB relative to loud speech, over `SCALE_DB`.
        """

    def enhance_spectra(self, spectra: Tensor) -> Tensor:
        bone = spectra[:, 0]
        power = power_of(bone)
        own_db = levels_db(power @ self.output_bank)
        predicted_db = SCALE_DB * self.predict(levels_db(power @ self.input_bank) / SCALE_DB)
        gains_db = (predicted_db - own_db).clamp(-MAX_GAIN_DB, MAX_GAIN_DB)
        if self.training:
            return bone * 10 ** (gains_db @ self.spread / 20)
        contrast_db = (predicted_db - MIDDLE_DB).clamp(-MAX_CONTRAST_DB, MAX_CONTRAST_DB)
        gains_db = self.config["gain_scale"] * gains_db + self.config["expansion"] * contrast_db
        return bone * 10 ** (gains_db @ self.smoothed_spread / 20)

    def reduced(self, share: float) -> Self:
        applied = {name: share * self.config[name] for name in ("gain_scale", "expansion")}
        network = type(self)(**{**self.config, **applied})
        network.load_state_dict(self.state_dict())
        return network.eval()


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
