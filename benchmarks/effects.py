"""How fast the simulator is in memory, beside the filters of torchaudio and EBEN's own form.

Everything runs in one process, in turns, on the same clips, so that what else the machine does hits
all of it alike; the ratios are what can be compared between machines. Where there is a GPU, batches
are rendered there, else on one thread of the processor.

    python benchmarks/effects.py [--rounds 5] [--device cpu] [--json FILE]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torchaudio.functional import lowpass_biquad

from bcsim.dsp.noise import white_noise
from bcsim.effects.base import Scene
from bcsim.effects.distributions import Constant
from bcsim.effects.edge_fade import EdgeFade
from bcsim.effects.peak_normalize import PeakNormalize
from bcsim.effects.sensor_level import SensorLevel
from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.effects.sensor_speech import SensorSpeech
from bcsim.effects.white_noise import WhiteNoise
from bcsim.effects.zero_phase_lowpass import ZeroPhaseLowpass
from bcsim.sensors.profile import SensorProfile
from bcsim.simulator import Simulator
from bcsim.workflows.presets import find_sensor

RATE = 16_000
PADDING = 10_000  # samples of reflection, as published
CUTOFF_HZ, Q = 600.0, 1.0
FADE = 512
QUANTILE = 0.99999


@dataclass(frozen=True)
class Case:
    """Something to be timed.

    Args:
        name: for the table.
        run: does it once.
        num_samples: that it renders.
    """

    name: str
    run: Callable[[], object]
    num_samples: int


def lowpass_to_and_fro(signal: Tensor) -> Tensor:
    """Return (B, T) after torchaudio's biquad, forward and backward."""
    forward = lowpass_biquad(signal, RATE, CUTOFF_HZ, Q).flip(-1)
    return lowpass_biquad(forward, RATE, CUTOFF_HZ, Q).flip(-1)


def published_item(air: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return air and bone (1, T) as EBEN's TemporalTransforms make them of one item (1, T)."""
    padded = torch.nn.functional.pad(air, (PADDING, PADDING), mode="reflect")
    bone = lowpass_to_and_fro(padded)[:, PADDING:-PADDING]
    bone = bone + 0.005 * bone.std() * noise
    ramp = torch.linspace(0, 1, FADE, dtype=air.dtype, device=air.device).square()
    finished = []
    for signal in (air, bone):
        faded = signal.clone()
        faded[..., :FADE] *= ramp
        faded[..., -FADE:] *= ramp.flip(0)
        magnitudes = faded.abs().flatten().sort().values
        limit = magnitudes[int(len(magnitudes) * QUANTILE)]
        clipped = faded.clamp(-limit, limit)
        finished.append(clipped / clipped.abs().max())
    return finished[0], finished[1]


def temporal_transforms() -> Simulator:
    """Return the same as effects, with the published mean values."""
    return Simulator(
        (
            ZeroPhaseLowpass(Constant(CUTOFF_HZ), Constant(Q), PADDING),
            WhiteNoise(Constant(0.005)),
            EdgeFade(FADE),
            PeakNormalize(QUANTILE),
        ),
        RATE,
    )


def medians(cases: list[Case], rounds: int, device: str) -> dict[str, float]:
    """Return samples per second of each case, the median of rounds that take turns."""
    taken: dict[str, list[float]] = {case.name: [] for case in cases}
    for number in range(rounds + 1):
        for case in cases:
            _wait(device)
            started = time.perf_counter()
            case.run()
            _wait(device)
            if number:  # the first round warms up
                taken[case.name].append(time.perf_counter() - started)
    return {case.name: case.num_samples / statistics.median(taken[case.name]) for case in cases}


def fused(device: str, rounds: int) -> dict[str, float]:
    """Time response, noise and level, fused, beside torchaudio's low-pass."""
    profile = SensorProfile.load(find_sensor("vibravox_throat"))
    fixed = replace(profile, speech=None)
    steps = (SensorResponse(fixed), SensorNoise(fixed), SensorLevel(fixed))
    simulators = {
        "response + noise + level": Simulator(steps, RATE),
        "the same behind the band-gain network": Simulator((SensorSpeech(profile), *steps), RATE),
    }
    size = (64, 10 * RATE) if device == "cuda" else (16, 10 * RATE)
    clips = _clips(size, device)
    copied = torch.empty_like(clips)
    cases = [
        Case("read once, written once (the floor)", lambda: copied.copy_(clips), clips.numel()),
        Case("lowpass_biquad to and fro, batch", lambda: lowpass_to_and_fro(clips), clips.numel()),
    ]
    if device == "cpu":  # on a GPU, item by item takes minutes
        cases.append(
            Case(
                "lowpass_biquad to and fro, item by item",
                lambda: [lowpass_to_and_fro(clip[None]) for clip in clips],
                clips.numel(),
            )
        )
    for name, simulator in simulators.items():
        draws = [simulator.sample(0, str(number)) for number in range(len(clips))]
        cases.append(
            Case(
                name,
                lambda simulator=simulator, draws=draws: simulator.apply(
                    Scene.from_air(clips, RATE), draws
                ),
                clips.numel(),
            )
        )
    return medians(cases, rounds, device)


def transforms(device: str, rounds: int) -> tuple[dict[str, float], float]:
    """Time TemporalTransforms both ways; return also by how much they differ."""
    clips = _clips((32, 5 * RATE // 2), device)
    simulator = temporal_transforms()
    draws = [simulator.sample(0, str(number)) for number in range(len(clips))]
    seeds = torch.tensor([draw["white_noise"]["seed"] for draw in draws], device=device)
    noise = white_noise(seeds, clips.shape[-1], dtype=clips.dtype)

    def ours() -> Scene:
        return simulator.apply(Scene.from_air(clips, RATE), draws)

    def theirs() -> list[tuple[Tensor, Tensor]]:
        pairs = zip(clips, noise, strict=True)
        return [published_item(air[None], drawn[None]) for air, drawn in pairs]

    scene = ours()
    difference = max(
        float((torch.cat(signals) - made).abs().max())
        for signals, made in zip(zip(*theirs(), strict=True), (scene.air, scene.bone), strict=True)
    )
    cases = [
        Case("TemporalTransforms, EBEN's form", theirs, clips.numel()),
        Case("TemporalTransforms, bcsim", ours, clips.numel()),
    ]
    return medians(cases, rounds, device), difference


def _clips(size: tuple[int, int], device: str) -> Tensor:
    noise = white_noise(torch.arange(size[0]), size[1], dtype=torch.float32)
    return (0.1 * noise).to(device)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _table(speeds: dict[str, float], references: list[str]) -> str:
    heads = "".join(f" x {name} |" for name in references)
    lines = [
        f"| float32 | Msamples/s | x real time |{heads}",
        "|---|" + "---|" * (2 + len(references)),
    ]
    for name, speed in speeds.items():
        ratios = "".join(f" {speed / speeds[other]:.2f} |" for other in references)
        lines.append(f"| {name} | {speed / 1e6:.1f} | {speed / RATE:.0f} |{ratios}")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Speed of the simulator in memory.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    if device == "cuda":
        print(f"on {torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    else:
        found = "" if torch.cuda.is_available() else "no GPU here: "
        print(f"{found}on one thread of the processor, torch {torch.__version__}\n")
    with torch.inference_mode():
        speeds = fused(device, arguments.rounds)
        transformed, difference = transforms(device, arguments.rounds)
    floor, *references = [name for name in speeds if "floor" in name or "biquad" in name]
    print(_table(speeds, [floor, *references]) + "\n")
    print(_table(transformed, ["TemporalTransforms, EBEN's form"]))
    print(f"\nlargest difference between the two: {difference:.1e} (full scale is 1)")
    if arguments.json:
        figures = {"samples_per_s": {**speeds, **transformed}, "difference": difference}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
