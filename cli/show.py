"""`bcsim show`."""

import json

import click


@click.command("show")
@click.argument("sensor")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(sensor: str, as_json: bool) -> None:
    """Print what a sensor profile holds: SENSOR is a file, or the name of a bundled one."""
    from bcsim.reports.text import sensor_lines
    from bcsim.sensors.profile import SensorProfile
    from bcsim.sensors.summary import summary
    from bcsim.workflows.presets import find_sensor

    facts = summary(SensorProfile.load(find_sensor(sensor)))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo("\n".join(sensor_lines(facts)))
