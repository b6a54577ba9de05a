"""Feature matching: distance of real and generated speech in a discriminator's features."""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from bcsim.losses.adversarial.base import Features
from bcsim.losses.base import mean_over_processes

Convention = Literal["reference", "eben", "melgan", "hifi_gan"]


class FeatureMatching:
    r"""L1 distance of features.

    .. math::
        \sum_{n,l} w_{nl}\; \overline{\lvert D_{nl}(s) - D_{nl}(\hat s) \rvert}\, /\, r_{nl}

    over networks n and layers l. Four conventions:

    - `reference`: inner layers; relative to the size of the real speech's features, so that the
      loss does not fall when these shrink; mean over layers, then networks.
    - `eben`: inner layers; relative to the *generated* speech's features, through which the
      gradient flows too; the sum, divided by the number of networks times the number of inner
      layers of the last network. As in Vibravox.
    - `melgan`: inner layers, absolute; mean over layers, then networks. As in SEANet and in EBEN's
      first version, with a weight of 100, and in MelGAN itself up to a factor.
    - `hifi_gan`: all layers, score maps included, absolute; twice the sum.

    No gradient flows to the real speech's features, which do not depend on the generator.

    Args:
        convention: name of the convention.

    Raises:
        ValueError: for an unknown convention.
    """

    def __init__(self, convention: Convention = "reference") -> None:
        if convention not in get_args(Convention):
            raise ValueError(
                f"feature_matching: convention is {convention!r}; it wants one of "
                f"{', '.join(get_args(Convention))}"
            )
        self.convention = convention

    def __call__(self, real: Features, fake: Features) -> Tensor:
        """Return the distance, a scalar.

        Args:
            real: features of real speech.
            fake: features of generated speech, through which the gradient flows.
        """
        last = None if self.convention == "hifi_gan" else -1
        networks = [
            list(zip(r[:last], f[:last], strict=True)) for r, f in zip(real, fake, strict=True)
        ]
        layers = [layer for network in networks for layer in network]
        distances = torch.stack([l1_loss(theirs, ours.detach()) for ours, theirs in layers])
        if self.convention in ("reference", "eben"):
            side = 0 if self.convention == "reference" else 1
            sizes = [
                (layer[side].detach() if side == 0 else layer[side]).abs().mean()
                for layer in layers
            ]
            # Of the whole batch, which with several processes is in several places.
            distances = distances / mean_over_processes(torch.stack(sizes)).clamp_min(1e-8)
        if self.convention == "hifi_gan":
            return 2 * distances.sum()
        if self.convention == "eben":
            return distances.sum() / (len(networks) * len(networks[-1]))
        counts = [len(network) for network in networks]
        return torch.stack([part.mean() for part in distances.split(counts)]).mean()
