"""What fused networks do when the noise grows, and when the sensor is not what it was in training.

Air speech of speakers that nothing was trained on is rendered in noisy rooms at several SNRs. At
0 dB the sensor's signal is then made louder and softer, early and late, silent for the middle third
or altogether, or exchanged for that of another recording. Every run is scored under every
condition, networks of one channel as well: the sensor alone, or the mask alone of `gated_fusion`.

    python benchmarks/fusion.py RUN ... --air DIR --noise DIR --sensor NAME --out DIR [--limit 16]

The same command goes on with rendering that was stopped.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from bcsim.datasets.pairs import Pair, StoredPairs
from bcsim.inference.enhancer import enhance
from bcsim.metrics import METRICS
from bcsim.metrics.comparison import Comparison
from bcsim.models.base import Enhancer
from bcsim.models.storage import load_enhancer
from bcsim.progress import log_to_stderr
from bcsim.workflows.presets import bundled_recipes
from bcsim.workflows.synthesize import plan_synthesis, synthesize

RATE = 16_000
SNRS_DB = (-10, 0, 10, 20)
GAINS_DB, DELAYS_MS = (-12, 12), (-5, 5)
METRIC_NAMES = ("stoi", "estoi")
Change = Callable[[Tensor, Tensor], Tensor]  # the sensor's signal, and that of the next recording


def changes() -> dict[str, Change]:
    """Return what is done to the sensor's signal (T,), by name."""
    made: dict[str, Change] = {}
    for gain_db in GAINS_DB:
        made[f"sensor {gain_db:+d} dB"] = lambda own, _, g=gain_db: own * 10 ** (g / 20)
    for delay_ms in DELAYS_MS:
        made[f"sensor {delay_ms:+d} ms"] = lambda own, _, d=delay_ms: delayed(own, d * RATE // 1000)
    made["contact lost for a third"] = without_middle
    made["no sensor"] = lambda own, _: torch.zeros_like(own)
    made["sensor of another recording"] = lambda own, other: as_long_as(other, len(own))
    return made


def delayed(signal: Tensor, samples: int) -> Tensor:
    """Return a signal (T,) that comes later, or earlier if `samples` is negative, as long as it."""
    if samples >= 0:
        return pad(signal, (samples, 0))[: len(signal)]
    return pad(signal, (0, -samples))[-samples:]


def without_middle(own: Tensor, _: Tensor) -> Tensor:
    """Return a signal (T,) whose middle third is silent."""
    silent, third = own.clone(), len(own) // 3
    silent[third : 2 * third] = 0
    return silent


def as_long_as(signal: Tensor, num_samples: int) -> Tensor:
    """Return a signal (T,) cut, or repeated, to another length."""
    return signal.repeat(-(-num_samples // len(signal)))[:num_samples]


def scenes(arguments: argparse.Namespace) -> Iterator[tuple[str, list[Pair]]]:
    """Render the scenes, as far as that is not done, and yield them by condition."""
    recipe = bundled_recipes("synthesis")["noisy-room"]
    for snr_db in SNRS_DB:
        out = arguments.out / f"snr_{snr_db}"
        settings = (
            f"effects.room.noise={arguments.noise}",
            f"effects.room.snr_db={snr_db}",
            *("splits.validation=0", "splits.test=0"),
        )
        plan = plan_synthesis(
            arguments.air, out, arguments.sensor, recipe, settings, limit=arguments.limit
        )
        synthesize(plan)
        stored = StoredPairs(out, "train", RATE, seed=0).with_channels(("bone", "air"))
        pairs = [stored.whole(index) for index in range(len(stored))]
        yield f"{snr_db} dB", pairs
        if snr_db:
            continue
        for name, change in changes().items():
            others = [*pairs[1:], pairs[0]]
            yield (
                name,
                [
                    Pair(pair.id, pair.air, change(pair.bone, other.bone), RATE, pair.noisy_air)
                    for pair, other in zip(pairs, others, strict=True)
                ],
            )


def mean_scores(estimates: list[Tensor], pairs: list[Pair]) -> list[float]:
    """Return the mean of each metric of estimates (T,)."""
    compared = [
        Comparison.prepare(estimate, pair.air, RATE)
        for estimate, pair in zip(estimates, pairs, strict=True)
    ]
    return [statistics.fmean(METRICS[name](both) for both in compared) for name in METRIC_NAMES]


def row(networks: dict[str, Enhancer], pairs: list[Pair]) -> dict[str, list[float]]:
    """Return the mean scores of the inputs and of every network, by name."""
    found = {
        "sensor": mean_scores([pair.bone for pair in pairs], pairs),
        "microphone": mean_scores([pair.microphone for pair in pairs], pairs),
    }
    for name, network in networks.items():
        fuses = "air" in network.channels
        estimates = [
            enhance(network, pair.bone, RATE, pair.microphone if fuses else None) for pair in pairs
        ]
        found[name] = mean_scores([torch.from_numpy(estimate) for estimate in estimates], pairs)
    return found


def main() -> None:
    """Print a table of STOI and ESTOI, a line a condition."""
    parser = argparse.ArgumentParser(description="Fused networks under other conditions.")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of bcsim train")
    parser.add_argument("--air", type=Path, required=True, help="speech nothing was trained on")
    parser.add_argument("--noise", type=Path, required=True, help="recordings of noise")
    parser.add_argument("--sensor", required=True, help="NAME.sensor, or a bundled one")
    parser.add_argument("--limit", type=int, default=16, help="recordings of air")
    parser.add_argument("--out", type=Path, required=True, help="rendered scenes")
    arguments = parser.parse_args()
    log_to_stderr()
    networks = {run.name: load_enhancer(run).eval() for run in arguments.runs}
    names = ["sensor", "microphone", *networks]
    print(f"| STOI / ESTOI | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    for condition, pairs in scenes(arguments):
        scores = row(networks, pairs)
        cells = [" / ".join(f"{value:.3f}" for value in scores[name]) for name in names]
        print(f"| {condition} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
