"""How close simulated bone-conducted speech comes to the real recording, by method.

Leave one utterance out: every pair is simulated with a sensor that was fitted to all the others,
and judged against its own recording (bcsim.metrics.simulation_scores; lower is better but for
ESTOI). The baseline is EBEN's low-pass, which is fitted to nothing.

    python benchmarks/simulation_accuracy.py [--air DIR --bone DIR] [--estimator NAME ...]
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from bcsim.data.recordings import read_recordings
from bcsim.effects.base import Constant
from bcsim.effects.sensor_noise import SensorNoise
from bcsim.effects.sensor_response import SensorResponse
from bcsim.effects.white_noise import WhiteNoise
from bcsim.effects.zero_phase_lowpass import ZeroPhaseLowpass
from bcsim.metrics import simulation_scores
from bcsim.sensors.estimators import ESTIMATORS
from bcsim.sensors.fit import fit_sensor
from bcsim.sensors.pairs import RecordedPair
from bcsim.simulator import Simulator

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "vibravox_throat"
COLUMNS = {"lsd": "LSD", "mel_sd": "MelSD", "mcd": "MCD", "ltas": "LTAS", "estoi": "ESTOI"}
BASELINE = "temporal-transforms"


def simulator_of(method: str, others: Sequence[RecordedPair], sample_rate: int) -> Simulator:
    """Return the simulator of a method, fitted to `others` if it is one that is fitted."""
    if method == BASELINE:
        lowpass = ZeroPhaseLowpass(cutoff_hz=Constant(600.0), q=Constant(1.0))
        return Simulator((lowpass, WhiteNoise()), sample_rate)
    sensor = fit_sensor(others, sample_rate, estimator=method).profile
    return Simulator((SensorResponse(sensor), SensorNoise(sensor)), sample_rate)


def leave_one_out(
    method: str,
    pairs: Sequence[RecordedPair],
    sample_rate: int,
    report: Callable[[str], None] = lambda line: None,
) -> list[dict[str, float]]:
    """Return the scores of every utterance, simulated from the others."""
    rows = []
    for index, pair in enumerate(pairs):
        others = [*pairs[:index], *pairs[index + 1 :]]
        air = torch.from_numpy(np.asarray(pair.air, dtype=np.float64))
        simulator = simulator_of(method, others, sample_rate)
        bone = simulator.render(air[None], [pair.name], seed=0, mean=True).bone[0]
        real = torch.from_numpy(np.asarray(pair.bone, dtype=np.float64))
        rows.append(simulation_scores(bone, real, air, sample_rate))
        report(f"{method} {pair.name}: LSD {rows[-1]['lsd']:.2f}")
    return rows


def table(means: dict[str, dict[str, float]]) -> str:
    """Return a Markdown table, a row for every method."""
    lines = [f"| method | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for method, mean in means.items():
        cells = [f"{mean[key]:.2f}" for key in COLUMNS]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Leave-one-out accuracy of sensor simulators.")
    parser.add_argument("--air", type=Path, default=SHARED / "air")
    parser.add_argument("--bone", type=Path, default=SHARED / "bone")
    parser.add_argument("--sample-rate", type=int, default=16_000)
    parser.add_argument("--estimator", action="append", help="default: all, and the baseline")
    parser.add_argument("--verbose", action="store_true", help="a line for every utterance")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pairs = read_recordings(arguments.air, arguments.bone, arguments.sample_rate).pairs
    means = {}
    for method in arguments.estimator or [*ESTIMATORS, BASELINE]:
        rows = leave_one_out(
            method, pairs, arguments.sample_rate, print if arguments.verbose else lambda line: None
        )
        means[method] = {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}
    print(f"{len(pairs)} pairs of {arguments.air}, leave one out, mean over utterances\n")
    print(table(means))


if __name__ == "__main__":
    main()
