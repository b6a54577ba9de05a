"""Whether `synthesize` costs per item what it costs for few: rate and memory over corpus sizes.

Each corpus is so many short files (names for a handful of recordings), rendered by a process of
its own; starting its workers is timed apart and taken off. The last run is one file of hours,
rendered in segments.

    python benchmarks/scale.py [--sizes 1000 10000 100000] [--hours 6] [--jobs 2] [--json FILE]
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
from dataclasses import replace
from pathlib import Path

import soundfile

from bcsim.audio.folder import audio_files
from bcsim.audio.read import read_audio
from bcsim.audio.write import write_audio
from bcsim.sensors.profile import SensorProfile
from bcsim.workers.pool import Workers, run_parallel
from bcsim.workflows.presets import bundled_folder, find_sensor
from bcsim.workflows.synthesize import plan_synthesis, synthesize

RATE = 16_000
SHORT_S = 0.5
RECORDINGS, A_FOLDER = 20, 500


def make_corpus(folder: Path, size: int) -> None:
    """Write a few short recordings, and give each of them many names."""
    speech = audio_files(bundled_folder("bcsim.assets") / "demo" / "air")
    originals = []
    for number in range(RECORDINGS):
        samples, _ = read_audio(speech[number % len(speech)], RATE)
        start = 2000 * number % max(1, len(samples) - round(SHORT_S * RATE))
        path = folder.with_name("originals") / f"{number}.flac"
        write_audio(path, samples[start : start + round(SHORT_S * RATE)], RATE)
        originals.append(path)
    for number in range(size):
        path = folder / f"{number // A_FOLDER}" / f"{number}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[number % RECORDINGS], path)


def make_long(folder: Path, hours: float) -> None:
    """Write one file of so many hours: the demonstration's sentences over and over."""
    folder.mkdir()
    speech = audio_files(bundled_folder("bcsim.assets") / "demo" / "air")
    clips = [soundfile.read(path, dtype="int16")[0] for path in speech]
    left = round(hours * 3600 * RATE)
    with soundfile.SoundFile(folder / "long.flac", "w", RATE, 1, "PCM_16") as file:
        number = 0
        while left > 0:
            clip = clips[number % len(clips)][:left]
            file.write(clip)
            left -= len(clip)
            number += 1


def one_run(corpus: Path, out: Path, sensor: str, jobs: int) -> None:
    """Render a corpus; print seconds and the peak memory of this process as JSON."""
    started = time.perf_counter()
    if jobs > 1:  # what starting the processes takes comes off below
        list(run_parallel(list, range(4 * jobs), Workers(jobs, batch=1), lambda *_: None))
    starting_s = time.perf_counter() - started
    plan = plan_synthesis(corpus, out, sensor, device="cpu")
    started = time.perf_counter()
    synthesize(plan, Workers(jobs))
    seconds = time.perf_counter() - started - starting_s
    parent_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"seconds": seconds, "parent_mb": parent_mb}) + "\n")


def measured(corpus: Path, folder: Path, sensor: str, jobs: int) -> dict[str, float]:
    """Return what `one_run` prints, run in a process of its own."""
    out = folder / "out"
    command = [sys.executable, __file__, "--run", str(corpus), str(out), sensor, str(jobs)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    shutil.rmtree(out, ignore_errors=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Rate and memory of synthesize over sizes.")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        corpus, out, sensor, jobs = arguments.run
        one_run(Path(corpus), Path(out), sensor, int(jobs))
        return
    figures: dict[str, dict[str, float]] = {}
    print("| corpus | seconds | items/s or x real time | parent's peak memory |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speaking = find_sensor("vibravox_throat")
        fixed = folder / "fixed.sensor"
        replace(SensorProfile.load(speaking), speech=None).save(fixed)
        for size in arguments.sizes:
            make_corpus(folder / "corpus", size)
            found = measured(folder / "corpus", folder, str(fixed), arguments.jobs)
            figures[f"{size} files"] = found
            seconds, memory = found["seconds"], found["parent_mb"]
            print(
                f"| {size} files of {SHORT_S} s | {seconds:.1f} | {size / seconds:.0f} items/s | "
                f"{memory:.0f} MB |",
                flush=True,
            )
            shutil.rmtree(folder / "corpus")
            shutil.rmtree(folder / "originals")
        if arguments.hours:
            make_long(folder / "long", arguments.hours)
            for sensor in (str(fixed), str(speaking)):
                found = measured(folder / "long", folder, sensor, 1)
                figures[f"{arguments.hours:g} h, {Path(sensor).stem}"] = found
                seconds, memory = found["seconds"], found["parent_mb"]
                print(
                    f"| one file of {arguments.hours:g} h, {Path(sensor).stem} | {seconds:.0f} | "
                    f"{3600 * arguments.hours / seconds:.0f} x | {memory:.0f} MB |",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
