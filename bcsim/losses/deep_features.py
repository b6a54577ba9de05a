"""The distance of what a classifier of sounds makes of two signals, layer by layer.

Germain, Chen and Koltun, "Speech denoising with deep feature losses", Interspeech 2019,
arXiv 1806.10522.
"""

import logging
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from bcsim.losses import LOSSES
from bcsim.losses.base import Objective, mean_over_processes
from bcsim.losses.sound_classifier import NUM_LAYERS, build_classifier, load_classifier

log = logging.getLogger(__name__)


@LOSSES.register("deep_features")
class DeepFeatures(Objective):
    r"""Mean absolute differences of the features in a classifier's first layers.

    .. math:: \sum_{l=1}^{L} \frac{1}{w_l} \mathrm{mean} \lvert \phi_l(\hat{s}) - \phi_l(s) \rvert

    The weights w are 1 during a warm-up. Then each is the mean distance of its layer over the last
    part of the warm-up, and stays so: where the enhancer is at the end of it, every layer counts
    as 1. Published are six layers, and ten passes over the training data, of which the last is
    averaged. The classifier itself does not learn.

    Args:
        classifier: folder of a run of the recipe `deep_feature_loss_net`, from the current folder;
            None takes the features of random weights, of the published sizes.
        num_layers: number of layers that are compared, from the first.
        warmup_batches: number of batches, or of parts of accumulated ones, before the weights are
            fixed.
        averaged_batches: number of these, the last ones, that the weights are averaged over.
        sample_rate: sample rate in Hz, which has to be the classifier's.

    Raises:
        ValueError: for numbers that make no loss, or a classifier of another sample rate.
        InputError: if the classifier cannot be read.
    """

    weights: Tensor
    sums: Tensor
    num_batches: Tensor

    def __init__(
        self,
        classifier: str | None = None,
        num_layers: int = 6,
        warmup_batches: int = 1000,
        averaged_batches: int = 100,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        if not (1 <= num_layers <= NUM_LAYERS and 1 <= averaged_batches <= warmup_batches):
            raise ValueError(
                f"num_layers {num_layers}, averaged_batches {averaged_batches}, warmup_batches "
                f"{warmup_batches}; it wants 1 to {NUM_LAYERS} layers, and to average 1 batch or "
                "more, all of the warm-up at most"
            )
        if classifier is None:
            log.warning("deep_features: no classifier is given; its features have random weights")
            net = build_classifier({"classes": {}, "sample_rate": sample_rate}, seed=0).eval()
        else:
            net = load_classifier(Path(classifier))
        if net.sample_rate != sample_rate:
            raise ValueError(
                f"{classifier} is a classifier at {net.sample_rate} Hz, and sample_rate is "
                f"{sample_rate}"
            )
        self.classifier = net.requires_grad_(False)
        self.num_layers = num_layers
        self.warmup_batches, self.averaged_batches = warmup_batches, averaged_batches
        # What a checkpoint keeps: a run that goes on has the weights that it had.
        self.register_buffer("weights", torch.ones(num_layers))
        self.register_buffer("sums", torch.zeros(num_layers))
        self.register_buffer("num_batches", torch.zeros(()))

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.classifier.eval()
        return self

    def terms(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        found = self._distances(estimate, target)
        weights = self.weights.clone()  # the gradient is that of this batch, whatever comes next
        if self.training and estimate.requires_grad and self.num_batches < self.warmup_batches:
            self._warm_up(mean_over_processes(found.detach()))
        return {"deep_features": (found / weights).sum()}

    def _distances(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return the mean absolute difference of each layer's features, (layers,)."""
        dtype = self.weights.dtype
        with torch.autocast(estimate.device.type, enabled=False):
            made = self.classifier.features(estimate.to(dtype), self.num_layers)
            with torch.no_grad():
                wanted = self.classifier.features(target.to(dtype), self.num_layers)
        return torch.stack([(a - b).abs().mean() for a, b in zip(made, wanted, strict=True)])

    @torch.no_grad()
    def _warm_up(self, distances: Tensor) -> None:
        """Count a batch, and fix the weights after the last one of the warm-up."""
        self.num_batches += 1
        if self.num_batches > self.warmup_batches - self.averaged_batches:
            self.sums += distances
        if self.num_batches == self.warmup_batches:
            means = self.sums / self.averaged_batches
            self.weights.copy_(torch.where(means > 0, means, torch.ones_like(means)))
