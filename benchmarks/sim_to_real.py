"""What an enhancer that has only seen simulated speech does for real recordings.

Real pairs are cut into two halves that share no talker. A sensor is fitted to the first, air speech
of other people, in another language, is rendered through it, and the recipe's model is trained on
that alone. It is scored on the second half, real recordings of talkers that nothing was fitted to:

- *unprocessed*: the sensor's signal as it is;
- *low-pass*: trained on the pairs of EBEN's `temporal-transforms`, which are fitted to nothing;
- *fixed response*: on pairs of a sensor fitted as one filter with its noise (power-ratio);
- *speech-dependent*: on pairs of a sensor whose gains follow the sound (band-gain-network);
- *real*: on the pairs that the sensors were fitted to, and no simulation;
- *speech-dependent + real*: the speech-dependent one, trained on with the real pairs in the batch.

Every run takes the same steps on the same model, but for the last, which goes on for a quarter as
many. The weights are those of the last step: nothing is chosen by the recordings that score it.

    python benchmarks/sim_to_real.py [--steps 1500] [--rows NAME ...] [--swap-halves] [--out DIR]
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bcsim.audio.read import read_audio
from bcsim.datasets.dataset import PairFiles
from bcsim.datasets.recordings import find_pairs
from bcsim.inference.enhancer import enhance
from bcsim.metrics import METRICS
from bcsim.metrics.scores import enhancement_scores
from bcsim.models.storage import load_enhancer
from bcsim.workflows.fit_response import fit_response
from bcsim.workflows.train import train

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
RATE = 16_000
SCORES = ("stoi", "estoi", "lsd", "si_sdr")
UNPROCESSED, LOWPASS, FIXED, SPEECH, REAL, MIXED = (
    "unprocessed", "low-pass", "fixed response", "speech-dependent", "real",
    "speech-dependent + real",
)  # fmt: skip
ROWS = (UNPROCESSED, LOWPASS, FIXED, SPEECH, REAL, MIXED)
ESTIMATORS = {FIXED: "power-ratio", SPEECH: "band-gain-network"}
# Training goes on at a tenth of the rate, for a quarter of the steps, with half a batch of real
# pairs: there are 40 s of them, which the model knows by heart within minutes.
MIXED_SHARE, MIXED_RATE, MIXED_STEPS = 0.5, 0.1, 0.25
SMOKE = (
    "model.width=2", "model.latent=2", "data.batch_size=2", "data.num_workers=0",
    "validation.num_items=1", "validation.num_samples=0",
)  # fmt: skip

Scores = dict[str, dict[str, float]]  # of each recording, by its name


@dataclass(frozen=True)
class Experiment:
    """What all rows have in common.

    Args:
        fitting: folder of the real pairs that may be learnt from, with `talkers.csv`.
        test_pairs: the other pairs.
        air: folder of air speech.
        recipe: of training.
        steps: of every run.
        learning_rate: of the recipe, at its peak.
        settings: `KEY=VALUE` overrides of the recipe.
        out: where sensors and runs go.
        estimators: by row.
    """

    fitting: Path
    test_pairs: Sequence[PairFiles]
    air: Path
    recipe: str
    steps: int
    learning_rate: float
    settings: tuple[str, ...]
    out: Path
    estimators: dict[str, str]

    def row(self, name: str) -> Scores:
        """Train what a row needs, and score it."""
        if name == UNPROCESSED:
            return score(self.test_pairs, lambda bone: bone)
        model = load_enhancer(self.run(name)).eval()
        return score(self.test_pairs, lambda bone: enhance(model, bone, RATE))

    def run(self, name: str) -> Path:
        """Train for a row, if that has not been done, and return the run's folder."""
        out = self.out / name.replace(" ", "_")
        if (out / "done").exists():
            return out
        settings = self._settings(self.steps)
        if name == LOWPASS:
            # Other effects than the recipe's, which are those of a fitted sensor.
            train(
                self.recipe, out, air=self.air, sensor="temporal-transforms", resume=True,
                settings=(*settings, "effects=null"),
            )  # fmt: skip
        elif name == REAL:
            train(self.recipe, out, pairs=self.fitting, resume=True, settings=settings)
        elif name == MIXED:
            settings = (
                *self._settings(max(1, round(MIXED_STEPS * self.steps))),
                f"optimizer.learning_rate={MIXED_RATE * self.learning_rate}",
                f"data.real_fraction={MIXED_SHARE}",
            )
            train(
                self.recipe, out, air=self.air, sensor=str(self.sensor(SPEECH)), resume=True,
                settings=settings, real_pairs=self.fitting, init_from=self.run(SPEECH),
            )  # fmt: skip
        else:
            train(
                self.recipe, out, air=self.air, sensor=str(self.sensor(name)), resume=True,
                settings=settings,
            )  # fmt: skip
        (out / "done").touch()
        return out

    def _settings(self, steps: int) -> tuple[str, ...]:
        """Return the overrides of a run of so many steps, validated at the end alone."""
        lengths = (f"training.num_steps={steps}", f"validation.interval_steps={steps}")
        return (*self.settings, *lengths)

    def sensor(self, name: str) -> Path:
        """Fit the sensor of a row, if that has not been done, and return its file."""
        path = self.out / f"{name.replace(' ', '_')}.sensor"
        if not path.exists():
            fit_response(
                self.fitting / "air",
                self.fitting / "bone",
                path,
                estimator=self.estimators[name],
                sample_rate=RATE,
                talkers=self.fitting / "talkers.csv",
            )
        return path


def halves(pairs: Sequence[PairFiles], talkers: dict[str, str]) -> tuple[list[PairFiles], ...]:
    """Cut pairs in two that share no talker: whoever has most goes to the smaller half.

    Args:
        pairs: of recordings.
        talkers: by the name of the pair.
    """
    counts = Counter(talkers[pair.id] for pair in pairs)
    sides: tuple[set[str], set[str]] = (set(), set())
    for talker, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        sizes = [sum(counts[name] for name in side) for side in sides]
        sides[int(sizes[1] < sizes[0])].add(talker)
    return tuple([pair for pair in pairs if talkers[pair.id] in side] for side in sides)


def copy_pairs(pairs: Sequence[PairFiles], talkers: dict[str, str], folder: Path) -> Path:
    """Give pairs a folder of their own, and return it."""
    for role in ("air", "bone"):
        (folder / role).mkdir(parents=True, exist_ok=True)
        for pair in pairs:
            source = pair.files[role]
            shutil.copyfile(source, folder / role / f"{pair.id}{source.suffix}")
    rows = [["file", "talker"], *([pair.id, talkers[pair.id]] for pair in pairs)]
    with (folder / "talkers.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder


def score(pairs: Sequence[PairFiles], function: Callable[[np.ndarray], np.ndarray]) -> Scores:
    """Score what a function makes of the sensor's recordings."""
    scores = {}
    for pair in pairs:
        air, bone = (read_audio(path, RATE)[0] for path in (pair.files["air"], pair.files["bone"]))
        air, bone = air[: len(bone)], bone[: len(air)]
        enhanced = torch.from_numpy(np.asarray(function(bone), dtype=np.float64))
        found = enhancement_scores(enhanced, torch.from_numpy(np.float64(air)), RATE)
        scores[pair.id] = {name: found[name] for name in SCORES}
    return scores


def table(rows: dict[str, Scores]) -> str:
    """Return a Markdown table: means, and how many recordings are better than unprocessed."""
    heads = [METRICS[name].heading for name in SCORES]
    lines = [f"| trained on | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    floor = rows.get(UNPROCESSED)
    for row, scores in rows.items():
        cells = []
        for metric in SCORES:
            mean = statistics.fmean(found[metric] for found in scores.values())
            cell = f"{mean:.3f}" if metric in ("stoi", "estoi") else f"{mean:.2f}"
            if floor is not None and row != UNPROCESSED:
                wins = sum(
                    METRICS[metric].is_better(scores[n][metric], floor[n][metric]) for n in scores
                )
                cell += f" ({wins}/{len(scores)})"
            cells.append(cell)
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def read_talkers(path: Path) -> dict[str, str]:
    """Read who speaks where: name of the pair to talker, from the first two columns."""
    with path.open(newline="", encoding="utf-8") as file:
        return {Path(name).stem: talker for name, talker, *_ in list(csv.reader(file))[1:]}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Trained on simulated speech, tested on real.")
    parser.add_argument("--pairs", type=Path, default=SHARED / "vibravox_throat")
    parser.add_argument("--talkers", type=Path, help="CSV: file, talker [PAIRS/pairs.csv]")
    parser.add_argument("--air", type=Path, default=SHARED / "librispeech_air")
    parser.add_argument("--recipe", default="eben-small")
    parser.add_argument("--learning-rate", type=float, default=0.003, help="at its peak")
    parser.add_argument("--steps", type=int, default=1500, help="of each run")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--swap-halves", action="store_true", help="fit to the second half")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the recipe")
    parser.add_argument("--out", type=Path, help="keep sensors and runs there, and go on with them")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--smoke", action="store_true", help="seconds; the numbers mean nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pairs, failures = find_pairs(arguments.pairs / "air", arguments.pairs / "bone")
    if failures:
        raise SystemExit("\n".join(failures.values()))
    talkers = read_talkers(arguments.talkers or arguments.pairs / "pairs.csv")
    fitting, test_pairs = halves(pairs, talkers)
    if arguments.swap_halves:
        fitting, test_pairs = test_pairs, fitting
    steps, settings, estimators = arguments.steps, tuple(arguments.set), ESTIMATORS
    if arguments.smoke:
        steps, settings = 2, (*SMOKE, *settings)
        fitting, test_pairs = fitting[:3], test_pairs[:3]
        estimators = dict.fromkeys(ESTIMATORS, "power-ratio")
    settings = (*settings, f"optimizer.learning_rate={arguments.learning_rate}")
    with tempfile.TemporaryDirectory() as name:
        out = arguments.out or Path(name)
        out.mkdir(parents=True, exist_ok=True)
        experiment = Experiment(
            copy_pairs(fitting, talkers, out / "fitting"), test_pairs, arguments.air,
            arguments.recipe, steps, arguments.learning_rate, settings, out, estimators,
        )  # fmt: skip
        rows = {}
        for row in arguments.rows:
            started = time.perf_counter()
            rows[row] = experiment.row(row)
            print(f"{row}: {time.perf_counter() - started:.0f} s", flush=True)
        if arguments.out:
            (out / "scores.json").write_text(json.dumps(rows, indent=1), "utf-8")
    print(f"\n{len(test_pairs)} recordings; in brackets, how many are better than unprocessed\n")
    print(table(rows))


if __name__ == "__main__":
    main()
