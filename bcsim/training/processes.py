"""The processes that train: device and precision of each, and their start on one machine."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import nn
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage] (documented)

from bcsim.errors import EnvironmentFault, PartialFailure, UsageError, one_line
from bcsim.extras import optional_import
from bcsim.files.text import shown
from bcsim.models.base import Enhancer
from bcsim.training.config import LoopConfig
from bcsim.workers.device import choose_device
from bcsim.workers.pool import end_with, num_cores

GRACE_S = 5.0  # time that processes get to end once another one has failed
_WORLD = ("RANK", "LOCAL_RANK", "WORLD_SIZE")  # environment variables of torchrun
_KINDS = ("NO", "MULTI_CPU", "MULTI_GPU")  # accelerate's names of what `Trainer` does
PARENT = "BCSIM_LAUNCHER"  # environment variable with the id of the process that launched this one


def processes_of_run() -> tuple[int, int]:
    """Return the rank of this process and the number of processes that train together.

    torchrun and `launch` tell both in environment variables; without these a process trains alone.

    Raises:
        UsageError: if the variables contradict each other, or MPI started several processes.
    """
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"):
        if "WORLD_SIZE" not in os.environ and os.environ.get(name, "1") != "1":
            raise UsageError(f"{name} is {os.environ[name]}: started by MPI; start with torchrun")
    found = {name: os.environ[name] for name in _WORLD if os.environ.get(name)}
    told = ", ".join(f"{name}={shown(value)}" for name, value in found.items())
    try:
        size = int(found.get("WORLD_SIZE", "1"))
        # Only a process that is alone may leave its rank out.
        rank = int(found["RANK"]) if size != 1 or "RANK" in found else 0
        local_rank = int(found.get("LOCAL_RANK", rank))
    except (KeyError, ValueError):
        rank = size = local_rank = -1
    if not (0 <= local_rank <= rank < size) or ("LOCAL_RANK" in found and "RANK" not in found):
        raise UsageError(
            f"environment has {told}, of which one is missing or wrong; start all processes with "
            "torchrun, or unset these"
        )
    return rank, size


def is_main_process() -> bool:
    """Tell whether this process is the one that writes, by the rank that torchrun gave it."""
    return processes_of_run()[0] == 0


def make_accelerator(config: LoopConfig) -> Any:
    """Return the accelerator of this process: its device, precision and process group.

    Raises:
        UsageError: if the device is not there, another one was used in this process before, or the
            accelerator is set to something else than this training does.
        EnvironmentFault: if the processes do not find each other.
    """
    device = choose_device(config.device)
    rank, size = processes_of_run()
    here, num_gpus = os.environ.get("LOCAL_WORLD_SIZE", "1"), torch.cuda.device_count()
    if device == "cuda" and here.isdecimal() and int(here) > num_gpus:
        raise UsageError(
            f"{here} processes: this machine has {num_gpus} GPUs; use as many processes at most, "
            "or set training.device to cpu"
        )
    mixed_precision = "bf16" if config.precision == "bfloat16" else "no"
    accelerate = optional_import("accelerate", extra="train")
    # The others wait for as long as the main process validates.
    patience = accelerate.InitProcessGroupKwargs(timeout=timedelta(hours=6))
    try:
        # Without `cpu` accelerate finds no process group on a machine that has no GPU, and every
        # process would train on its own.
        accelerator = accelerate.Accelerator(
            mixed_precision=mixed_precision, cpu=device == "cpu", kwargs_handlers=[patience]
        )
    except torch.distributed.DistError as error:
        raise EnvironmentFault(
            f"the {size} processes do not find each other: {one_line(error)}; start all of them "
            "with torchrun"
        ) from error
    except ValueError:
        accelerator = None
    if accelerator is None or accelerator.device.type != device:
        raise UsageError(
            "this process trained on another device or in another precision before, which "
            "accelerate does not allow; use another process"
        )
    found = (accelerator.process_index, accelerator.num_processes)
    if found != (rank, size):
        raise UsageError(
            f"the environment says process {rank} of {size}, accelerate sees process {found[0]} of "
            f"{found[1]}; start all processes with torchrun"
        )
    kind = accelerator.distributed_type.value
    if kind not in _KINDS or accelerator.gradient_accumulation_steps != 1:
        raise UsageError(
            f"accelerate is set to {kind} with {accelerator.gradient_accumulation_steps} steps of "
            "accumulation; leave both to the recipe (training.accumulation)"
        )
    return accelerator


def compile_blocks(model: Enhancer) -> None:
    """Compile the parts of an enhancer, in place, all but the one that holds its last layer.

    Losses are balanced by their gradients at that layer, which a block compiled with it hides.
    """
    last = model.last_layer
    for child in model.children():
        for block in child if isinstance(child, nn.ModuleList) else [child]:
            if not any(weights is last for weights in block.parameters()):
                block.compile()


def launch(num_processes: int, arguments: Sequence[str]) -> int:
    """Run the `bcsim` command in several processes of this machine that train together.

    All of them end when one fails, and when this process ends.

    Args:
        num_processes: number of processes.
        arguments: arguments of the command.

    Returns:
        0, or 3 where recordings were left out; or the exit code of the first that failed, 128 + n
        where signal n killed it, and the errors of that one alone are passed on.
    """
    # The store at which the processes meet, on a port that the kernel picks, as in torchrun.
    meeting = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    threads = max(1, num_cores() // num_processes)  # or each would take all cores
    shared = {
        **os.environ,
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(meeting.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }
    command = [sys.executable, "-m", "bcsim_cli.main", *arguments]
    with contextlib.ExitStack() as files:  # without names: a kill leaves nothing of them
        said = [files.enter_context(tempfile.TemporaryFile()) for _ in range(num_processes)]
        processes = []
        try:
            for rank, file in enumerate(said):
                ours = {"RANK": str(rank), "LOCAL_RANK": str(rank), PARENT: str(os.getpid())}
                env, out = {**shared, **ours}, None if rank == 0 else file
                # In a group of its own: Ctrl-C is ours to pass on, once.
                processes.append(
                    subprocess.Popen(command, env=env, stdout=out, stderr=out, process_group=0)
                )
            failed = _first_failure(processes)
        finally:  # also where SystemExit comes from a SIGTERM
            end_processes(processes)
        if failed is None:
            return processes[0].returncode
        code = processes[failed].returncode
        if failed > 0 and code not in (130, 143):  # interrupts, which the main process reports
            said[failed].seek(0)
            text = said[failed].read().decode("utf-8", errors="replace")
            sys.stderr.write(text[text.find("Error:") :] if "Error:" in text else text)
        if code < 0:
            name = signal.Signals(-code).name
            sys.stderr.write(f"Error: process {failed} was killed by {name}\n")
            return 128 - code
        return code


def tie_to_launcher() -> None:
    """Let the kernel end this process with the one that launched it, if one did."""
    parent = os.environ.get(PARENT)
    if parent is not None:
        end_with(int(parent))


def _first_failure(processes: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all to end or one to fail, and return its rank; pass a Ctrl-C on."""
    while True:
        try:
            for rank, process in enumerate(processes):
                if process.poll() not in (None, 0, PartialFailure.exit_code):
                    return rank
            if all(process.returncode is not None for process in processes):
                return None
            time.sleep(0.05)
        except KeyboardInterrupt:
            for process in processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)


def end_processes(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Terminate the processes that still run, and kill them after `GRACE_S`."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + GRACE_S
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
