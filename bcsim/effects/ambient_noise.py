"""Recorded noise around the talker, as the air microphone picks it up."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from bcsim.effects import EFFECTS
from bcsim.effects.base import Drawn, Effect, Limits, Scene
from bcsim.effects.distributions import Parameter, Recordings, Uniform
from bcsim.effects.playback import gain_for_snr, measured_snr_db, play, recorded_power


@EFFECTS.register("ambient_noise")
@dataclass(frozen=True)
class AmbientNoise(Effect):
    """Add a recording of ambient noise to what the air microphone picks up.

    The clean speech stays the target; the sensor picks up the noise by `ambient_leakage`, further
    down the recipe. Recordings that are shorter than the clip go round. Twice in a recipe, each
    noise has its own SNR against the speech alone; together they are louder than either. A part of
    a recording that is faint beside the whole of it is raised by at most 20 dB more than the whole
    would be, and a silent recording is refused.

    Args:
        noise: folder of recordings of the noise alone; each clip draws one.
        position: place in the recording where the clip starts, 0 to 1.
        snr_db: energy of speech over energy of noise at the air microphone in the whole clip, both
            about their means, in dB.
        level: level of the noise: by "snr", or as "recorded" in the file, full scale at 1.
    """

    needs_whole_clip: ClassVar[bool] = True
    limits: ClassVar[Limits] = {"position": (0.0, 1.0), "snr_db": (-200.0, 200.0)}

    noise: Recordings
    position: Parameter = Uniform(0.0, 1.0)
    snr_db: Parameter = Uniform(0.0, 20.0)
    level: Literal["snr", "recorded"] = "snr"

    def apply(self, scene: Scene, drawn: Drawn) -> Scene:
        noise = play(self.noise, drawn["noise"], drawn["position"], scene) * scene.mask()
        speech = scene.microphone - (0 if scene.ambient is None else scene.ambient)
        if self.level == "snr":
            power = recorded_power(self.noise, drawn["noise"], scene)
            gain, snr_db = gain_for_snr(speech, noise, drawn["snr_db"], scene.lengths, power)
            noise = noise * gain
        else:
            snr_db = measured_snr_db(speech, noise, scene.lengths)
        return scene.with_ambient(noise).with_measured(snr_db=snr_db)
