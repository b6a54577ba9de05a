"""The verdict on what a run has trained, on the pairs that it was validated on."""

from dataclasses import replace
from pathlib import Path

from bcsim.files.atomic import write_json
from bcsim.inference.inverse_response import InverseResponse
from bcsim.models.base import Enhancer
from bcsim.models.storage import load_enhancer
from bcsim.reports.verdict import Verdict, verdict_on
from bcsim.sensors.profile import SensorProfile
from bcsim.training.config import TrainingConfig
from bcsim.training.data import TrainingData
from bcsim.training.run_folder import VERDICT_FILE
from bcsim.training.validation import Validator
from bcsim.workflows.adapted_scores import HeldOutScores

TRAINED = "trained"  # the part that is evaluated
NOT_EVALUATED = Verdict(
    "grey",
    "Not evaluated: there were no pairs to validate on.",
    (),
    ("give pairs of the sensor that are not trained on, to validate on",),
)
NOT_REAL = "give pairs of the real sensor to validate on: synthetic ones do not tell its gain"


def evaluate_run(
    out: Path,
    config: TrainingConfig,
    data: TrainingData,
    sensor: SensorProfile | None,
    num_steps: int,
) -> Verdict:
    """Evaluate the best weights of a run, and write the verdict to `verdict.json`.

    Real pairs decide, where there are some; what is to be said of synthetic ones follows then.

    Args:
        out: folder of the run.
        config: settings of the run, which trains an enhancer.
        data: pairs of the run.
        sensor: sensor that the synthetic pairs were rendered through, whose inverse response is
            another thing to be better than; None where it is not known.
        num_steps: number of steps that were done.

    Raises:
        InputError: if the weights or a pair cannot be read.
    """
    enhancer = load_enhancer(out)
    parts: dict[str, Enhancer] = {TRAINED: enhancer}
    if sensor is not None:
        parts["inverse"] = InverseResponse(sensor).eval()
    seen = data.for_network(enhancer.channels, reverse=False)
    verdicts = []
    for kind, pairs in (("real", seen.validation_real), ("synthetic", seen.validation)):
        if not pairs:
            continue
        validator, scores = Validator(pairs, config.validation), HeldOutScores()
        if not validator.items:
            continue
        scores.add_unprocessed(validator, [None] * len(validator.items))
        for part, network in parts.items():
            scores.add_part(part, network, validator)
        evidence = replace(
            scores.evidence(TRAINED, num_steps, has_corpus=True),
            num_talkers=None,
            num_warmup_steps=config.schedule.warmup_steps,
            material=f"{kind} pairs that it was validated on",
        )
        verdicts.append(verdict_on(evidence))
    verdict = _together(verdicts, has_real=bool(seen.validation_real))
    write_json(out / VERDICT_FILE, verdict.facts())
    return verdict


def _together(verdicts: list[Verdict], has_real: bool) -> Verdict:
    """Return the first verdict, which tells of the second as well."""
    if not verdicts:
        return NOT_EVALUATED
    first, *others = verdicts
    told = " ".join([first.headline, *(other.headline for other in others)])
    return replace(first, headline=told, advice=first.advice if has_real else (NOT_REAL,))
