"""What the body itself does that a sensor on it picks up."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bcsim.dsp.events import Events, periodic_events, poisson_events
from bcsim.dsp.fir import fast_length, frequency_grid
from bcsim.dsp.levels import db_to_amplitude
from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Choice, Distribution, Parameter, Seed, Uniform
from bcsim.sensors.profile import SensorProfile

SPREAD_DB = 2.0  # of loudness from event to event, standard deviation
DETUNING = 0.1  # of a thump's frequency, relative, standard deviation
SYSTOLE_S = 0.3  # from the first to the second heart sound
SECOND_SOUND = 0.5


@EFFECTS.register("body_noise")
@dataclass(frozen=True)
class BodyNoise(Effect):
    r"""Add footsteps, motion, friction, heartbeat and swallowing.

    These are models, not measurements: parametric, to be switched off each by a rate of 0. A level
    is the RMS at an event's loudest moment, in dB over active speech at the sensor; events of a
    kind differ by 2 dB. Footsteps, motion and the two heart sounds are damped thumps,

    .. math:: s(t) = (x/3)^3 e^{3-x} \sqrt 2 \sin 2\pi f t,\quad x = 2\pi b t,

    whose energy lies below 85 Hz; friction and swallowing are bursts of coloured noise. It belongs
    after the sensor's response and before what comes later in the chain, such as `saturation`.

    Args:
        sensor: sensor at whose mean level speech is expected; given by the simulator.
        footstep_rate_hz: steps a second, nearly regular; around 25 Hz each. By default the wearer
            walks in half of the clips.
        footstep_level_db: level of a step, in dB over active speech.
        motion_rate_per_min: moves of head and cable a minute, at random; around 10 Hz each.
        motion_level_db: level of a move, in dB over active speech.
        friction_rate_per_min: bursts a minute, at random; 20 to 100 ms each, mostly 1 to 4 kHz.
        friction_level_db: level of a burst, in dB over active speech.
        heartbeat_rate_hz: beats a second, nearly regular; two thumps each, at 35 and 50 Hz.
        heartbeat_level_db: level of the louder thump, in dB over active speech.
        swallow_rate_per_min: swallows a minute, at random; 0.3 to 0.6 s each, 0.1 to 0.8 kHz.
        swallow_level_db: level of a swallow, in dB over active speech.
        seed: seed of the random moments and waveforms.
    """

    limits: ClassVar[Limits] = {
        "footstep_rate_hz": (0.0, 20.0),
        "footstep_level_db": (-200.0, 200.0),
        "motion_rate_per_min": (0.0, 600.0),
        "motion_level_db": (-200.0, 200.0),
        "friction_rate_per_min": (0.0, 600.0),
        "friction_level_db": (-200.0, 200.0),
        "heartbeat_rate_hz": (0.0, 20.0),
        "heartbeat_level_db": (-200.0, 200.0),
        "swallow_rate_per_min": (0.0, 600.0),
        "swallow_level_db": (-200.0, 200.0),
    }

    sensor: SensorProfile
    footstep_rate_hz: Parameter = Choice((0.0, 0.0, 0.0, 1.7, 1.9, 2.1))
    footstep_level_db: Parameter = Uniform(-20.0, 0.0)
    motion_rate_per_min: Parameter = Uniform(0.0, 6.0)
    motion_level_db: Parameter = Uniform(-25.0, -5.0)
    friction_rate_per_min: Parameter = Uniform(0.0, 10.0)
    friction_level_db: Parameter = Uniform(-40.0, -20.0)
    heartbeat_rate_hz: Parameter = Uniform(1.0, 1.5)
    heartbeat_level_db: Parameter = Uniform(-50.0, -30.0)
    swallow_rate_per_min: Parameter = Uniform(0.0, 2.0)
    swallow_level_db: Parameter = Uniform(-35.0, -15.0)
    seed: Distribution = Seed()

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        level = scene.speech_level().detach() * 10 ** (self.sensor.level_db / 20)
        noise = (
            _thumps(scene, drawn, "footstep", 1, frequency_hz=25.0, bandwidth_hz=10.0)
            + _thumps(scene, drawn, "motion", 2, frequency_hz=10.0, bandwidth_hz=5.0)
            + _bursts(scene, drawn, "friction", 3, (1000.0, 4000.0), (0.02, 0.1), humps=1)
            + _thumps(scene, drawn, "heartbeat", 4, frequency_hz=35.0, bandwidth_hz=10.0)
            + _bursts(scene, drawn, "swallow", 5, (100.0, 800.0), (0.3, 0.6), humps=2)
        )
        return scene.with_bone(scene.bone + (level[:, None] * noise).to(scene.bone.dtype))


def _thumps(
    scene: Scene, drawn: Drawn, kind: str, process: int, frequency_hz: float, bandwidth_hz: float
) -> Tensor:
    """Return all thumps of a kind, (B, T), for speech of level 1."""
    beats = kind == "heartbeat"
    lasts_s = 24 / (2 * math.pi * bandwidth_hz)  # then it is 128 dB down
    lasts_s += SYSTOLE_S if beats else 0
    events = _events(scene, drawn, kind, process, lasts_s)
    loudness, detuning = events.normal(2).split(1, dim=1)
    hz = frequency_hz * (1 + DETUNING * detuning)
    time_s = events.times_s(math.ceil(lasts_s * scene.sample_rate), scene.sample_rate)
    shapes = _thump(time_s, hz, bandwidth_hz)
    if beats:
        second = _thump((time_s - SYSTOLE_S).clamp(min=0), hz * (50 / 35), bandwidth_hz)
        shapes = shapes + SECOND_SOUND * second
    return _placed(scene, drawn, kind, events, shapes, loudness)


def _bursts(
    scene: Scene,
    drawn: Drawn,
    kind: str,
    process: int,
    band_hz: tuple[float, float],
    duration_s: tuple[float, float],
    humps: int,
) -> Tensor:
    """Return all bursts of a kind, (B, T), for speech of level 1."""
    shortest_s, longest_s = duration_s
    events = _events(scene, drawn, kind, process, longest_s)
    if len(events.clip) == 0:
        return torch.zeros_like(scene.bone)  # there is no transform of no rows
    loudness, length = events.normal(2).split(1, dim=1)
    lasts_s = shortest_s + (longest_s - shortest_s) * torch.special.ndtr(length)
    num_samples = fast_length(math.ceil(longest_s * scene.sample_rate))
    frequencies_hz = frequency_grid(num_samples, scene.sample_rate, scene.bone)
    low, high = ((frequencies_hz / edge) ** 4 for edge in band_hz)
    colour = (low / (1 + low) / (1 + high)).sqrt()
    colour = colour / colour[1:-1].square().mean().sqrt()
    noise = torch.fft.irfft(torch.fft.rfft(events.noise(num_samples)) * colour, num_samples)
    part = events.times_s(num_samples, scene.sample_rate) / lasts_s
    shapes = torch.where(part < 1, torch.sin(math.pi * humps * part).square(), 0) * noise
    return _placed(scene, drawn, kind, events, shapes, loudness)


def _thump(time_s: Tensor, frequency_hz: Tensor, bandwidth_hz: float) -> Tensor:
    x = 2 * math.pi * bandwidth_hz * time_s
    tone = torch.sin(2 * math.pi * frequency_hz * time_s)
    return (x / 3) ** 3 * torch.exp(3 - x) * (math.sqrt(2) * tone)


def _events(scene: Scene, drawn: Drawn, kind: str, process: int, lasts_s: float) -> Events:
    """Return what lasts into the scene: regular where the rate is in Hz, else at random."""
    start_s = scene.start / scene.sample_rate - lasts_s
    end_s = (scene.start + scene.bone.shape[-1]) / scene.sample_rate
    rate_hz = drawn.get(f"{kind}_rate_hz")
    if rate_hz is not None:
        return periodic_events(drawn["seed"], rate_hz, 0.1, start_s, end_s, process)
    rate_hz = drawn[f"{kind}_rate_per_min"] / 60
    return poisson_events(drawn["seed"], rate_hz, start_s, end_s, process)


def _placed(
    scene: Scene, drawn: Drawn, kind: str, events: Events, shapes: Tensor, loudness: Tensor
) -> Tensor:
    level_db = drawn[f"{kind}_level_db"][events.clip][:, None] + SPREAD_DB * loudness
    shapes = shapes * db_to_amplitude(level_db)
    return events.place(shapes, scene.bone, scene.start, scene.sample_rate)
