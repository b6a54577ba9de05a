"""The `bcsim` command: finds its subcommands, shows their errors, knows the exit codes."""

import contextlib
import importlib
import os
import sys
import threading
import traceback
import warnings

import click

from .exit_handling import INTERRUPTED, Ending
from .streams import open_closed_streams, say

COMMANDS = {
    "doctor": "doctor",
    "fit-response": "fit_response",
    "show": "show",
    "export-response": "export_response",
    "preview": "preview",
    "synthesize": "synthesize",
    "merge": "merge",
    "verify": "verify",
    "convert": "convert",
    "import": "import_pairs",
    "import-checkpoint": "import_checkpoint",
    "train": "train",
    "enhance": "enhance",
    "evaluate": "evaluate",
    "demo": "demo",
}


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
    """Learn a bone-conduction sensor from pairs, simulate it, and train enhancers on the result.

    \b
    paired recordings --fit-response--> sensor --synthesize--> pairs --train--> enhancer --enhance

    \b
    Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 done but for items named in
    failures.jsonl, 4 a quality gate failed, 5 environment (disk, permission, lock, memory,
    cluster), 6 training diverged, 130/143 interrupted (the same command again goes on).
    """  # noqa: D301  (click wants the character, not how it is written)


def main() -> None:
    """Run the command line and exit."""
    open_closed_streams()
    from bcsim.progress import log_to_stderr

    from .unexpected_errors import tell_of_thread

    ending = Ending()
    debug = "--debug" in sys.argv
    # Before torch is there: on a busy machine, threads that spin while they wait make training
    # six times slower than threads that sleep (measured: 2 threads beside 2 busy processes).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    log_to_stderr()
    if not debug:  # those of libraries; ours go through logging
        warnings.simplefilter("ignore")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")  # in the processes that we start
        threading.excepthook = tell_of_thread
    with contextlib.suppress(KeyboardInterrupt, SystemExit):  # while the last words were said
        ending.code = run(debug)
    ending.leaving = True


def run(debug: bool = False) -> int:
    """Run the command line and return the exit code; errors become one line on stderr."""
    from bcsim.errors import BcsimError

    try:
        code = cli.main(standalone_mode=False) or 0
        sys.stdout.flush()
        return code
    except click.ClickException as error:
        message, code = error.format_message().replace("\n\t", " "), error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, BcsimError):
            message, code = str(error), error.exit_code
        else:
            from .unexpected_errors import told

            message, code = told(error)
    say(f"Error: {message}")
    return code


if __name__ == "__main__":
    main()
