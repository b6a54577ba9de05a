"""Fusion of the sensor with a noisy air microphone: a mapping, a mask, and a gate between them.

The sensor's speech is mapped, as what it lacks cannot be unmasked; the microphone's is masked, as
it has all of it. Late fusion of the two is after Yu, Hung, Wang, Tsao and Hung, "Time-domain
multi-modal bone/air conducted speech enhancement", IEEE SPL 2020, arXiv 1911.09847.
"""

from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from bcsim.dsp.spectra import power_of
from bcsim.models import MODELS
from bcsim.models.band_gains import MAX_GAIN_DB, SCALE_DB, MelBands, levels_db
from bcsim.models.envelope_mapper import LevelEncoder

_MIN_MASK = 1e-4  # of 0, the level has no logarithm


@MODELS.register("gated_fusion")
class GatedFusion(MelBands):
    r"""Map the sensor's mel bands, mask the microphone's, and weigh the two in every band.

    .. math:: \hat{S} = g\, m\, A + (1 - g)\, 10^{(l - l_B)/20}\, B

    with the spectra A of air and B of bone, a mask m and a gate g from 0 to 1 in every band and
    frame, and the levels l of clean air that are predicted in place of the sensor's own. Each
    channel passes a convolution over five frames and a recurrent network of gated units (GRU) of
    its own, and sees the levels of its mel bands relative to that of loud speech
    (`SpectralEnhancer`), so that the gain of either does not matter. As the microphone's level is
    that of speech and noise, what mask and gate see decides how much softer the mapped speech is.

    Frames have square-root Hann windows of two hops. The causal form runs forward only.

    Args:
        fusion: "gated": mask and gate see what both networks found; "late": either channel is
            enhanced by itself, and the gate sees the levels of the two results; "air": the mask
            alone, without the sensor, to compare with (the mapping alone is `envelope_mapper`).
        width: channels of the convolutions, and units of each direction of the recurrent networks.
        input_bands: mel bands of each channel that the networks see.
        output_bands: mel bands of the mapping, the mask and the gate.
        hop_size: hop in samples; a window is twice as long.
        causal: whether the network looks ahead no further than its window.
        sample_rate: sample rate in Hz.

    Raises:
        ValueError: for sizes that make no network.

    Example:
        >>> [GatedFusion(fusion).num_parameters for fusion in ("gated", "late", "air")]
        [324025, 303993, 150280]
    """

    small = MappingProxyType({"width": 4, "input_bands": 8, "output_bands": 6})

    def __init__(
        self,
        fusion: Literal["gated", "late", "air"] = "gated",
        width: int = 96,
        input_bands: int = 64,
        output_bands: int = 40,
        hop_size: int = 256,
        causal: bool = False,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if min(width, input_bands, output_bands, hop_size, sample_rate) < 1:
            raise ValueError("gated_fusion: its sizes and the sample_rate have to be positive")
        config = {
            "fusion": fusion,
            "width": width,
            "input_bands": input_bands,
            "output_bands": output_bands,
            "hop_size": hop_size,
            "causal": causal,
            "sample_rate": sample_rate,
        }
        self.set_bands(config, ("bone", "air"))
        self.fusion = fusion
        found = width if causal else 2 * width
        self.air = LevelEncoder(input_bands, width, 1, causal)
        self.mask = nn.Linear(2 * found if fusion == "gated" else found, output_bands)
        if fusion == "air":
            return
        self.bone = LevelEncoder(input_bands, width, 1, causal)
        self.levels = nn.Linear(found, output_bands)
        self.offset = nn.Linear(self.mask.in_features, 1)
        merged = 2 * found if fusion == "gated" else 2 * output_bands
        self.gate = nn.Linear(merged, output_bands)

    def enhance_spectra(self, spectra: Tensor) -> Tensor:
        power = power_of(spectra)
        inputs = levels_db(power @ self.input_bank) / SCALE_DB
        seen = self.air(inputs[:, 1])
        if self.fusion == "air":
            return spectra[:, 1] * (torch.sigmoid(self.mask(seen)) @ self.spread)
        of_bone = self.bone(inputs[:, 0])
        if self.fusion == "gated":
            seen = torch.cat([seen, of_bone], dim=-1)
        own_db = levels_db(power @ self.output_bank)
        mapped_db = SCALE_DB * (self.levels(of_bone) + self.offset(seen))
        mask = torch.sigmoid(self.mask(seen))
        if self.fusion == "late":
            masked_db = own_db[:, 1] + 20 * (mask + _MIN_MASK).log10()
            seen = torch.cat([masked_db, mapped_db], dim=-1) / SCALE_DB
        gate = torch.sigmoid(self.gate(seen)) @ self.spread
        gains_db = (mapped_db - own_db[:, 0]).clamp(-MAX_GAIN_DB, MAX_GAIN_DB)
        mapped = spectra[:, 0] * 10 ** (gains_db @ self.spread / 20)
        return gate * (mask @ self.spread) * spectra[:, 1] + (1 - gate) * mapped

    @property
    def last_layer(self) -> Tensor:
        return self.mask.weight if self.fusion == "air" else self.gate.weight
