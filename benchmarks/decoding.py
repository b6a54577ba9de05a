"""What it costs that recordings are decoded in a process of their own.

Every command reads a folder of so many files (half air, half sensor), alternately as users run it
and with BCSIM_DECODES_ITSELF=1, which decodes in the command's own process. The ratios are those
of the fastest runs: of seconds by the clock, and of seconds of all processors.

    python benchmarks/decoding.py [--files 1000] [--seconds 4] [--repeats 3] [--commands verify ...]
        [--json FILE]
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import lfilter

from bcsim.audio.contained import IN_THIS_PROCESS
from bcsim.audio.folder import audio_files
from bcsim.audio.read import read_audio
from bcsim.audio.write import write_audio
from bcsim.models.storage import build_enhancer, save_enhancer
from bcsim.rng import stream
from bcsim.workflows.presets import bundled_folder

RATE = 16_000
PAIRS = "--air {air} --bone {bone}"
COMMANDS = {
    "verify": "verify {dataset}",
    "import": "import {stereo} --from channels --channels air,bone --out {out}",
    "convert": "convert {dataset} --format webdataset --out {out}",
    "doctor": f"doctor {PAIRS}",
    "fit-response": f"fit-response {PAIRS} --estimator h1 --no-report --out {{out}}/x.sensor",
    "evaluate": f"evaluate {PAIRS} --sensor {{sensor}}",
    "enhance": "enhance --model {model} --in {bone} --out {out}",
    "train": "train --recipe {recipe} --pairs {pairs} --out {out}",
}
RECIPE = """
kind: training
sample_rate: 16000
model: {name: eben, width: 4}
losses: [{name: l1}]
training: {num_steps: 100, device: cpu}
data: {crop_s: 1.0, batch_size: 8, num_workers: 0}
"""


def make_recordings(folder: Path, num_files: int, seconds: float) -> None:
    """Write pairs of the demonstration's speech, each from another place."""
    speech = audio_files(bundled_folder("bcsim.assets") / "demo" / "air")
    air = np.concatenate([read_audio(path, RATE)[0] for path in speech])
    noise = 1e-3 * stream(1, "benchmark").standard_normal(len(air))
    recordings = {"air": air, "bone": lfilter([0.2], [1.0, -0.8], air) + noise}
    size = round(seconds * RATE)
    for number in range(num_files // 2):
        start = 997 * number % (len(air) - size)
        for role, samples in recordings.items():
            path = folder / "pairs" / role / f"s{number % 20:02d}" / f"{number:04d}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_audio(path, samples[start : start + size], RATE)
        both = np.stack([samples[start : start + size] for samples in recordings.values()], axis=1)
        path = folder / "stereo" / f"s{number % 20:02d}" / f"{number:04d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, both, RATE)


def run(command: str, places: dict[str, Path], in_this_process: bool) -> tuple[float, float]:
    """Run a command; return its seconds by the clock, and of all processors."""
    if places["out"].exists():
        shutil.rmtree(places["out"])
    words = [word.format(**places) for word in COMMANDS[command].split()]
    if command == "fit-response":
        places["out"].mkdir()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if in_this_process:
        environment[IN_THIS_PROCESS] = "1"
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "bcsim_cli.main", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    seconds = time.perf_counter() - started
    if done.returncode not in (0, 4):  # 4: of what is wrong with the demonstration's pairs
        sys.exit(f"{command} ended with {done.returncode}: {done.stderr[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, sum(after[:2]) - sum(before[:2])


def prepare(folder: Path, num_files: int, seconds: float) -> dict[str, Path]:
    """Write what the commands read; return the paths by name."""
    make_recordings(folder, num_files, seconds)
    (folder / "recipe.yaml").write_text(RECIPE, "utf-8")
    save_enhancer(folder / "model", build_enhancer({"name": "eben", "width": 4}, 0), {})
    pairs = folder / "pairs"
    places = {"pairs": pairs, "air": pairs / "air", "bone": pairs / "bone", "out": folder / "out"}
    places |= {name: folder / name for name in ("model", "dataset", "stereo")}
    places |= {
        "recipe": folder / "recipe.yaml",
        "sensor": bundled_folder("bcsim.assets") / "sensors" / "vibravox_throat.sensor",
    }
    run("import", places | {"out": places["dataset"]}, in_this_process=False)
    return places


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Cost of decoding in another process.")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=[*COMMANDS])
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    figures = []
    print("| command | seconds, in its process | in another | ratio | processors' ratio |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        places = prepare(Path(name), arguments.files, arguments.seconds)
        for command in arguments.commands:
            runs: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
            for _ in range(arguments.repeats):
                for itself, found in runs.items():
                    found.append(run(command, places, itself))
            (here, busy_here), (there, busy_there) = (
                [min(values) for values in zip(*runs[itself], strict=True)]
                for itself in (True, False)
            )
            figure = {"command": command, "seconds_here": here, "seconds_there": there}
            figures.append(figure | {"ratio": there / here, "cpu_ratio": busy_there / busy_here})
            print(
                f"| {command} | {here:.1f} | {there:.1f} | {there / here:.3f} | "
                f"{busy_there / busy_here:.3f} |",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
