"""Whether `doctor` and `fit-response` need more memory for a longer recording.

One pair, made of a folder of speech: files one behind the other with half a second of silence
between them, at changing levels, again and again until it is long enough. Bone is a low-pass of
air, on another clock and without a tenth of a second in the middle where these are asked for. Each
pair is examined by a process of its own; the last line is the ratio of the longest pair's peak
memory to that of the shortest.

    python benchmarks/long_pair.py --air FOLDER [--minutes 10 60] [--rate 16000] [--ppm 0]
        [--lost] [--fit] [--json FILE]
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile
import soxr

from bcsim.audio.folder import audio_files
from bcsim.audio.read import read_audio
from bcsim.rng import stream

PAUSE_S, LOST_S = 0.5, 0.1
CUTOFF_HZ, GAIN, DELAY = 900.0, 0.6, 7  # of bone; the delay in samples
NOISE = (1e-4, 2e-4)  # of air and of bone, standard deviation


def make_pair(
    speech: Path, folder: Path, seconds: float, rate: int, ppm: float, lost: bool
) -> list[str]:
    """Write air and bone; return the options that name them."""
    rng = stream(1, "long pair")
    parts: list[np.ndarray] = []
    missing = round(seconds * rate)
    for path in itertools.cycle(sorted(audio_files(speech))):
        samples = read_audio(path, rate)[0] * 10 ** (rng.uniform(-6, 3) / 20)
        parts += [samples, np.zeros(round(PAUSE_S * rate))]
        missing -= len(samples) + len(parts[-1])
        if missing <= 0:
            break
    clean = np.concatenate(parts)[: round(seconds * rate)]
    sections = scipy.signal.butter(2, CUTOFF_HZ, fs=rate, output="sos")
    late = np.concatenate([np.zeros(DELAY), clean[:-DELAY]])
    bone = GAIN * np.asarray(scipy.signal.sosfilt(sections, late))
    if ppm:
        bone = soxr.resample(bone, 1.0, 1 + 1e-6 * ppm, quality="VHQ")
    if lost:
        bone = np.delete(bone, slice(len(bone) // 2, len(bone) // 2 + round(LOST_S * rate)))
    options = []
    for role, signal, noise in zip(("air", "bone"), (clean, bone), NOISE, strict=True):
        noisy = signal + noise * rng.standard_normal(len(signal))
        soundfile.write(folder / f"{role}.wav", np.clip(noisy, -1, 1), rate, "PCM_16")
        options += [f"--{role}", str(folder / f"{role}.wav")]
    return options


def measured(command: list[str]) -> dict[str, float]:
    """Run a command; return its seconds and the peak memory of its process in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    found = {"seconds": time.perf_counter() - started, "processor_s": usage.ru_utime}
    return found | {"memory_mb": usage.ru_maxrss / 1024}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Memory of doctor over a recording's length.")
    parser.add_argument("--air", type=Path, required=True, help="folder of speech")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 60.0])
    parser.add_argument("--rate", type=int, default=16_000)
    parser.add_argument("--ppm", type=float, default=0.0, help="by which bone's clock is fast")
    parser.add_argument("--lost", action="store_true", help="bone lacks a piece in the middle")
    parser.add_argument("--fit", action="store_true", help="run fit-response as well")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    bcsim = [str(Path(sys.executable).with_name("bcsim"))]
    figures: list[dict[str, float | str]] = []
    print("| command | recording | seconds | of processor | peak memory |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for minutes in sorted(arguments.minutes):
            length = f"{minutes:g} min at {arguments.rate} Hz"
            # By a process of its own: the peak memory of a child counts what its parent held then.
            with ProcessPoolExecutor(1) as pool:
                pair = pool.submit(
                    make_pair,
                    *(arguments.air, folder, 60 * minutes, arguments.rate),
                    *(arguments.ppm, arguments.lost),
                ).result()
            commands = {"doctor": ["doctor", *pair]}
            if arguments.fit:
                out = ["--out", str(folder / "fitted.sensor"), "--no-report"]
                commands["fit-response"] = ["fit-response", *pair, *out]
            for command, options in commands.items():
                found = measured([*bcsim, *options])
                figures.append({"command": command, "recording": length, **found})
                print(
                    f"| {command} | {length} | {found['seconds']:.0f} | "
                    f"{found['processor_s']:.0f} | {found['memory_mb']:.0f} MB |",
                    flush=True,
                )
    for command in ("doctor", "fit-response") if arguments.fit else ("doctor",):
        own = [float(row["memory_mb"]) for row in figures if row["command"] == command]
        print(f"| ratio of {command} | | | | {own[-1] / own[0]:.2f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
