"""The `bcsim` command: finds its subcommands, shows their errors, knows the exit codes."""

import importlib
import logging
import os
import signal
import sys
import warnings
from types import FrameType

import click

COMMANDS = {
    "doctor": "doctor",
    "fit-response": "fit_response",
    "show": "show",
    "export-response": "export_response",
    "preview": "preview",
    "synthesize": "synthesize",
    "merge": "merge",
    "convert": "convert",
    "import": "import_pairs",
    "import-checkpoint": "import_checkpoint",
    "train": "train",
    "enhance": "enhance",
    "evaluate": "evaluate",
    "demo": "demo",
}
INTERRUPTED, TERMINATED = 130, 143
MAX_MESSAGE = 400


class LazyGroup(click.Group):
    """Imports a subcommand when it is asked for; none of them imports torch before it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            from bcsim.errors import did_you_mean

            raise click.UsageError(
                f"unknown command {cmd_name!r}{did_you_mean(cmd_name, COMMANDS)}"
            )
        return importlib.import_module(f"bcsim_cli.{COMMANDS[cmd_name]}").command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="bcsim")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    r"""Learn a bone-conduction sensor from pairs, simulate it, and train enhancers on the result.

    \b
    paired recordings --fit-response--> sensor --synthesize--> pairs --train--> enhancer --enhance

    \b
    Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 done but for items named in
    failures.jsonl, 4 a quality gate failed, 5 environment (disk, permission, lock),
    6 training diverged, 130/143 interrupted (the same command again goes on).
    """


def main() -> None:
    """Run the command line and exit."""
    debug = "--debug" in sys.argv
    # Before torch is there: on a busy machine, threads that spin while they wait make training
    # six times slower than threads that sleep (measured: 2 threads beside 2 busy processes).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("bcsim").setLevel(logging.INFO)
    if not debug:
        warnings.simplefilter("ignore")  # of libraries; ours go through logging
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(debug))


def run(debug: bool = False) -> int:
    """Run the command line and return the exit code; errors become one line on stderr."""
    from bcsim.errors import BcsimError

    try:
        return cli.main(standalone_mode=False) or 0
    except click.ClickException as error:
        message, code = error.format_message(), error.exit_code
    except (KeyboardInterrupt, click.Abort):
        message, code = "interrupted; the same command again goes on", INTERRUPTED
    except BcsimError as error:
        message, code = str(error), error.exit_code
        if debug:
            raise
    except BrokenPipeError:
        return 1
    except Exception as error:
        if debug:
            raise
        message = f"internal error: {type(error).__name__}: {error}; --debug shows where"
        code = 1
    from bcsim.files import printable

    click.echo(f"Error: {printable(message)[:MAX_MESSAGE]}", err=True)
    return code


def _terminate(number: int, frame: FrameType | None) -> None:
    if "BCSIM_LAUNCHER" not in os.environ:  # which says it for all that it launched
        click.echo("terminated; the same command again goes on", err=True)
    sys.exit(TERMINATED)


if __name__ == "__main__":
    main()
