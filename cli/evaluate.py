"""`bcsim evaluate`."""

import json
from typing import Any

import click

from .findings import RecordingsCommand
from .options import NAMED, json_option
from .recordings import recordings_options
from .streams import say


@click.command("evaluate", cls=RecordingsCommand)
@click.option(
    "--sensor",
    "sensors",
    type=NAMED,
    required=True,
    multiple=True,
    help="NAME.sensor, a bundled sensor, or a preset; again for each one to compare.",
)
@recordings_options
@json_option
def command(sensors: tuple[str, ...], as_json: bool, **recordings: Any) -> int:
    """Measure how close simulated sensors come to real pairs.

    Distances are those of the mean sensor; the dynamics ratio, the C2ST and the coupling (how
    closely bone follows air, simulated less real) are of a rendering with the residual of the
    speech-dependent part drawn. Intervals are a bootstrap over talkers
    and utterances. A simulation that is silent or not finite has the worst value of every score.

    \b
    --json, one sensor:     {sensor, num_pairs, num_scored, scores, intervals, talkers, bands,
                             coupling, pairs, failures}
    --json, several of them: {"sensors": [one such object each]}
    """  # noqa: D301  (click wants the character)
    from bcsim.reports.text import comparison_lines, evaluation_lines
    from bcsim.workflows.evaluate import evaluate

    results = evaluate(sensors, **recordings)
    failures = {reason: None for result in results for reason in result.failures.values()}
    for reason in failures:
        say(f"skipped: {reason}")
    facts = [result.facts() for result in results]
    if as_json:
        found = facts[0] if len(facts) == 1 else {"sensors": facts}
        click.echo(json.dumps(found, indent=2))
    else:
        lines = evaluation_lines(facts[0]) if len(facts) == 1 else comparison_lines(facts)
        click.echo("\n".join(lines))
    return 3 if failures else 0
