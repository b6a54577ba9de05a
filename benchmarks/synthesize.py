"""How fast `synthesize` is, as a share of what the same processes can read and write.

The floor decodes the same FLAC files and writes two files for each, and does nothing else: no
simulation, no hash, no manifest, no flush to the disk. Floor and runs take turns, on as many copies
of the corpus as make a run last some seconds; what starting the processes takes is timed in the
same turns and taken off all of them.

    python benchmarks/synthesize.py --air FOLDER [--copies 4] [--jobs 2] [--rounds 3] [--json FILE]
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import soundfile

from bcsim.audio.folder import audio_files
from bcsim.sensors.profile import SensorProfile
from bcsim.workers.pool import Workers, run_parallel
from bcsim.workflows.presets import bundled_folder, find_sensor
from bcsim.workflows.synthesize import plan_synthesis, synthesize


def copy_corpus(source: Path, folder: Path, copies: int) -> float:
    """Give the FLAC files below `source` so many names below `folder`; return seconds of audio."""
    files = [path for path in audio_files(source) if path.suffix == ".flac"]
    for number in range(copies):
        for path in files:
            target = folder / f"copy{number}" / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return copies * sum(soundfile.info(path).duration for path in files)


def read_and_write(paths: Sequence[Path], source: Path, out: Path) -> list[None]:
    """Decode each file and write it twice."""
    for path in paths:
        samples, rate = soundfile.read(path, dtype="int16")
        for role in ("air", "bone"):
            target = out / role / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(target, samples, rate, format="FLAC", subtype="PCM_16")
    return [None] * len(paths)


def floor(source: Path, out: Path, jobs: int) -> None:
    """Decode and write the whole corpus with so many processes."""
    function = partial(read_and_write, source=source, out=out)
    for _ in run_parallel(function, audio_files(source), Workers(jobs), lambda path, reason: None):
        pass


def start(out: Path, jobs: int) -> None:
    """Start so many processes and end them."""
    out.mkdir()
    for _ in run_parallel(list, range(4 * jobs), Workers(jobs, batch=1), lambda *_: None):
        pass


def runs(folder: Path, corpus: Path, jobs: int) -> dict[str, Callable[[Path], object]]:
    """Return what is timed: name to a function of the output folder."""
    speaking = find_sensor("vibravox_throat")
    fixed = folder / "fixed.sensor"
    replace(SensorProfile.load(speaking), speech=None).save(fixed)

    def run(sensor: str, air_files: str) -> Callable[[Path], object]:
        def whole(out: Path) -> object:
            plan = plan_synthesis(corpus, out, sensor, device="cpu", air_files=air_files)  # type: ignore[arg-type]
            return synthesize(plan, Workers(jobs))

        return whole

    return {
        "floor: decode, write two files": lambda out: floor(corpus, out, jobs),
        "fixed response, air linked": run(str(fixed), "link"),
        "fixed response, air copied (default)": run(str(fixed), "copy"),
        "fixed response, air encoded": run(str(fixed), "encode"),
        "band-gain network, air copied (default)": run(str(speaking), "copy"),
        "temporal-transforms": run("temporal-transforms", "copy"),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Speed of synthesize against reading and writing.")
    default = bundled_folder("bcsim.assets") / "demo" / "air"
    parser.add_argument("--air", type=Path, default=default, help="folder of FLAC files")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", nargs="+", metavar="RUN", help="rows, by name [all]")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = copy_corpus(arguments.air, folder / "corpus", arguments.copies)
        count = len(audio_files(folder / "corpus"))
        timed = runs(folder, folder / "corpus", arguments.jobs)
        if unknown := set(arguments.runs or ()) - set(timed):
            there = "; ".join(timed)
            parser.error(f"no such run: {'; '.join(sorted(unknown))}. There are: {there}")
        floor = next(iter(timed))
        timed = {run: timed[run] for run in timed if run in (floor, *(arguments.runs or timed))}
        taken: dict[str, list[float]] = {run: [] for run in timed}
        starting: list[float] = []
        for number in range(arguments.rounds + 1):
            started = time.perf_counter()
            start(folder / "out", arguments.jobs)
            starting.append(time.perf_counter() - started)
            (folder / "out").rmdir()
            for run, whole in timed.items():
                started = time.perf_counter()
                whole(folder / "out")
                if number:  # the first round fills the disk's cache
                    taken[run].append(time.perf_counter() - started - starting[-1])
                shutil.rmtree(folder / "out")
    median = {run: statistics.median(times) for run, times in taken.items()}
    reference = next(iter(median.values()))
    print(
        f"{count} FLAC files, {seconds / 60:.1f} min, {arguments.jobs} processes, median of "
        f"{arguments.rounds}\n"
    )
    print("| run | files/s | x real time | share of the floor | range |\n|---|---|---|---|---|")
    for run, value in median.items():
        shares = sorted(a / b for a, b in zip(next(iter(taken.values())), taken[run], strict=True))
        print(
            f"| {run} | {count / value:.0f} | {seconds / value:.0f} | {reference / value:.2f} | "
            f"{shares[0]:.2f}-{shares[-1]:.2f} |"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"seconds": taken}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
