"""A convolutional mapper of envelopes: several small networks, whose predictions are averaged.

It trains in a fraction of the time of a recurrent one. What is done with the levels that it
predicts is told in `bcsim.models.band_gains`.
"""

from collections.abc import Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from bcsim.models import MODELS
from bcsim.models.band_gains import FLOOR_DB, SCALE_DB, BandGains

KERNEL = 5  # frames of the first convolution
DILATED_KERNEL = 3  # frames of the others
RESIDUAL_SCALE = 0.1  # of the weights that the dilated ones begin with


@MODELS.register("conv_mapper")
class ConvMapper(BandGains):
    """Residual dilated convolutions that predict the mel envelopes of air, applied as gains.

    The levels of the sensor's mel bands pass a convolution over five frames, and one after the
    other dilated ones over three, each of which adds to what it is given. The causal form pads the
    past side only.

    Several networks of one shape, the members, are trained side by side, each on items of its own:
    item b of a batch goes to member b modulo their number. Outside training, their predictions in
    dB are averaged, which errs less than any one of them where pairs are few.

    Args:
        width: channels of a member.
        dilations: frames from one tap to the next, for every dilated convolution.
        members: number of networks.
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
        >>> mapper = ConvMapper(causal=True, members=1)
        >>> mapper.num_parameters, mapper.latency_samples
        (440488, 511)
    """

    small = MappingProxyType(
        {"width": 4, "dilations": [1, 32], "members": 2, "input_bands": 8, "output_bands": 6}
    )

    def __init__(
        self,
        width: int = 128,
        dilations: Sequence[int] = (1, 2, 4, 8, 1, 2, 4, 8),
        members: int = 2,
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
        if min(dilations, default=1) < 1:
            raise ValueError(f"dilations {list(dilations)}; each has to be 1 or more")
        config = {
            "width": width,
            "dilations": list(dilations),
            "members": members,
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
        self.members, channels = members, members * width
        self.first = FrameConvolution(members * input_bands, channels, KERNEL, 1, members, causal)
        self.dilated = nn.ModuleList(
            FrameConvolution(channels, channels, DILATED_KERNEL, dilation, members, causal)
            for dilation in dilations
        )
        with torch.no_grad():  # their sum would begin beyond the largest gain, and stay
            for name, parameter in self.dilated.named_parameters():
                parameter.mul_(RESIDUAL_SCALE if name.endswith("weight") else 1.0)
        self.levels = nn.Conv1d(channels, members * output_bands, 1, groups=members)

    def predict(self, levels: Tensor) -> Tensor:
        bands = levels.transpose(1, 2)
        if not self.training:
            return self._predicted(bands.repeat(1, self.members, 1)).mean(1).transpose(1, 2)
        # Too few items for all members: the first ones once more, for those that have none.
        missing = -len(bands) % self.members
        items = torch.cat([bands, *[bands[:1]] * missing])
        groups = items.unflatten(0, (-1, self.members)).flatten(1, 2)
        return self._predicted(groups).flatten(0, 1)[: len(bands)].transpose(1, 2)

    def _predicted(self, bands: Tensor) -> Tensor:
        """Return (groups, members, M, frames) for levels (groups, members * bands, frames)."""
        # Silence, not the level of loud speech, lies before the first frame.
        hidden = self.first(bands, FLOOR_DB / SCALE_DB)
        for layer in self.dilated:
            hidden = hidden + layer(torch.relu(hidden))
        return self.levels(torch.relu(hidden)).unflatten(1, (self.members, -1))

    @property
    def last_layer(self) -> Tensor:
        return self.levels.weight


class FrameConvolution(nn.Conv1d):
    """A convolution over frames, padded to as many as there were.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
        kernel: number of taps, odd.
        dilation: frames from one tap to the next.
        groups: groups of channels that do not see each other.
        causal: whether all taps but the last lie in the past.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, dilation: int, groups: int, causal: bool
    ) -> None:
        super().__init__(inputs, outputs, kernel, dilation=dilation, groups=groups)
        length = (kernel - 1) * dilation
        self.edge = (length, 0) if causal else (length // 2, length // 2)

    def forward(self, input: Tensor, outside: float = 0.0) -> Tensor:
        """Return (B, outputs, frames) for (B, inputs, frames), beside which `outside` lies."""
        return super().forward(pad(input, self.edge, value=outside))
