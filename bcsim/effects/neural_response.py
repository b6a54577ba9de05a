"""A network that was trained to be the sensor: an enhancer the other way round."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch.nn.functional import pad

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Scene
from bcsim.errors import InputError, UsageError, check_that
from bcsim.models.base import Enhancer
from bcsim.models.storage import AIR_TO_BONE, fingerprint_of, load_enhancer

MAX_CONTEXT_S = 1.0  # long clips are rendered in segments with a little more context than this
NUM_KEPT = 4  # networks that a process keeps


@EFFECTS.register("neural_response")
@dataclass(frozen=True)
class NeuralResponse(Effect):
    """Let a network turn the air signal into the sensor's, such as EBEN trained from air to bone.

    It replaces what the sensor has picked up so far, hence comes first; noise, level and delay of
    the sensor may follow. The same clip always gives the same signal, for a network draws nothing:
    it is one wearer, or the mean of those that it was trained on. The air signal should lie within
    [-1, 1], as in training.

    Args:
        model: folder of a network from air to bone, trained or imported, relative to the current
            folder.
        fingerprint: hash of the network; leave it empty. Resolved recipes hold it, so that a run
            is neither continued nor rendered again with another network in the same folder.
    """

    model: str
    fingerprint: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        # No field, for a recipe keeps the path that its author wrote; but worker processes may
        # stand elsewhere.
        self._set("_folder", Path(self.model).absolute())
        now = fingerprint_of(self.folder)
        check_that(
            self.fingerprint in ("", now),
            f"{self.model}: another network than the one that was used (fingerprint "
            f"{self.fingerprint[:12]}, now {now[:12]}); give that one, or leave fingerprint empty",
        )
        self._set("fingerprint", now)
        network = _load(self.folder, now, "cpu", torch.float64)
        farthest = round(MAX_CONTEXT_S * network.sample_rate)
        check_that(
            all(
                samples is not None and samples <= farthest
                for samples in (network.history_samples, network.latency_samples)
            ),
            f"{self.model}: its outputs depend on what is more than {MAX_CONTEXT_S:g} s away, and "
            "long clips are rendered in segments; give a network of a smaller receptive field",
        )

    @property
    def folder(self) -> Path:
        """The absolute path of `model`."""
        return self.__dict__["_folder"]

    @property
    def sample_rate(self) -> int:
        """The rate in Hz that the scene has to have."""
        return _load(self.folder, self.fingerprint, "cpu", torch.float64).sample_rate

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        air = scene.air
        network = _load(self.folder, self.fingerprint, str(air.device), air.dtype)
        if network.sample_rate != scene.sample_rate:
            raise UsageError(
                f"neural_response: {self.model} is a network for {network.sample_rate} Hz, the "
                f"pairs have {scene.sample_rate}; set sample_rate to {network.sample_rate}"
            )
        # A network gives the same from any of its frames on: a segment begins within one.
        lead = scene.start % network.frame_samples
        rows = []
        # One by one at its own length: no clip may depend on what it shares a batch with, and
        # convolutions round otherwise in a batch of another shape.
        for clip, length in zip(air, scene.lengths.tolist(), strict=True):
            bone = network(pad(clip[:length], (lead, 0))[None, None])[0, 0, lead:]
            rows.append(pad(bone, (0, air.shape[-1] - length)))
        return scene.with_bone(torch.stack(rows))


@lru_cache(maxsize=NUM_KEPT)
def _load(folder: Path, fingerprint: str, device: str, dtype: torch.dtype) -> Enhancer:
    """Read a network, once a process, and check that it has the fingerprint."""
    try:
        # Inference tensors could not pass gradients on to the air signal later.
        with torch.inference_mode(False):
            network = load_enhancer(folder, AIR_TO_BONE).to(device, dtype).requires_grad_(False)
        now = fingerprint_of(folder)
    except InputError as error:  # no fault of the clip that is being rendered
        raise UsageError(str(error)) from error
    if now != fingerprint:
        raise UsageError(f"{folder}: was changed during the run; start again with one network")
    return network
