"""What it costs that recordings are decoded in a process of their own.

Every command reads a folder of so many files (half air, half sensor) as users run it and with
BCSIM_DECODES_ITSELF=1, which decodes in the command's own process: one right after the other, in
turn this and that one first. Of the ratios of such pairs of runs, of seconds by the clock and of
seconds of all processors, the median is printed, and the lowest and the highest. Both runs must end
with the same exit code, say the same and write the same files, but for times.

    python benchmarks/decoding.py [--files 1000] [--seconds 4] [--repeats 5] [--commands verify ...]
        [--json FILE]
"""

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
TIMES = re.compile(r"\b[0-9.]+ (s|seconds|steps/s)\b")
# Of a run of `train`: they tell of times.
TIMED = re.compile(r"pace\.jsonl|report\.html|tensorboard/.*")
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


@dataclass(frozen=True)
class Run:
    """One run of a command.

    Args:
        seconds: by the clock.
        busy_s: seconds of all processors.
        result: exit code, output, and SHA-256 of each file that was written, by its path.
    """

    seconds: float
    busy_s: float
    result: dict[str, str]


def run(command: str, places: dict[str, Path], in_this_process: bool) -> Run:
    """Run a command."""
    out = places["out"]
    if out.exists():
        shutil.rmtree(out)
    words = [word.format(**places) for word in COMMANDS[command].split()]
    if command == "fit-response":
        out.mkdir()
    itself = "1" if in_this_process else ""
    environment = os.environ | {"OMP_NUM_THREADS": "1", IN_THIS_PROCESS: itself}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "bcsim_cli.main", *words],
        env=environment,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 4):  # 4: of what is wrong with the demonstration's pairs
        sys.exit(f"{command} ended with {done.returncode}: {done.stderr[-500:]}")
    result = {
        "exit code": str(done.returncode),
        "standard output": TIMES.sub("", done.stdout),
        "standard error": TIMES.sub("", done.stderr),
    }
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        if not TIMED.fullmatch(name := path.relative_to(out).as_posix()):
            result[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return Run(seconds, sum(after[:2]) - sum(before[:2]), result)


def compare(command: str, places: dict[str, Path], repeats: int) -> dict[str, Any]:
    """Run a command in both ways in turn; return the figures, and what differs."""
    runs: dict[bool, list[Run]] = {True: [], False: []}
    differing: set[str] = set()
    for repeat in range(repeats):
        for itself in (True, False) if repeat % 2 else (False, True):
            runs[itself].append(run(command, places, itself))
        here, there = (runs[itself][-1].result for itself in (True, False))
        differing |= {name for name in here | there if here.get(name) != there.get(name)}
    pairs = [*zip(runs[True], runs[False], strict=True)]
    return {
        "command": command,
        "seconds_here": statistics.median(here.seconds for here, _ in pairs),
        "seconds_there": statistics.median(there.seconds for _, there in pairs),
        "ratios": sorted(there.seconds / here.seconds for here, there in pairs),
        "cpu_ratios": sorted(there.busy_s / here.busy_s for here, there in pairs),
        "differing": sorted(differing),
    }


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


def spread(ratios: list[float]) -> str:
    """Return the median of sorted ratios, and between which they lie."""
    return f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Cost of decoding in another process.")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=[*COMMANDS])
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    figures = []
    print("| command | seconds, in its process | in another | ratio | processors' ratio |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        places = prepare(Path(name), arguments.files, arguments.seconds)
        for command in arguments.commands:
            figure = compare(command, places, arguments.repeats)
            figures.append(figure)
            print(
                f"| {command} | {figure['seconds_here']:.1f} | {figure['seconds_there']:.1f} | "
                f"{spread(figure['ratios'])} | {spread(figure['cpu_ratios'])} |",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    wrong = [f"{f['command']}: {', '.join(f['differing'])}" for f in figures if f["differing"]]
    if wrong:
        sys.exit("\n".join(["these differ between the two:", *wrong]))


if __name__ == "__main__":
    main()
