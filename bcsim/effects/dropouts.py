"""Digital gaps: packets that never arrive."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from bcsim.dsp.events import poisson_events
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Distribution, LogUniform, Parameter, Seed

LONGEST_MS = 1000.0


@EFFECTS.register("dropouts")
@dataclass(frozen=True)
class Dropouts(Effect):
    """Lose packets of the sensor's signal, at random moments.

    A model, not a measurement. Losses are a Poisson process; all packets of a clip are as long,
    but those that overlap make one longer gap.

    Args:
        rate_per_min: lost packets a minute.
        gap_ms: length of a packet, in ms; up to 1000.
        fill: content of a gap: "zero", or "hold" for the last sample before it, for up to 1 s.
        seed: seed of the random moments.
    """

    limits: ClassVar[Limits] = {"rate_per_min": (0.0, 6000.0), "gap_ms": (0.0, LONGEST_MS)}

    rate_per_min: Parameter = LogUniform(2.0, 30.0)
    gap_ms: Parameter = LogUniform(5.0, 60.0)
    fill: Literal["zero", "hold"] = "zero"
    seed: Distribution = Seed()

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        gap_s = drawn["gap_ms"].double().clamp(0, LONGEST_MS) / 1000
        num_samples, rate = scene.bone.shape[-1], scene.sample_rate
        start_s, end_s = scene.start / rate - gap_s, (scene.start + num_samples) / rate
        rate_hz = drawn["rate_per_min"] / 60
        events = poisson_events(drawn["seed"], rate_hz, start_s, end_s)
        longest = int(gap_s.max() * rate) + 1
        lost = events.times_s(longest, rate) < gap_s[events.clip][:, None]
        lost = events.place(lost, scene.bone, scene.start, rate) > 0
        if self.fill == "zero":
            return scene.with_bone(torch.where(lost, 0, scene.bone))
        positions = torch.arange(num_samples, device=lost.device)
        # In a gap that began before there is any sample, the first one is held at zero.
        last = torch.where(lost, -1, positions).cummax(dim=-1).values
        held = scene.bone.gather(-1, last.clamp(min=0))
        # Gaps that follow each other without a pause have no end to their length, yet a segment of
        # a long clip knows only so much of what came before.
        too_long = positions - last > LONGEST_MS / 1000 * rate
        return scene.with_bone(torch.where((last < 0) | too_long, 0, held))
