"""`bcsim show`."""

import json
import shutil

import click

from .options import NAMED, json_option

MAX_WIDTH = 100


@click.command("show")
@click.argument("what", type=NAMED, metavar="SENSOR|recipe|models")
@click.argument("name", type=NAMED, metavar="[EFFECT|RECIPE|MODEL]", required=False)
@json_option
def command(what: str, name: str | None, as_json: bool) -> None:
    """Print what a sensor profile holds, what recipes may, or which models there are.

    \b
    bcsim show SENSOR           a sensor: its file, or the name of a bundled one
    bcsim show recipe           all effects, with parameters, units and defaults
    bcsim show recipe EFFECT    one of them in full, with an example
    bcsim show recipe RECIPE    the effects of a synthesis recipe: a file, or a bundled one's name
    bcsim show models [MODEL]   models with their recipes: parameters, look-ahead, channels

    A sensor in a file that is called "recipe" or "models" is ./recipe or ./models.
    """  # noqa: D301  (click wants the character)
    if what == "recipe":
        facts, lines = _recipe(name)
    elif what == "models":
        facts, lines = _models(name)
    elif name is not None:
        raise click.UsageError(f"show {what} {name}: one sensor at a time, or: show recipe {name}")
    else:
        from bcsim.fitting.summary import sensor_summary
        from bcsim.reports.text import sensor_lines
        from bcsim.sensors.profile import SensorProfile
        from bcsim.workflows.presets import find_sensor

        facts = sensor_summary(SensorProfile.load(find_sensor(what)))
        lines = sensor_lines(facts)
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(lines))


def _models(name: str | None) -> tuple[dict, list[str]]:
    from bcsim.reports.model_text import model_lines
    from bcsim.workflows.show_models import models_reference

    facts = models_reference(name)
    return facts, model_lines(facts, MAX_WIDTH)


def _recipe(name: str | None) -> tuple[dict, list[str]]:
    from bcsim.reports.recipe_text import effect_lines, recipe_lines, reference_lines
    from bcsim.workflows.show import distribution_forms, recipe_or_effect_facts, recipe_reference

    width = min(shutil.get_terminal_size((MAX_WIDTH, 24)).columns, MAX_WIDTH)
    if name is None:
        facts = recipe_reference()
        return facts, reference_lines(facts, width)
    facts = recipe_or_effect_facts(name)
    if "recipe" in facts:
        return facts, recipe_lines(facts, width)
    return facts, effect_lines(facts, distribution_forms(), width)
