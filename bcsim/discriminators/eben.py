"""EBEN's discriminators: of PQMF bands, and one of MelGAN's for the whole.

Hauret, Joubaud, Zimpfer and Bavu, IEEE/ACM TASLP 2023, doi 10.1109/TASLP.2023.3313433. State dict
and outputs are those of the published checkpoints.
"""

import itertools

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from bcsim.discriminators import DISCRIMINATORS
from bcsim.discriminators.base import Discriminator, Features
from bcsim.discriminators.melgan import SLOPE, WaveNetwork, run_layers
from bcsim.dsp.pqmf import PQMF, split_bands

DILATIONS = (1, 2, 3)
NUM_STRIDED = 5


@DISCRIMINATORS.register("eben")
class EBENMultiBand(Discriminator):
    """Three networks of the upper bands, with different dilations, and one of the waveform.

    Args:
        q: number of bands, from the highest down, that the band networks get.
        min_channels: channels at the first level of the band networks; they double at each of five.
        melgan_width: channels at the first level of the waveform's network; 16 as published.
        melgan_groups: groups in each of that network's strided convolutions; MelGAN has 4 to 256.
        m: number of bands of the PQMF.
        n: number of taps of the PQMF.

    Raises:
        ValueError: for sizes that make no network.

    Example:
        >>> sum(weights.numel() for weights in EBENMultiBand().parameters())
        23161344
    """

    bands_filters: Tensor

    def __init__(
        self,
        q: int = 4,
        min_channels: int = 24,
        melgan_width: int = 16,
        melgan_groups: int = 4,
        m: int = 4,
        n: int = 32,
    ) -> None:
        super().__init__()
        if not 1 <= q <= m:
            raise ValueError(f"eben discriminator: q is {q}; it wants 1 to m = {m} bands")
        if min_channels < 1 or min_channels % q:
            raise ValueError(
                f"eben discriminator: min_channels is {min_channels}; it wants a multiple of q = "
                f"{q}, since every band has channels of its own"
            )
        self.q = q
        self.m = m
        # Not in the state dict, where the published checkpoints have none.
        filters = PQMF(m, n).analysis_weights.detach()
        self.register_buffer("bands_filters", filters, persistent=False)
        self.pqmf_discriminators = nn.ModuleList(
            _BandNetwork(q, min_channels, dilation) for dilation in DILATIONS
        )
        self.melgan_discriminator = WaveNetwork(melgan_width, (melgan_groups,) * 4)

    def features(self, speech: Tensor, bands: Tensor | None) -> Features:
        if bands is None:
            bands = split_bands(speech, self.bands_filters, self.m)
        elif bands.shape[1] != self.m:
            raise ValueError(
                f"the eben discriminator was given {bands.shape[1]} bands and looks at {self.m}; "
                "set its m to the enhancer's"
            )
        upper = bands[:, -self.q :]
        return [
            *[network(upper) for network in self.pqmf_discriminators],
            self.melgan_discriminator(speech),
        ]


class _BandNetwork(nn.Module):
    """A network of grouped, strided convolutions; the bands do not mix before the last layer."""

    def __init__(self, num_bands: int, width: int, dilation: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(NUM_STRIDED + 1)]

        def conv(narrow: int, wide: int, kernel: int, stride: int, padding: int) -> nn.Module:
            # The published padding is that of the undilated kernel.
            return weight_norm(
                nn.Conv1d(narrow, wide, kernel, stride, padding, dilation, groups=num_bands)
            )

        layers: list[nn.Module] = [
            nn.Sequential(
                nn.ReflectionPad1d(1),
                conv(num_bands, width, kernel=3, stride=1, padding=1),
                nn.LeakyReLU(SLOPE),
            ),
            *[
                nn.Sequential(
                    conv(narrow, wide, kernel=7, stride=2, padding=3), nn.LeakyReLU(SLOPE)
                )
                for narrow, wide in itertools.pairwise(widths)
            ],
            nn.Sequential(
                conv(widths[-1], widths[-1], kernel=5, stride=1, padding=2), nn.LeakyReLU(SLOPE)
            ),
            weight_norm(nn.Conv1d(widths[-1], 1, kernel_size=3, padding=1)),
        ]
        self.discriminator = nn.ModuleList(layers)

    def forward(self, bands: Tensor) -> list[Tensor]:
        return run_layers(self.discriminator, bands)
