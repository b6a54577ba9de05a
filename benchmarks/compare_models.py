"""All small recipes, trained on simulated speech for the same time, scored on real recordings.

Sixteen real pairs are cut into two halves that share no talker (`sim_to_real.py`). A sensor is
fitted to the first, air speech of other people is rendered through it into a dataset, and `bcsim
compare` trains every recipe on that dataset for the same time and scores it on the second half.
With `--both-halves` the halves are swapped for a second comparison. `--on-the-fly` renders while
recipes train, with the effects of each recipe. Nothing is chosen by the recordings that score.

    python benchmarks/compare_models.py --out DIR [--budget 180] [--jobs 2] [--both-halves]

The same command goes on with what was stopped. `--recipes` takes others than those whose names end
with -small.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sim_to_real import RATE, SHARED, copy_pairs, halves, read_talkers

from bcsim.datasets.recordings import find_pairs
from bcsim.progress import log_to_stderr
from bcsim.workflows.compare import Material, compare
from bcsim.workflows.fit_response import fit_response
from bcsim.workflows.presets import bundled_recipes
from bcsim.workflows.synthesize import plan_synthesis, synthesize

# As in the small recipes: how loud a sensor is depends on a knob, and its noise is near the mean.
RENDERED = ("effects.sensor_level.mean_db=0", "effects.sensor_noise.level={normal: [0, 0.5]}")
METRICS = ("stoi", "estoi", "si_sdr", "lsd", "pesq")


def table(facts: Mapping[str, Any]) -> str:
    """Return a Markdown table of means, with the gain over unprocessed in brackets.

    Args:
        facts: content of `results.json`.
    """
    metrics = [name for name in METRICS if name in facts["metrics"]]
    lines = [f"| model | parameters | {' | '.join(metrics)} |", "|---" * (len(metrics) + 2) + "|"]
    for row in facts["rows"]:
        if "failure" in row:
            lines.append(f"| {row['name']} | failed: {row['failure']} |" + " |" * len(metrics))
            continue
        cells = []
        for name in metrics:
            value, gain = (row.get(kind, {}).get(name) for kind in ("scores", "gains"))
            cell = "" if value is None else f"{value:.3f}"
            cells.append(cell if gain is None else f"{cell} ({gain:+.3f})")
        size = f"{row['num_parameters']:,}" if "num_parameters" in row else ""
        lines.append(f"| {row['name']} | {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def run(
    fitting: Path, real: Path, arguments: argparse.Namespace, recipes: Sequence[str], out: Path
) -> Mapping[str, Any]:
    """Fit, render and compare, as far as that is not done; return the results.

    Args:
        fitting: folder of the pairs that the sensor is fitted to, with `talkers.csv`.
        real: folder of the pairs that score.
        arguments: of the command line.
        recipes: paths or names of training recipes.
        out: folder of sensor, dataset and comparison.
    """
    sensor = out / "throat.sensor"
    if not sensor.exists():
        fit_response(
            *(fitting / "air", fitting / "bone", sensor),
            estimator=arguments.estimator,
            sample_rate=RATE,
            talkers=fitting / "talkers.csv",
        )
    if arguments.on_the_fly:
        material = Material(air=arguments.air, sensor=str(sensor))
    else:
        material = Material(pairs=out / "pairs")
        plan = plan_synthesis(arguments.air, out / "pairs", str(sensor), settings=RENDERED)
        synthesize(plan)
    result = compare(
        recipes,
        out / "compared",
        material,
        real,
        budget_s=arguments.budget,
        settings=("data.num_workers=0", *arguments.set),  # one core: nobody else loads
        jobs=arguments.jobs,
    )
    return result.facts


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="All small recipes, compared on real recordings.")
    parser.add_argument("--pairs", type=Path, default=SHARED / "vibravox_throat")
    parser.add_argument("--talkers", type=Path, help="CSV: file, talker [PAIRS/pairs.csv]")
    parser.add_argument("--air", type=Path, default=SHARED / "librispeech_air")
    parser.add_argument("--recipes", nargs="+", help="[all whose names end with -small]")
    parser.add_argument("--estimator", default="band-gain-network")
    parser.add_argument("--budget", type=float, default=180.0, help="training time of each, s")
    parser.add_argument("--jobs", type=int, default=2, help="recipes trained at a time")
    parser.add_argument("--both-halves", action="store_true", help="swap the halves, too")
    parser.add_argument("--on-the-fly", action="store_true", help="render while recipes train")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of every recipe")
    parser.add_argument("--limit", type=int, help="pairs of each half; for a quick look")
    parser.add_argument("--out", type=Path, required=True, help="sensors, pairs and comparisons")
    arguments = parser.parse_args()
    log_to_stderr()
    recipes = arguments.recipes
    if recipes is None:
        recipes = [name for name in bundled_recipes("training") if name.endswith("-small")]
    pairs, failures = find_pairs(arguments.pairs / "air", arguments.pairs / "bone")
    if failures:
        raise SystemExit("\n".join(failures.values()))
    talkers = read_talkers(arguments.talkers or arguments.pairs / "pairs.csv")
    sides = [half[: arguments.limit] for half in halves(pairs, talkers)]
    folders = [
        copy_pairs(side, talkers, arguments.out / f"half{n}") for n, side in enumerate(sides)
    ]
    for first in (0, 1) if arguments.both_halves else (0,):
        out = arguments.out / f"fitted_on_half{first}"
        out.mkdir(parents=True, exist_ok=True)
        facts = run(folders[first], folders[1 - first], arguments, recipes, out)
        print(f"\nfitted on half {first}, {facts['num_recordings']} recordings of the other\n")
        print(table(facts), flush=True)


if __name__ == "__main__":
    main()
