"""Simulation of an aligned pair's bone signal, with the simulator that renders corpora."""

from dataclasses import replace

from torch import Tensor

from bcsim.effects.base import Effect
from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.effects.sensor_speech import SensorSpeech
from bcsim.sensors.profile import SensorProfile
from bcsim.simulator import Simulator


def simulate(
    profile: SensorProfile,
    air: Tensor,
    clip_id: str,
    *,
    noise: bool = True,
    within_clip: bool = False,
) -> Tensor:
    """Simulate the mean wearer of a sensor, upright and without delay, as aligned pairs are.

    Args:
        profile: sensor to be simulated, fitted or provisional.
        air: (T,), air signal at the profile's sample rate.
        clip_id: name of the clip, which decides the waveforms of noise and residual.
        noise: whether to add the sensor's noise floor.
        within_clip: whether to draw the within-clip variation, that is, the residual.

    Returns:
        (T,), the sensor's signal.
    """
    upright = replace(profile, polarity=1)
    effects: list[Effect] = [SensorSpeech(upright), SensorResponse(upright)]
    if noise:
        effects.append(SensorNoise(upright))
    simulator = Simulator(tuple(effects), profile.sample_rate)
    scene = simulator.render(air[None], [clip_id], 0, mean=True, within_clip=within_clip)
    return scene.bone[0]
