"""Whether `enhance` needs more memory for a longer recording.

A recording of minutes and one of hours, each enhanced by a process of its own with a network of
random weights; the last line is the ratio of the two processes' peak memory.

    python benchmarks/enhance.py [--hours 6] [--rate 16000] [--model '{"name": "eben"}']
        [--json FILE]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from bcsim.inference.files import enhance_file
from bcsim.models.storage import build_enhancer, load_enhancer, save_enhancer
from bcsim.rng import stream

SHORT_S = 300.0


def make_recording(path: Path, seconds: float, rate: int) -> None:
    """Write noise of so many seconds, minute by minute."""
    minute = 0.1 * stream(1, "benchmark").standard_normal(60 * rate)
    left = round(seconds * rate)
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        while left > 0:
            file.write(np.clip(minute[:left], -1, 1))
            left -= len(minute)


def one_run(model: Path, source: Path, out: Path) -> None:
    """Enhance a recording; print seconds and the peak memory of this process as JSON."""
    enhancer = load_enhancer(model)
    started = time.perf_counter()
    enhance_file(enhancer, source, None, out)
    seconds = time.perf_counter() - started
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"seconds": seconds, "memory_mb": memory_mb}) + "\n")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Memory of enhance over the recording's length.")
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--rate", type=int, default=16_000)
    parser.add_argument("--model", type=json.loads, default={"name": "eben", "width": 4})
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--run", nargs=3, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        one_run(*arguments.run)
        return
    figures: list[dict[str, float | str]] = []
    memory_mb: list[float] = []
    print("| recording | seconds | x real time | peak memory |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_enhancer(folder / "model", build_enhancer(arguments.model, 0), {})
        source, out = folder / "in.flac", folder / "out.flac"
        for seconds in (min(SHORT_S, 3600 * arguments.hours), 3600 * arguments.hours):
            make_recording(source, seconds, arguments.rate)
            command = [sys.executable, __file__, "--run", folder / "model", source, out]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            length = f"{seconds / 60:g} min at {arguments.rate} Hz"
            figures.append({"recording": length, **found})
            memory_mb.append(found["memory_mb"])
            speed = seconds / found["seconds"]
            print(
                f"| {length} | {found['seconds']:.1f} | {speed:.0f} x | "
                f"{found['memory_mb']:.0f} MB |",
                flush=True,
            )
    print(f"| ratio | | | {memory_mb[1] / memory_mb[0]:.2f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
