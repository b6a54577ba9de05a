"""How fast clips are rendered, in multiples of real time on one core, by kind of sensor.

All kinds render the same clips in one run, in turns, so that what else the machine does hits all of
them alike; the ratio to the first kind is what can be compared between machines. EBEN's low-pass is
timed twice: as published (torchaudio's `filtfilt`), and as bcsim's effect.

    python benchmarks/rendering_speed.py [--seconds 10] [--clips 4] [--rounds 5]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from bcsim.effects.base import Constant
from bcsim.effects.sensor_level import SensorLevel
from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.effects.sensor_speech import SensorSpeech
from bcsim.effects.zero_phase_lowpass import ZeroPhaseLowpass
from bcsim.rng import stream
from bcsim.sensors.profile import SensorProfile
from bcsim.simulator import Simulator
from bcsim.workflows.presets import find_sensor

RATE = 16_000
PADDING = 10_000  # samples of reflection, as published


def published_lowpass(air: torch.Tensor) -> torch.Tensor:
    """Return what EBEN's published transform makes of (1, T): padded, filtered to and fro."""
    from torchaudio.functional import filtfilt  # slow to import

    from bcsim.dsp.biquad import lowpass_coefficients

    cutoff_hz, q = torch.tensor([[600.0], [1.0]], dtype=torch.float64)
    b, a = lowpass_coefficients(cutoff_hz, q, RATE)
    padded = torch.nn.functional.pad(air, (PADDING, PADDING), mode="reflect")
    return filtfilt(padded, a[0], b[0], clamp=False)[:, PADDING:-PADDING]


def kinds() -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Return the kinds of sensor: name to rendering of one clip (1, T)."""
    sensor = SensorProfile.load(find_sensor("vibravox_throat"))
    fixed = replace(sensor, speech=None)

    def whole(profile: SensorProfile) -> Callable[[torch.Tensor], torch.Tensor]:
        simulator = Simulator(
            (
                SensorSpeech(profile),
                SensorResponse(profile),
                SensorNoise(profile),
                SensorLevel(profile),
            ),
            RATE,
        )
        return lambda air: simulator.render(air, ["clip"], seed=0).bone

    lowpass = Simulator((ZeroPhaseLowpass(cutoff_hz=Constant(600.0), q=Constant(1.0)),), RATE)
    return {
        "EBEN's low-pass as published": published_lowpass,
        "EBEN's low-pass, bcsim": lambda air: lowpass.render(air, ["clip"], seed=0).bone,
        "fixed response, noise, level": whole(fixed),
        "band-gain network, response, noise, level": whole(sensor),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Rendering speed on one core.")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = stream(0, "rendering speed")
    size = round(arguments.seconds * RATE)
    clips = [0.1 * torch.from_numpy(generator.standard_normal((1, size))) for _ in range(4)]
    renderings = kinds()
    taken: dict[str, list[float]] = {name: [] for name in renderings}
    with torch.inference_mode():
        for render in renderings.values():
            render(clips[0])
        for _ in range(arguments.rounds):
            for name, render in renderings.items():
                started = time.perf_counter()
                for number in range(arguments.clips):
                    render(clips[number % len(clips)])
                taken[name].append(time.perf_counter() - started)
    spoken = arguments.clips * arguments.seconds
    reference = statistics.median(next(iter(taken.values())))
    print(f"{arguments.clips} clips of {arguments.seconds:g} s, median of {arguments.rounds}\n")
    print("| rendering | x real time a core | speed re the published low-pass |\n|---|---|---|")
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        print(f"| {name} | {spoken / median:.0f} | {reference / median:.2f} |")


if __name__ == "__main__":
    main()
