"""How close simulated bone-conducted speech comes to the real recording, by method.

Every pair is simulated by a sensor that was fitted without it, in two ways:

- *talker not in the fit*: the sensor was fitted to the pairs of all other talkers;
- *talker in the fit*: it was fitted to the talker's own other utterances; methods that can start
  from a prior start from the sensor of the other talkers.

The scores are those of `bcsim evaluate`: the mean sensor against the recording, but dynamics ratio
and C2ST with the residual drawn. The baseline is EBEN's low-pass, which is fitted to nothing.
Intervals are 95 %, bootstrapped over talkers and their utterances.

    python benchmarks/simulation_accuracy.py [--air DIR --bone DIR --talkers CSV] [--method NAME]
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bcsim.datasets.recordings import read_recordings
from bcsim.effects.distributions import Constant
from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.effects.sensor_speech import SensorSpeech
from bcsim.effects.white_noise import WhiteNoise
from bcsim.effects.zero_phase_lowpass import ZeroPhaseLowpass
from bcsim.fitting.fit import fit_pairs
from bcsim.metrics import METRICS
from bcsim.metrics.comparison import Comparison
from bcsim.metrics.intervals import bootstrap_mean
from bcsim.metrics.scores import headline_metrics, simulation_metrics, simulation_scores
from bcsim.metrics.two_sample import frames_of, null_accuracy, told_apart
from bcsim.sensors.profile import SensorProfile
from bcsim.sensors.recorded_pair import RecordedPair
from bcsim.simulator import Simulator
from bcsim.workflows.evaluate import synchronised_pair

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "vibravox_throat"
COLUMNS = {name: METRICS[name].headline for name in headline_metrics()}
BASELINE = "temporal-transforms"
METHODS = (
    BASELINE, "cross-correlation", "h1", "h2", "h3", "hv", "frequency-response-curve",
    "power-ratio", "speech-classes", "band-gain-network", "auto",
)  # fmt: skip
SPEECH_DEPENDENT = ("speech-classes", "band-gain-network", "auto")
PRIOR = "band-gain-network"
OTHERS, OWN = "talker not in the fit", "talker in the fit"


@dataclass(frozen=True)
class Result:
    """What one method gave in one way.

    Args:
        rows: scores of each pair.
        talkers: of each pair.
        c2st: of all pairs together.
        c2st_null: real against real.
    """

    rows: list[dict[str, float]]
    talkers: list[str]
    c2st: float
    c2st_null: float


def simulator_of(sensor: SensorProfile | None, sample_rate: int) -> Simulator:
    """Return the simulator of a sensor, or the baseline for None."""
    if sensor is None:
        lowpass = ZeroPhaseLowpass(cutoff_hz=Constant(600.0), q=Constant(1.0))
        return Simulator((lowpass, WhiteNoise()), sample_rate)
    effects = (SensorSpeech(sensor), SensorResponse(sensor), SensorNoise(sensor))
    return Simulator(effects, sample_rate)


class Fits:
    """Sensors fitted to parts of the pairs, each only once.

    Args:
        pairs: with their talkers.
        sample_rate: in Hz.
        held_out: try each fit on held-out parts of what it is fitted to, without which `auto`
            cannot choose and no residual is drawn.
    """

    def __init__(
        self, pairs: Sequence[RecordedPair], sample_rate: int, held_out: bool = True
    ) -> None:
        self.pairs, self.sample_rate, self.held_out = pairs, sample_rate, held_out
        self._known: dict[tuple[object, ...], SensorProfile] = {}
        self._synchronised: dict[str, RecordedPair] = {}

    def synchronised(self, pair: RecordedPair) -> RecordedPair:
        """Return a pair as it is scored, synchronised only once."""
        if pair.name not in self._synchronised:
            self._synchronised[pair.name] = synchronised_pair(pair, self.sample_rate)
        return self._synchronised[pair.name]

    def fit(
        self, method: str, names: Sequence[str], prior: SensorProfile | None, held_out: bool
    ) -> SensorProfile:
        key = (method, tuple(names), prior is None, held_out)
        if key not in self._known:
            part = [pair for pair in self.pairs if pair.name in names]
            self._known[key] = fit_pairs(
                part,
                self.sample_rate,
                estimator=method,
                prior=prior,
                cross_validate=held_out,
            ).profile
        return self._known[key]

    def without(self, pair: RecordedPair, method: str, way: str) -> SensorProfile | None:
        """Return the sensor to simulate a pair with; None for the baseline."""
        if method == BASELINE:
            return None
        others = [other.name for other in self.pairs if other.talker != pair.talker]
        held_out = self.held_out and method in SPEECH_DEPENDENT
        if way == OTHERS:
            return self.fit(method, others, None, held_out)
        prior = None
        if method in SPEECH_DEPENDENT:
            prior = self.fit(PRIOR, others, None, held_out=False)
        own = [o.name for o in self.pairs if o.talker == pair.talker and o.name != pair.name]
        return self.fit(method, own, prior, held_out)


def measure(
    fits: Fits, method: str, way: str, report: Callable[[str], None] = lambda line: None
) -> Result:
    """Simulate every pair that this way allows for."""
    rows, comparisons, talkers = [], [], []
    names = [pair.talker for pair in fits.pairs]
    rate = fits.sample_rate
    for pair in fits.pairs:
        if way == OWN and names.count(pair.talker) < 2:
            continue
        simulator = simulator_of(fits.without(pair, method, way), rate)
        aligned = fits.synchronised(pair)
        air, real = (torch.from_numpy(np.float64(x[:])) for x in (aligned.air, aligned.bone))
        mean, drawn = (
            simulator.render(air[None], [pair.name], seed=0, mean=True, within_clip=varies).bone[0]
            for varies in (False, True)
        )
        row = simulation_scores(mean, real, air, rate)
        comparisons.append(Comparison.prepare(drawn, real, rate, reference=air))
        row |= {
            name: METRICS[name](comparisons[-1])
            for name in simulation_metrics()
            if METRICS[name].drawn
        }
        rows.append(row)
        talkers.append(str(pair.talker))
        report(f"{way}, {method}, {pair.name}: LSD {row['lsd']:.2f}")
    frames = [frames_of(comparison, len(comparisons)) for comparison in comparisons]
    null, _ = null_accuracy(frames, talkers)
    return Result(rows, talkers, told_apart(frames, talkers), null)


def table(results: dict[str, Result], intervals: bool = True) -> str:
    """Return a Markdown table, a row for every method."""
    heads = [*COLUMNS.values(), "C2ST (null)"]
    lines = [f"| method | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for method, result in results.items():
        cells = []
        for key in COLUMNS:
            values = [row[key] for row in result.rows]
            low, high = bootstrap_mean(values, result.talkers)
            between = f" ({low:.2f}-{high:.2f})" if intervals else ""
            cells.append(f"{np.nanmean(values):.2f}{between}")
        cells.append(f"{result.c2st:.2f} ({result.c2st_null:.2f})")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Held-out accuracy of sensor simulators.")
    parser.add_argument("--air", type=Path, default=SHARED / "air")
    parser.add_argument("--bone", type=Path, default=SHARED / "bone")
    parser.add_argument("--talkers", type=Path, help="CSV with the columns file and talker")
    parser.add_argument("--sample-rate", type=int, default=16_000)
    parser.add_argument("--method", action="append", choices=METHODS, help="default: all")
    parser.add_argument("--way", action="append", choices=(OTHERS, OWN), help="default: both")
    parser.add_argument("--verbose", action="store_true", help="a line for every utterance")
    parser.add_argument("--json", type=Path, help="keep every score there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    talkers = arguments.talkers
    if talkers is None and arguments.air == SHARED / "air":
        talkers = SHARED / "pairs.csv"
    rate = arguments.sample_rate
    pairs, _ = read_recordings(arguments.air, arguments.bone, rate, talkers)
    fits = Fits(pairs, rate)
    report = print if arguments.verbose else lambda line: None
    kept = {}
    for way in arguments.way or (OTHERS, OWN):
        results = {m: measure(fits, m, way, report) for m in arguments.method or METHODS}
        count = len(next(iter(results.values())).rows)
        print(f"\n{way}: {count} pairs of {arguments.air}, mean (95 % interval)\n")
        print(table(results), flush=True)
        kept[way] = {m: {**vars(result)} for m, result in results.items()}
    if arguments.json:
        arguments.json.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
