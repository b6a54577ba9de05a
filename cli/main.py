"""The `bcsim` command: finds its subcommands, prints their errors, sets the exit code."""

import contextlib
import importlib
import os
import sys
import threading
import traceback
import warnings

import click

from bcsim.errors import BcsimError, did_you_mean
from bcsim.progress import log_to_stderr

from .environment import check_environment
from .exit_handling import INTERRUPTED, ExitHandler
from .remedies import OptionsInLog, with_options
from .streams import open_closed_streams, outlive_readers, say
from .unexpected_errors import describe_error, log_thread_failure

COMMANDS = (
    "doctor", "fit-response", "show", "export-response", "preview", "synthesize", "merge", "verify",
    "convert", "import", "import-checkpoint", "train", "adapt", "compare", "enhance", "evaluate",
    "demo",
)  # fmt: skip
MODULES = {"import": "import_pairs"}  # a keyword; every other module is called as its command


class LazyGroup(click.Group):
    """Imports a subcommand when it is asked for; none of them imports torch before it runs.

    Attributes:
        asked_for: subcommand that was asked for last, whose options messages name.
    """

    asked_for: click.Command = click.Command("bcsim")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            hint = did_you_mean(cmd_name, COMMANDS)
            raise click.UsageError(f"unknown command {cmd_name!r}{hint}")
        module = MODULES.get(cmd_name, cmd_name.replace("-", "_"))
        self.asked_for = importlib.import_module(f"bcsim_cli.{module}").command
        return self.asked_for


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
    outlive_readers()
    exit_handler = ExitHandler()
    debug = "--debug" in sys.argv
    # Before torch is there: on a busy machine, threads that spin while they wait make training
    # six times slower than threads that sleep (measured: 2 threads beside 2 busy processes).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    log_to_stderr(OptionsInLog())
    if not debug:  # warnings of libraries; those of bcsim go through logging
        warnings.simplefilter("ignore")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")  # in the processes that we start
        threading.excepthook = log_thread_failure
    with contextlib.suppress(KeyboardInterrupt, SystemExit):  # a signal during the last message
        exit_handler.code = run(debug)
    exit_handler.finished = True


def run(debug: bool = False) -> int:
    """Run the command line and return the exit code; errors become one line on stderr."""
    try:
        check_environment()
        code = cli.main(standalone_mode=False) or 0
        sys.stdout.flush()
        return code
    except click.ClickException as error:
        message, code = error.format_message().replace("\n\t", " "), error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, BcsimError):
            message, code = str(error), error.exit_code
        else:
            message, code = describe_error(error)
        message = with_options(message, cli.asked_for)
    say(f"Error: {message}")
    return code


if __name__ == "__main__":
    main()
