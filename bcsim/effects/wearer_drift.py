"""A wearer whose sensor sits a little differently from one moment to the next."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from bcsim.dsp.filter_bank import FilterBank
from bcsim.dsp.noise import white_noise
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Distribution, Parameter, Seed, WithinClipVariation
from bcsim.sensors.profile import MAX_COMPONENTS, SensorProfile


@EFFECTS.register("wearer_drift")
@dataclass(frozen=True)
class WearerDrift(Effect):
    r"""Let the sensor's response wander slowly within the clip, along its spread.

    .. math:: G(t, f) = s \sum_k z_k(t)\,c_k(f)\ \mathrm{dB}

    where :math:`c_k` are the components between the wearers that `sensor_response` draws from.
    Each :math:`z_k` is Gaussian of unit variance at all times: it turns from one knot to the next,
    :math:`z_i\cos\theta + z_{i+1}\sin\theta`, with :math:`\theta` rising smoothly to a quarter
    turn. How far a sensor moves while it is worn is a model, not a measurement.

    Args:
        sensor: sensor with its spread; given by the simulator.
        scale: scale s in standard deviations between wearers; 0 in the mean rendering.
        seed: seed of the trajectory.
        time_constant_s: time from knot to knot, in seconds.
    """

    limits: ClassVar[Limits] = {"scale": (0.0, 20.0), "time_constant_s": (0.01, 3600.0)}

    sensor: SensorProfile
    scale: Parameter = WithinClipVariation(0.3)
    seed: Distribution = Seed()
    time_constant_s: float = 2.0

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        bank = FilterBank(scene.sample_rate)
        # Frames are counted from the clip's start, wherever this segment begins.
        early = scene.start % bank.hop
        bone = pad(scene.bone, (early, 0))
        count = int(bank.num_frames(torch.tensor(bone.shape[-1])))
        frames = scene.start // bank.hop + torch.arange(count, device=bone.device)
        middle_s = (frames * bank.hop - bank.num_fft // 2 + bank.hop) / scene.sample_rate
        scale = drawn["scale"].double()[:, None, None]
        trajectory = self._trajectory(middle_s, drawn["seed"]) * scale
        gains_db = trajectory @ self._components_db(bank).to(trajectory)
        return scene.with_bone(bank.filter(bone, gains_db.to(bone.dtype))[:, early:])

    def _trajectory(self, time_s: Tensor, seeds: Tensor) -> Tensor:
        """Return z at some times, (B, frames, K)."""
        position = time_s.double() / self.time_constant_s
        first = math.floor(float(position[0]))
        num_knots = math.floor(float(position[-1])) - first + 2
        # As many numbers a knot whatever the sensor has, so that more components change no other.
        numbers = white_noise(seeds, num_knots * MAX_COMPONENTS, first * MAX_COMPONENTS)
        knots = numbers.unflatten(-1, (num_knots, MAX_COMPONENTS))
        knots = knots[..., : len(self.sensor.spread_components_db)]
        whole = position.floor()
        left = whole.long() - first
        part = torch.sin((position - whole) * (math.pi / 2)).square()
        angle = (part * (math.pi / 2))[:, None]
        return knots[:, left] * angle.cos() + knots[:, left + 1] * angle.sin()

    def _components_db(self, bank: FilterBank) -> Tensor:
        """Return the components at the centres of the bank's bands, (K, M)."""
        grid = self.sensor.transfer_function.frequencies_hz
        centres = bank.centres_hz.numpy()
        rows = [np.interp(centres, grid, row) for row in self.sensor.spread_components_db]
        return torch.from_numpy(np.array(rows).reshape(-1, len(centres)))
