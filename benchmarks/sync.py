"""How well recorders that kept no common time are synchronised: synthetic pairs of known truth.

Speech is recorded by two recorders: they were started up to 30 s apart, the clock of the sensor's
runs up to 4 % fast or slow at a rate that may change, either loses up to three buffers, and noise
is added. Printed are, by duration and SNR,

- *right*: part of the recoverable cases in which 95 % of the speech that was kept lies within
  0.5 ms of the truth, and at least 80 % of the speech that could be kept was kept;
- *within*: part of all kept seconds of speech that lie within 0.5 ms;
- *false*: claims of a jump where nothing was lost, by recording;
- *found*: part of the lost buffers that were claimed;
- seconds of computing by case.

A case is recoverable if both recordings hold 2.5 s of the same speech, and 2.5 s on either side of
each lost buffer. All other cases are drawn, too, and counted by themselves: there, what matters is
that nothing false is claimed.

    python benchmarks/sync.py [--air DIR] [--cases N] [--seed N] [--longest SECONDS]
"""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.signal
from numpy.typing import NDArray

from bcsim.audio.folder import audio_files
from bcsim.audio.read import read_audio
from bcsim.fitting.alignment.align import align
from bcsim.fitting.diagnosis.diagnose import examine
from bcsim.sensors.recorded_pair import RecordedPair

signal: Any = scipy.signal  # whose stubs take arrays for integers

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "librispeech_air"
RATE = 16_000
DELAY = 7  # samples of the sensor, beside what its response delays
WITHIN_S = 0.0005
LEAST_SPEECH_S = 2.5
STEP = 80  # samples of air, at which the truth is compared
SHORTEST_LOST_S, LONGEST_LOST_S = 0.005, 0.5
DURATIONS_S = (5.0, 10.0, 30.0, 120.0, 600.0)
SNRS_DB = (40.0, 20.0, 10.0)
SENSORS = ("throat", "in-ear", "accelerometer")

Samples = NDArray[np.float64]
Speech = Callable[[np.random.Generator, float], Samples]


@dataclass(frozen=True)
class Case:
    """What two recorders did.

    Args:
        seconds: duration of the speech.
        offset_s: noise before bone's speech; negative for noise before air's.
        rates_ppm: rates of the sensor's clock, each over an equal part of the time.
        lost: lost buffers: moment of the speech in seconds, duration in seconds, and role.
        polarity: polarity of the sensor.
        snr_db: speech to noise at the sensor.
        sensor: one of `SENSORS`.
        seed: seed of speech and noise.
    """

    seconds: float
    offset_s: float = 0.0
    rates_ppm: tuple[float, ...] = (0.0,)
    lost: tuple[tuple[float, float, str], ...] = ()
    polarity: int = 1
    snr_db: float = 40.0
    sensor: str = "throat"
    seed: int = 0


@dataclass(frozen=True)
class Recorded:
    """A pair and the truth about it.

    Args:
        pair: the recordings.
        truth: (T,), sample of bone that belongs to each sample of air; NaN where there is none.
        speaks: (T,), whether a sample of air is speech that bone holds, too.
        speech_s: seconds of such speech, by part between lost buffers.
    """

    pair: RecordedPair
    truth: Samples
    speaks: NDArray[np.bool_]
    speech_s: tuple[float, ...]

    @property
    def is_recoverable(self) -> bool:
        """Whether there is speech enough to measure every delay."""
        return min(self.speech_s) >= LEAST_SPEECH_S


@dataclass
class Tally:
    """What came of the cases of one kind."""

    cases: int = 0
    right: int = 0
    unrecoverable: int = 0
    kept_s: float = 0.0
    within_s: float = 0.0
    false: int = 0
    false_polarity: int = 0
    claimed: int = 0
    lost: int = 0
    elapsed_s: list[float] = field(default_factory=list)

    def row(self) -> str:
        """Return the numbers as the cells of a table."""
        sure = self.cases - self.unrecoverable
        return (
            f"{self.cases} | {sure} | {_percent(self.right, sure)} | "
            f"{_percent(self.within_s, self.kept_s)} | {self.false} | "
            f"{_percent(self.claimed, self.lost)} | {self.false_polarity} | "
            f"{np.median(self.elapsed_s):.1f}"
        )


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def sensor_signal(air: Samples, case: Case, rng: np.random.Generator) -> Samples:
    """Return what the sensor picks up, with its own noise."""
    if case.sensor == "throat":
        bone = 0.6 * signal.lfilter(*signal.butter(2, 900, fs=RATE), air)
    elif case.sensor == "in-ear":  # vowels and fricatives come through differently
        bone = signal.lfilter(*signal.butter(2, [100, 2500], "band", fs=RATE), air)
        dull = signal.lfilter(*signal.butter(2, [100, 600], "band", fs=RATE), air)
        level = np.sqrt(signal.lfilter([0.01], [1, -0.99], dull**2))
        share = level / (level + np.quantile(level, 0.8) + 1e-12)
        bone = share * bone + (1 - share) * 0.3 * dull
    else:
        bone = signal.lfilter(*signal.butter(2, [50, 800], "band", fs=RATE), air)
    bone = np.roll(bone, DELAY)
    level = np.sqrt(np.mean(bone**2)) * 10 ** (-case.snr_db / 20)
    noise = rng.standard_normal(len(bone))
    if case.sensor == "in-ear":  # the body's own noise lies in the bass
        noise = 0.3 * noise + 3 * signal.lfilter(*signal.butter(1, 60, fs=RATE), noise)
    return case.polarity * (bone + level * noise / np.std(noise))


def record(case: Case, speech: Speech) -> Recorded:
    """Record speech as two recorders would."""
    rng = np.random.default_rng([case.seed, 11])
    air = speech(rng, case.seconds)
    lead = round(abs(case.offset_s) * RATE)
    leads = {"air": lead if case.offset_s < 0 else 0, "bone": lead if case.offset_s > 0 else 0}
    bone = sensor_signal(air, case, rng)
    active = _active(air)
    # The sensor's clock: samples taken by each sample of true time.
    steps = np.repeat(case.rates_ppm, -(-len(air) // len(case.rates_ppm)))[: len(air)]
    place = np.concatenate([[0.0], np.cumsum(1 + 1e-6 * steps)])
    ticks = np.arange(int(place[-1]))
    moments = np.interp(ticks, place, np.arange(len(place)))
    bone = scipy.ndimage.map_coordinates(bone, moments[None], order=5, mode="nearest")
    truth = np.interp(np.arange(len(air)) + DELAY, np.arange(len(place)), place)
    keep_air, keep_bone = np.ones(len(air), bool), np.ones(len(bone), bool)
    cuts = []
    for moment_s, seconds, role in case.lost:
        start, count = round(moment_s * RATE), round(seconds * RATE)
        cuts.append(start)
        if role == "air":
            keep_air[start : start + count] = False
        else:
            first = round(float(place[start]))
            keep_bone[first : first + count] = False
    renumbered = np.where(keep_bone, np.cumsum(keep_bone) - 1.0, np.nan)
    inside = truth < len(bone) - 1
    whole = np.where(inside, truth, 0).astype(int)
    truth = np.where(inside, renumbered[whole] + truth - whole, np.nan)
    speaks = active & ~np.isnan(truth) & keep_air
    bounds = [0, *cuts, len(air)]
    speech_s = tuple(float(speaks[i:k].sum()) / RATE for i, k in itertools.pairwise(bounds))
    air_noise = 1e-4 * rng.standard_normal(len(air) + leads["air"])
    quiet = rng.standard_normal(leads["bone"]) * np.sqrt(np.mean(bone**2)) * 1e-2
    recorded_air = np.concatenate([np.zeros(leads["air"]), air[keep_air]])
    recorded_air += air_noise[: len(recorded_air)]
    recorded_bone = np.concatenate([quiet, bone[keep_bone]])
    truth = np.concatenate([np.full(leads["air"], np.nan), truth[keep_air] + leads["bone"]])
    speaks = np.concatenate([np.zeros(leads["air"], bool), speaks[keep_air]])
    return Recorded(RecordedPair("case", recorded_air, recorded_bone), truth, speaks, speech_s)


def _active(air: Samples) -> NDArray[np.bool_]:
    power = scipy.ndimage.uniform_filter1d(air**2, RATE // 20)
    return power > 1e-3 * np.quantile(power, 0.98)


def examine_case(case: Case, speech: Speech, tally: Tally) -> bool:
    """Synchronise the recordings of a case and count what came of it.

    Returns:
        Whether nothing false was claimed, and the case was recovered if it is recoverable.
    """
    recorded = record(case, speech)
    started = time.perf_counter()
    found = examine(recorded.pair, RATE)
    aligned = None
    if found.refusal is None and found.timing is not None:
        ((aligned,), polarity) = align([recorded.pair], RATE, [found.timing])
        tally.false_polarity += polarity != case.polarity
    tally.elapsed_s.append(time.perf_counter() - started)
    tally.cases += 1
    tally.unrecoverable += not recorded.is_recoverable
    if aligned is None:
        return not recorded.is_recoverable
    false = _false_claims(case, recorded, [jump.time_s for jump in aligned.jumps])
    tally.false += false
    if recorded.is_recoverable:
        tally.lost += len(case.lost)
        tally.claimed += min(len(aligned.jumps), len(case.lost))
    truth = recorded.truth
    # Where nobody speaks, no place can be told, and none matters.
    places = [np.arange(part.start, part.stop, STEP) for part in aligned.parts]
    places = [place[recorded.speaks[place]] for place in places]
    errors = [
        part.bone_at(place) - truth[place]
        for part, place in zip(aligned.parts, places, strict=True)
    ]
    errors_s = np.concatenate(errors) / RATE
    step_s = STEP / RATE
    within = np.abs(errors_s) < WITHIN_S
    tally.kept_s += step_s * len(errors_s)
    tally.within_s += step_s * int(within.sum())
    possible = int(np.count_nonzero(recorded.speaks[::STEP]))
    right = within.mean() >= 0.95 and within.sum() >= 0.8 * possible
    tally.right += bool(right) and recorded.is_recoverable
    return not false and (bool(right) or not recorded.is_recoverable)


def _false_claims(case: Case, recorded: Recorded, claims_s: Sequence[float]) -> int:
    """Return how many jumps were claimed further than 1.5 s from any lost buffer."""
    steps = np.diff(recorded.truth)
    true_s = [*(np.flatnonzero(np.abs(steps - 1) > 16) / RATE)]
    gaps = np.flatnonzero(np.isnan(recorded.truth))
    true_s += [*(gaps / RATE)] if case.lost else []
    return sum(int(min((abs(c - t) for t in true_s), default=9.0) > 1.5) for c in claims_s)


def draw(rng: np.random.Generator, seconds: float, snr_db: float, seed: int) -> Case:
    """Draw what two recorders did."""
    rate = float(rng.choice([0.0, 1.0]) * rng.choice([100, 1000, 10_000, 40_000]))
    rate *= float(rng.uniform(-1, 1))
    changes = int(rng.integers(0, 3)) if seconds >= 30 else 0
    rates = rate + np.concatenate([[0.0], rng.uniform(-200, 200, changes)])
    offset_s = float(rng.choice([0.0, rng.uniform(-0.025, 0.025), rng.uniform(-30, 30)]))
    spare = 4.0
    most = int(np.clip((seconds - 2 * spare) // spare, 0, 3)) if seconds > 8 else 0
    latest = max(spare, seconds - spare)
    moments = np.sort(rng.uniform(spare, latest, int(rng.integers(0, most + 1))))
    moments = [m for k, m in enumerate(moments) if k == 0 or m - moments[k - 1] > spare]
    low, high = np.log(SHORTEST_LOST_S), np.log(LONGEST_LOST_S)
    lost = tuple(
        (float(m), float(np.exp(rng.uniform(low, high))), str(rng.choice(["air", "bone"])))
        for m in moments
    )
    return Case(
        seconds=seconds,
        offset_s=offset_s,
        rates_ppm=tuple(rates.tolist()),
        lost=lost,
        polarity=int(rng.choice([1, -1])),
        snr_db=snr_db,
        sensor=str(rng.choice(SENSORS)),
        seed=seed,
    )


def spoken_by(folder: Path) -> Speech:
    """Return a source of speech: files of a folder in random order, half a second between them."""
    paths = list(audio_files(folder))

    def speech(rng: np.random.Generator, seconds: float) -> Samples:
        parts, total = [], 0
        while total < seconds * RATE:
            parts.append(read_audio(paths[int(rng.integers(len(paths)))], RATE)[0])
            parts.append(np.zeros(RATE // 2))
            total += len(parts[-2]) + len(parts[-1])
        return np.concatenate(parts)[: round(seconds * RATE)]

    return speech


def main() -> None:
    """Draw cases of each duration and SNR and print what came of them."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--air", type=Path, default=SHARED)
    parser.add_argument("--cases", type=int, default=20, help="of each duration and SNR")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=600.0)
    parser.add_argument("--shortest", type=float, default=0.0)
    parser.add_argument("--failed", action="store_true", help="print the cases that failed")
    asked = parser.parse_args()
    speech = spoken_by(asked.air)
    columns = "seconds | SNR, dB | cases | recoverable | right | within | false | found"
    print(f"| {columns} | wrong sign | s |")
    print("|" + 10 * "---|")
    total = Tally()
    for seconds in DURATIONS_S:
        if not asked.shortest <= seconds <= asked.longest:
            continue
        for snr_db in SNRS_DB:
            tally = Tally()
            for number in range(asked.cases):
                seed = 100_000 * asked.seed + number
                rng = np.random.default_rng([seed, round(seconds), round(snr_db)])
                case = draw(rng, seconds, snr_db, seed)
                if not examine_case(case, speech, tally) and asked.failed:
                    print(f"# {case}", flush=True)
            _add(total, tally)
            print(f"| {seconds:g} | {snr_db:g} | {tally.row()} |", flush=True)
    print(f"| all | | {total.row()} |")


def _add(total: Tally, tally: Tally) -> None:
    for name, value in vars(tally).items():
        setattr(total, name, getattr(total, name) + value)


if __name__ == "__main__":
    main()
