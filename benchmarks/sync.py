"""How well recorders that kept no common time are synchronised: pairs of known truth.

Speech is recorded by two recorders: they were started up to 30 s apart, in a quiet room or while
somebody spoke, the clock of the sensor's runs up to 4 % fast or slow at a rate that may change,
either loses up to three buffers, and noise is added to bone, and to one air in three. Bone is what
a synthetic sensor makes of air; with `--bone`, both are a real recording, or its first seconds,
disturbed in that way. A real sensor's own delay and sign are those that are found in the recording
as it was: how its phase differs from talker to talker is no recorder's doing.
Printed are, by duration and SNR,

- *right*: part of the recoverable cases in which 95 % of the speech that was kept lies within
  0.5 ms of the truth, the sign is right, and at least 80 % of the speech that both recordings hold
  was kept;
- *scarce*: the same of all other cases;
- *within*: part of all kept seconds of air's speech that lie within 0.5 ms; speech that bone lost
  and that was kept lies nowhere;
- *wrong*: cases that were accepted with less than 95 % within, or the wrong sign: recoverable or
  not, these are results that nobody is warned of;
- *false*: recordings with a claim that is not true: a jump where nothing was lost, or of another
  size, a missing channel, exchanged roles, a copy; or, if recoverable, of different speech;
- *found*: part of the lost buffers of recoverable cases that were claimed where they were;
- seconds of computing by case.

A case is recoverable if both recordings hold 2.5 s of the same speech, and 2.5 s on either side of
each lost buffer. All other cases are drawn, too: there, nothing wrong or false may be told.

    python benchmarks/sync.py [--air DIR] [--bone DIR] [--cases N] [--seed N] [--longest SECONDS]
        [--mild] [--snrs DB ...]
"""

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.signal
import scipy.stats
from numpy.typing import NDArray

from bcsim.audio.folder import audio_files
from bcsim.audio.read import read_audio
from bcsim.datasets.recordings import read_recordings
from bcsim.fitting.alignment.align import align
from bcsim.fitting.diagnosis.diagnose import examine
from bcsim.fitting.pairs import AlignedPair, Jump
from bcsim.sensors.recorded_pair import RecordedPair

signal: Any = scipy.signal  # whose stubs take arrays for integers

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "librispeech_air"
RATE = 16_000
DELAY = 7.0  # samples of the synthetic sensors, beside what their response delays
WITHIN_S = 0.0005
LEAST_SPEECH_S = 2.5
LEAST_PART = 0.8  # of the speech that both recordings hold
STEP = 80  # samples of air, at which the truth is compared
SHORTEST_LOST_S, LONGEST_LOST_S = 0.005, 0.5
MISPLACED_S = 0.25  # of speech between a lost buffer and where it is claimed, at most
DURATIONS_S = (5.0, 10.0, 30.0, 120.0, 600.0)
SNRS_DB = (40.0, 20.0, 10.0)
SENSORS = ("throat", "in-ear", "accelerometer")
FALSE_KINDS = ("dropout", "swapped", "identical")  # whatever is recorded here

Samples = NDArray[np.float64]
# Speech of so many seconds: (T,) of air, or (2, T) of air and of what a sensor made of it.
Speech = Callable[[np.random.Generator, float], Samples]


@dataclass(frozen=True)
class Case:
    """What two recorders did.

    Args:
        seconds: duration of the speech that both recorded.
        offset_s: what bone's recorder alone recorded before; negative for air's.
        rates_ppm: rates of the sensor's clock, each over an equal part of the time.
        lost: lost buffers: moment of the speech in seconds, duration in seconds, and role.
        polarity: polarity of the sensor.
        snr_db: speech to noise at the sensor.
        sensor: one of `SENSORS`, where the sensor is not real.
        speaks_before: whether somebody speaks while one recorder runs alone.
        noisy_air: whether the air microphone has as much noise as the sensor.
        delay: delay of the sensor in samples, beside what its response delays.
        seed: seed of speech and noise.
    """

    seconds: float
    offset_s: float = 0.0
    rates_ppm: tuple[float, ...] = (0.0,)
    lost: tuple[tuple[float, float, str], ...] = ()
    polarity: int = 1
    snr_db: float = 40.0
    sensor: str = "throat"
    speaks_before: bool = False
    noisy_air: bool = False
    delay: float = DELAY
    seed: int = 0


@dataclass(frozen=True)
class Recorded:
    """A pair and the truth about it.

    Args:
        pair: the recordings.
        truth: (T,), sample of bone that belongs to each sample of air; NaN where there is none.
        speech: (T,), whether a sample of air is speech.
        speech_s: seconds of speech that bone holds, too, by part between lost buffers.
        lost: first and last sample of air of each lost buffer, and by how many samples bone's
            delay jumps there.
    """

    pair: RecordedPair
    truth: Samples
    speech: NDArray[np.bool_]
    speech_s: tuple[float, ...]
    lost: tuple[tuple[int, int, float], ...]

    @property
    def is_recoverable(self) -> bool:
        """Whether there is speech enough to measure every delay."""
        return min(self.speech_s) >= LEAST_SPEECH_S

    def is_true(self, jump: Jump, lost: tuple[int, int, float]) -> bool:
        """Whether a jump is that of a lost buffer: in size, and in place but for pauses.

        The place is that which is nearest to the truth of those that the jump is said to have.
        """
        start, stop, size = lost
        first, last = jump.first_s * RATE, jump.last_s * RATE
        place = round(min(max(first, start), last))
        between = slice(place, start) if place < start else slice(stop, place)
        misplaced_s = np.count_nonzero(self.speech[between]) / RATE
        tolerance_s = 2 * WITHIN_S + 0.05 * abs(size) / RATE  # clocks differ by up to 4 %
        return bool(misplaced_s <= MISPLACED_S) and abs(jump.size_s - size / RATE) <= tolerance_s


@dataclass
class Tally:
    """What came of the cases of one kind."""

    cases: int = 0
    right: int = 0
    unrecoverable: int = 0
    scarce_right: int = 0
    kept_s: float = 0.0
    within_s: float = 0.0
    wrong: int = 0
    false: int = 0
    claimed: int = 0
    lost: int = 0
    elapsed_s: list[float] = field(default_factory=list)

    def row(self) -> str:
        """Return the numbers as the cells of a table."""
        sure = self.cases - self.unrecoverable
        return (
            f"{self.cases} | {_share(self.right, sure)} | "
            f"{_share(self.scarce_right, self.unrecoverable)} | "
            f"{100 * self.within_s / max(self.kept_s, 1e-9):.2f} % | {self.wrong} | "
            f"{_share(self.false, self.cases)} | {_share(self.claimed, self.lost)} | "
            f"{np.median(self.elapsed_s):.1f}"
        )


def _share(part: int, whole: int) -> str:
    """Return a part in per cent, the counts, and the exact interval of 95 %."""
    if not whole:
        return "-"
    low, high = scipy.stats.binomtest(part, whole).proportion_ci(method="exact")
    interval = f"{100 * low:.1f}-{100 * high:.1f}"
    return f"{100 * part / whole:.1f} % ({part}/{whole}; {interval})"


def sensor_signal(air: Samples, sensor: str) -> Samples:
    """Return what a sensor picks up."""
    if sensor == "throat":
        bone = 0.6 * signal.lfilter(*signal.butter(2, 900, fs=RATE), air)
    elif sensor == "in-ear":  # vowels and fricatives come through differently
        bone = signal.lfilter(*signal.butter(2, [100, 2500], "band", fs=RATE), air)
        dull = signal.lfilter(*signal.butter(2, [100, 600], "band", fs=RATE), air)
        level = np.sqrt(signal.lfilter([0.01], [1, -0.99], dull**2))
        share = level / (level + np.quantile(level, 0.8) + 1e-12)
        bone = share * bone + (1 - share) * 0.3 * dull
    else:
        bone = signal.lfilter(*signal.butter(2, [50, 800], "band", fs=RATE), air)
    return np.roll(bone, round(DELAY))


def _noise(count: int, rms: float, sensor: str, rng: np.random.Generator) -> Samples:
    noise = rng.standard_normal(count)
    if sensor == "in-ear":  # the body's own noise lies in the bass
        noise = 0.3 * noise + 3 * signal.lfilter(*signal.butter(1, 60, fs=RATE), noise)
    return rms * noise / np.std(noise)


def record(case: Case, speech: Speech) -> Recorded:
    """Record speech as two recorders would."""
    rng = np.random.default_rng([case.seed, 11])
    lead = round(abs(case.offset_s) * RATE)
    said = np.atleast_2d(speech(rng, case.seconds + case.speaks_before * lead / RATE))
    if not case.speaks_before:
        said = np.pad(said, ((0, 0), (lead, 0)))
    air = said[0]
    bone = case.polarity * (said[1] if len(said) > 1 else sensor_signal(air, case.sensor))
    gain = 10 ** (-case.snr_db / 20)
    bone = bone + _noise(len(bone), gain * float(np.std(bone[lead:])), case.sensor, rng)
    active = _active(air)
    air_first, bone_first = (lead, 0) if case.offset_s > 0 else (0, lead)
    # The sensor's clock: samples taken by each sample of true time.
    count = len(air) - bone_first
    steps = np.repeat(case.rates_ppm, -(-count // len(case.rates_ppm)))[:count]
    place = np.concatenate([[0.0], np.cumsum(1 + 1e-6 * steps)])
    moments = np.interp(np.arange(int(place[-1])), place, np.arange(len(place)))
    bone = scipy.ndimage.map_coordinates(bone[bone_first:], moments[None], order=5, mode="nearest")
    times = np.arange(len(air)) + case.delay - bone_first
    truth = np.interp(times, np.arange(len(place)), place, left=np.nan)
    truth[~(truth < len(bone) - 1)] = np.nan
    keep_air, keep_bone = np.arange(len(air)) >= air_first, np.ones(len(bone), bool)
    cuts = []
    for moment_s, seconds, role in case.lost:
        start, gone = lead + round(moment_s * RATE), round(seconds * RATE)
        cuts.append((start, start + (gone if role == "bone" else 0), gone, role))
        if role == "air":
            keep_air[start : start + gone] = False
        else:
            first = round(float(place[start - bone_first]))
            keep_bone[first : first + gone] = False
    renumbered = np.where(keep_bone, np.cumsum(keep_bone) - 1.0, np.nan)
    whole = np.nan_to_num(truth).astype(int)
    truth = renumbered[whole] + truth - whole
    shared = active & ~np.isnan(truth) & keep_air
    bounds = [0, *(cut[0] for cut in cuts), len(air)]
    speech_s = tuple(float(shared[i:k].sum()) / RATE for i, k in itertools.pairwise(bounds))
    new_place = np.cumsum(keep_air) - 1
    lost = tuple(
        (int(new_place[start]), int(new_place[stop]), gone if role == "air" else -gone)
        for start, stop, gone, role in cuts
    )
    quiet = gain * np.std(air[lead:]) if case.noisy_air else 1e-4
    air = air + quiet * rng.standard_normal(len(air))
    pair = RecordedPair("case", air[keep_air], bone[keep_bone])
    return Recorded(pair, truth[keep_air], active[keep_air], speech_s, lost)


def _active(air: Samples) -> NDArray[np.bool_]:
    power = scipy.ndimage.uniform_filter1d(air**2, RATE // 20)
    return power > 1e-3 * np.quantile(power[power > 0], 0.98)


def examine_case(case: Case, speech: Speech, tally: Tally) -> bool:
    """Synchronise the recordings of a case and count what came of it.

    Returns:
        Whether nothing false or wrong was told, and the case was recovered if it is recoverable.
    """
    recorded = record(case, speech)
    started = time.perf_counter()
    found = examine(recorded.pair, RATE)
    aligned, polarity = None, 0
    if found.refusal is None and found.timing is not None:
        ((aligned,), polarity) = align([recorded.pair], RATE, [found.timing])
    tally.elapsed_s.append(time.perf_counter() - started)
    tally.cases += 1
    tally.unrecoverable += not recorded.is_recoverable
    jumps = () if aligned is None else aligned.jumps
    true = sum(any(recorded.is_true(jump, lost) for jump in jumps) for lost in recorded.lost)
    false = len(jumps) > true or any(f.kind in FALSE_KINDS for f in found.findings)
    false |= aligned is None and recorded.is_recoverable
    tally.false += false
    if recorded.is_recoverable:
        tally.lost += len(case.lost)
        tally.claimed += true
    if aligned is None:
        return not false
    kept_s, within_s = _kept_and_within_s(aligned, recorded)
    tally.kept_s += kept_s
    tally.within_s += within_s
    wrong = within_s < 0.95 * kept_s or polarity != case.polarity
    right = not wrong and within_s >= LEAST_PART * sum(recorded.speech_s)
    tally.wrong += wrong
    if recorded.is_recoverable:
        tally.right += right
    else:
        tally.scarce_right += right
    return not (false or wrong) and (right or not recorded.is_recoverable)


def _kept_and_within_s(aligned: AlignedPair, recorded: Recorded) -> tuple[float, float]:
    """Return the seconds of speech that were kept, and of these that lie where they belong."""
    # Where nobody speaks, no place can be told, and none matters.
    places = [np.arange(part.start, part.stop, STEP) for part in aligned.parts]
    places = [place[recorded.speech[place]] for place in places]
    errors = [
        part.bone_at(place) - recorded.truth[place]
        for part, place in zip(aligned.parts, places, strict=True)
    ]
    errors_s = np.concatenate(errors) / RATE
    within = np.abs(errors_s) < WITHIN_S  # nothing is near NaN
    return STEP / RATE * len(errors_s), STEP / RATE * int(within.sum())


def draw(rng: np.random.Generator, seconds: float, snr_db: float, seed: int) -> Case:
    """Draw what two recorders did."""
    rate = float(rng.choice([0.0, 1.0]) * rng.choice([100, 1000, 10_000, 40_000]))
    rate *= float(rng.uniform(-1, 1))
    changes = int(rng.integers(0, 3)) if seconds >= 30 else 0
    rates = rate + np.concatenate([[0.0], rng.uniform(-200, 200, changes)])
    offset_s = float(rng.choice([0.0, rng.uniform(-0.025, 0.025), rng.uniform(-30, 30)]))
    spare = min(3.0, 0.4 * seconds)
    most = min(int(seconds // 5), 3)
    moments = np.sort(rng.uniform(spare, seconds - spare, int(rng.integers(0, most + 1))))
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
        speaks_before=bool(rng.random() < 0.5),
        noisy_air=bool(rng.random() < 1 / 3),
        seed=seed,
    )


def mild(case: Case, rng: np.random.Generator) -> Case:
    """Return the case with two recorders of one make, started by one hand, that lose nothing."""
    offset_s, rate_ppm = rng.uniform(-0.025, 0.025), rng.uniform(-350, 350)
    return replace(case, offset_s=float(offset_s), rates_ppm=(float(rate_ppm),), lost=())


def spoken_by(air: Path) -> Speech:
    """Return a source of the files below a folder, in random order, half a second between them."""
    files = [read_audio(path, RATE)[0] for path in audio_files(air)]

    def speech(rng: np.random.Generator, seconds: float) -> Samples:
        parts, total, order = [], 0, iter(())
        while total < seconds * RATE:
            number = next(order, None)
            if number is None:  # none comes again before all were played
                order = iter(rng.permutation(len(files)).tolist())
                number = next(order)
            parts += [files[number], np.zeros(RATE // 2)]
            total += len(parts[-2]) + len(parts[-1])
        return np.concatenate(parts)[: round(seconds * RATE)]

    return speech


def recorded_by(air: Path, bone: Path) -> tuple[Speech, Callable[[Case], float]]:
    """Return a source of real pairs, upright, and what tells the sensor's delay in a case."""
    pairs, _ = read_recordings(air, bone, RATE)
    both = []
    for pair in pairs:
        _, sign = align([pair], RATE)
        length = min(len(pair.air), len(pair.bone))
        signals = [pair.air[:length], sign * pair.bone[:length]]
        both.append(np.stack(signals).astype(np.float64))

    def speech(rng: np.random.Generator, seconds: float) -> Samples:
        return both[int(rng.integers(len(both)))][:, : round(seconds * RATE)]

    def delay(case: Case) -> float:
        samples = speech(np.random.default_rng([case.seed, 11]), case.seconds)
        ((undisturbed,), _) = align([RecordedPair("undisturbed", *samples)], RATE)
        return undisturbed.delay_s * RATE

    return speech, delay


def main() -> None:
    """Draw cases of each duration and SNR and print what came of them."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--air", type=Path, default=SHARED)
    parser.add_argument("--bone", type=Path, help="of real pairs, whose air is in --air")
    parser.add_argument("--mild", action="store_true", help="offsets of 25 ms, clocks of 350 ppm")
    parser.add_argument("--cases", type=int, default=20, help="of each duration and SNR")
    parser.add_argument("--snrs", type=float, nargs="+", default=SNRS_DB, help="dB; 100: as it is")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=600.0)
    parser.add_argument("--shortest", type=float, default=0.0)
    parser.add_argument("--failed", action="store_true", help="print the cases that failed")
    asked = parser.parse_args()
    speech, delay = (
        recorded_by(asked.air, asked.bone)
        if asked.bone
        else (spoken_by(asked.air), lambda _: DELAY)
    )
    columns = "seconds | SNR, dB | cases | right | scarce | within | wrong | false | found | s"
    print(f"| {columns} |")
    print("|" + 10 * "---|")
    total = Tally()
    for seconds in DURATIONS_S:
        if not asked.shortest <= seconds <= asked.longest:
            continue
        for snr_db in asked.snrs:
            tally = Tally()
            for number in range(asked.cases):
                seed = 100_000 * asked.seed + number
                rng = np.random.default_rng([seed, round(seconds), round(snr_db)])
                case = draw(rng, seconds, snr_db, seed)
                case = mild(case, rng) if asked.mild else case
                case = replace(case, delay=delay(case))
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
