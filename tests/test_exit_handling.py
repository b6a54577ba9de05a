"""However a command ends, its exit code and one line say how."""

import errno
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

main = importlib.import_module("bcsim_cli.main")
streams = importlib.import_module("bcsim_cli.streams")

PROGRAM = """
import atexit, os, signal, sys, time
from bcsim_cli import exit_handling, main

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs are started without
{}
exit_handling.PATIENCE_S, exit_handling._TRACKER_S = 0.5, 600
main.cli.main = command
print("ready")
main.main()
"""


def run_command(command, number=signal.SIGINT):
    """Run Python with a command of our own; give exit code and stderr. It sleeps much longer."""
    program = PROGRAM.format(textwrap.dedent(command).replace("SIGNAL", str(int(number))))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "ready\n"  # what waits in a buffer is not lost
    return done.returncode, done.stderr


SIGNALS = [
    (signal.SIGINT, 130, "interrupted; the same command again goes on\n"),
    (signal.SIGTERM, 143, "terminated; the same command again goes on\n"),
]


@pytest.mark.parametrize(("number", "code", "line"), SIGNALS)
def test_a_signal_while_the_interpreter_shuts_down_is_not_lost(number, code, line):
    command = """
        def command(**options):
            atexit.register(os.kill, os.getpid(), SIGNAL)
    """
    assert run_command(command, number) == (code, line)


SWALLOWED = """
    class Deaf:
        def __del__(self):
            os.kill(os.getpid(), SIGNAL)
            time.sleep(0.01)

    def command(**options):
        sys.unraisablehook = lambda _: None
        deaf = Deaf()
        del deaf
"""


@pytest.mark.parametrize(("number", "code", "line"), SIGNALS)
@pytest.mark.parametrize("goes_on", ["return 0", "time.sleep(3600)"])
def test_a_signal_that_python_drops_is_not_lost(number, code, line, goes_on):
    """One Ctrl-C of 25 used to end in exit code 0."""
    assert run_command(f"{textwrap.dedent(SWALLOWED)}    {goes_on}", number) == (code, line)


@pytest.mark.parametrize(("number", "code", "line"), SIGNALS)
def test_the_second_signal_is_immediate(number, code, line):
    command = """
        def command(**options):
            exit_handling.PATIENCE_S = 3600
            try:
                os.kill(os.getpid(), SIGNAL)
                time.sleep(3600)
            finally:  # somebody cleans up, and takes their time
                os.kill(os.getpid(), SIGNAL)
                time.sleep(3600)
    """
    assert run_command(command, number) == (code, line)


@pytest.mark.parametrize(("number", "code", "line"), SIGNALS)
def test_what_was_forked_says_nothing(number, code, line):
    """The processes of torch that load data used to say it as well."""
    command = """
        def command(**options):
            child = os.fork()
            if not child:
                os.kill(os.getpid(), SIGNAL)
                os._exit(0)
            os.waitpid(child, 0)
            os.kill(os.getpid(), SIGNAL)
            time.sleep(3600)
    """
    assert run_command(command, number) == (code, line)


@pytest.mark.parametrize(
    ("arguments", "how"),
    [
        (["train", "--out", "x"], "with --resume"),
        (["--debug", "train"], "with --resume"),
        (["train", "--resume"], "again"),
        (["merge", "train"], "again"),
    ],
)
def test_training_goes_on_only_where_it_is_asked_to(arguments, how):
    command = f"""
        def command(**options):
            sys.argv[1:] = {arguments}
            os.kill(os.getpid(), SIGNAL)
    """
    assert run_command(command) == (130, f"interrupted; the same command {how} goes on\n")


@pytest.mark.parametrize(
    "closed", [" ".join(c) for n in (1, 2, 3) for c in combinations(("<&-", ">&-", "2>&-"), n)]
)
def test_streams_that_are_closed_are_as_good_as_dev_null(closed):
    """What is said must not get into a file that took the number of a stream.

    With all three closed, children had no stdout and no stderr: every worker of `synthesize` closed
    its own pipe with the number 2, and every recording was called its killer.
    """
    program = """
import os, sys
from bcsim_cli.streams import open_closed_streams, say
open_closed_streams()
with open(sys.argv[1], "w") as file:
    assert file.fileno() > 2
    assert all(os.get_inheritable(number) for number in range(3))
    say("not into the file")
    print("nor this", flush=True)
    sys.stdin.read()
    file.write("done")
import subprocess
subprocess.run(["sh", "-c", "echo that >&2; echo this; cat; echo >>" + sys.argv[1]], check=True)
"""
    with tempfile.NamedTemporaryFile("r") as file:
        command = [sys.executable, "-c", program, file.name]
        shell = ["sh", "-c", f'"$@" {closed}', "sh", *command]
        subprocess.run(shell, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        assert file.read() == "done\n"


@pytest.mark.parametrize("code", [0, 3])
def test_without_a_signal_the_exit_code_is_that_of_the_command(code):
    assert run_command(f"def command(**options): return {code}") == (code, "")


@pytest.mark.parametrize(("number", "code", "line"), SIGNALS)
def test_a_signal_at_the_last_moment_is_not_lost(number, code, line):
    """The kernel clears the process away, which takes a while; nothing of Python is left."""
    command = """
        execve = os.execve

        def late(*arguments):
            os.kill(os.getpid(), SIGNAL)
            execve(*arguments)

        def command(**options):
            os.execve = late
    """
    assert run_command(command, number)[0] in (-number, code)


def test_ctrl_c_stays_ignored_in_the_background():
    command = """
        signal.signal(signal.SIGINT, signal.SIG_IGN)

        def command(**options):
            os.kill(os.getpid(), signal.SIGINT)
            return 3
    """
    assert run_command(command) == (3, "")


OF_THE_MACHINE = [
    (MemoryError(), "there is not memory enough"),
    (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
    (OSError(errno.ENOSPC, "No space left on device", "/data/x.wav"), "/data/x.wav: no space left"),
    (PermissionError(errno.EACCES, "Permission denied", b"/data/\xff"), "/data/%FF: permission"),
    (OSError(errno.EMFILE, "Too many open files"), "standard output: too many open files"),
]


@pytest.mark.parametrize(("error", "message"), OF_THE_MACHINE)
def test_what_the_machine_is_to_blame_for_is_5(error, message, monkeypatch, capsys):
    def fail(**options):
        raise error

    monkeypatch.setattr(main.cli, "main", fail)
    assert main.run() == 5
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert message in said
    assert said.count("\n") == 1


def test_a_tensor_that_is_too_large_is_5(monkeypatch, capsys):
    monkeypatch.setattr(main.cli, "main", lambda **_: torch.empty(2**50))
    assert main.run() == 5
    assert "there is not memory enough" in capsys.readouterr().err


def test_output_that_cannot_be_written_is_5():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bcsim_cli.main", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 5
    assert done.stderr.startswith("Error: standard output: no space left on device; ")


def test_a_traceback_that_was_asked_for_does_not_change_the_exit_code(tmp_path):
    command = [sys.executable, "-m", "bcsim_cli.main", "--debug", "verify", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("Traceback (most recent call last)")
    assert done.stderr.splitlines()[-1].startswith(f"Error: {tmp_path}/none: no such folder")


def test_no_process_outlives_the_command():
    program = PROGRAM.format(
        textwrap.dedent(
            """
            def command(**options):
                from bcsim.workers.pool import Workers, run_parallel
                list(run_parallel(lambda numbers: numbers, range(4), Workers(2, batch=1), print))
            """
        )
    )
    token = f"BCSIM_TEST={os.urandom(8).hex()}"
    environment = dict(os.environ, **dict([token.split("=")]))
    with subprocess.Popen([sys.executable, "-c", program], env=environment) as process:
        code = process.wait()  # with a timeout it would look now and then, and too late
    left = [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if holds(path, token)]
    assert (code, left) == (0, [])


def holds(path: Path, token: str) -> bool:
    try:
        return token.encode() in path.read_bytes().split(b"\0")
    except OSError:
        return False


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_ends_no_work(stream):
    """`synthesize 2>&1 | true` ended with 1, a progress line being the last thing it did."""
    command = f"""
        def command(**options):
            for number in range(3):
                print(number, file=sys.{stream}, flush=True)
            return 3
    """
    program = PROGRAM.replace('print("ready")\n', "").format(textwrap.dedent(command))
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        streams: dict[str, Any] = {stream: gone}
        done = subprocess.run([sys.executable, "-c", program], **streams)
    assert done.returncode == 3


def test_messages_may_get_lost_on_a_full_disk_and_results_may_not(monkeypatch):
    """`fit-response 2> log` on a full disk ended with 1, its profile being written."""
    for name in ("stdout", "stderr"):
        stream = Path("/dev/full").open("w")  # noqa: SIM115 (it is taken apart)
        monkeypatch.setattr(sys, name, stream)
        monkeypatch.setattr(sys, f"__{name}__", stream)
    streams.outlive_readers()
    told, result = sys.stderr, sys.stdout
    print("a message", file=told, flush=True)
    assert os.path.samestat(os.fstat(told.fileno()), os.stat(os.devnull))
    with pytest.raises(OSError, match="No space left"):
        print("a result", file=result, flush=True)
    os.dup2(told.fileno(), result.fileno())  # where what is left goes when it is closed
    told.close()
    result.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [("LOKY_MAX_CPU_COUNT", "abc"), ("LOKY_MAX_CPU_COUNT", "0"), ("JOBLIB_START_METHOD", "x\n")],
)
def test_a_variable_that_joblib_stumbles_over_is_named(monkeypatch, capsys, name, value):
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["bcsim", "show"])
    assert main.run() == 5
    told = capsys.readouterr().err
    assert f"the variable {name} is " in told
    assert told.count("\n") == 1


def test_a_working_folder_that_is_gone_is_named(tmp_path):
    """It was an abort of a library."""
    gone = tmp_path / "gone"
    gone.mkdir()
    command = 'rmdir "$0" && exec "$1" -m bcsim_cli.main show'
    done = subprocess.run(
        ["sh", "-c", command, str(gone), sys.executable], cwd=gone, capture_output=True, text=True
    )
    assert done.returncode == 5
    assert done.stderr.startswith("Error: the working folder cannot be used")
    assert done.stderr.count("\n") == 1


def test_a_library_that_finds_no_room_in_memory_is_no_defect(monkeypatch, capsys):
    """`ulimit -v` of too little was an internal error."""

    def command(**_):
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")

    monkeypatch.setattr(main.cli, "main", command)
    assert main.run() == 5
    assert "not memory enough" in capsys.readouterr().err


def test_a_library_that_cannot_be_imported_is_no_defect(tmp_path, monkeypatch, capsys):
    """`TORCH_LOGS=x` and `MPLBACKEND=x` were internal errors."""
    (tmp_path / "pickyforms.py").write_text("raise ValueError('TORCH_FORMS is x,\\nand wants y')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(main.cli, "main", lambda **_: importlib.import_module("pickyforms"))
    assert main.run() == 5
    told = capsys.readouterr().err
    assert told.startswith("Error: pickyforms cannot be imported; see to its installation, and to ")
    assert told.endswith("(ValueError: TORCH_FORMS is x, and wants y)\n")
