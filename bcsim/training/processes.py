"""The process that trains: its device and precision, and its fellows where there are several."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import nn

from bcsim.errors import UsageError
from bcsim.extras import require
from bcsim.models.base import Enhancer
from bcsim.training.config import LoopConfig

GRACE_S = 5.0  # that processes get to end by themselves once another one has failed
TERMINATED = 15


def leads() -> bool:
    """Tell whether this process is the one that writes, by what torchrun says of it."""
    return int(os.environ.get("RANK", "0")) == 0


def make_accelerator(config: LoopConfig) -> Any:
    """Return accelerate's view of this process: device, precision, and its fellows.

    Raises:
        UsageError: if the device is not there, or another one was used in this process before.
    """
    wanted = config.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("training.device is cuda, and there is no CUDA device; use auto or cpu")
    mixed_precision = "bf16" if config.precision == "bfloat16" else "no"
    accelerate = require("accelerate", extra="train")
    # The others wait for as long as the leading process validates.
    patience = accelerate.InitProcessGroupKwargs(timeout=timedelta(hours=6))
    try:
        accelerator = accelerate.Accelerator(
            mixed_precision=mixed_precision, cpu=wanted == "cpu", kwargs_handlers=[patience]
        )
    except ValueError:
        accelerator = None
    if accelerator is None or wanted not in ("auto", accelerator.device.type):
        raise UsageError(
            "this process trained on another device or in another precision before, which "
            "accelerate does not allow; use another process"
        )
    return accelerator


def compile_blocks(model: Enhancer) -> None:
    """Compile the parts of an enhancer, in place, all but the one that holds its last layer.

    Losses are balanced by their gradients at that layer; compiled with the rest, one would have to
    go back through all of it to see them.
    """
    last = model.last_layer
    for child in model.children():
        for block in child if isinstance(child, nn.ModuleList) else [child]:
            if not any(weights is last for weights in block.parameters()):
                block.compile()


def launch(num_processes: int, arguments: Sequence[str]) -> int:
    """Run the `bcsim` command in several processes of this machine that train together.

    Args:
        num_processes: how many.
        arguments: of the command.

    Returns:
        The first exit code that is not 0, with the leading process's before others'; or 0.
    """
    shared = {
        **os.environ,
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
    }
    command = [sys.executable, "-m", "bcsim_cli.main", *arguments]
    with tempfile.TemporaryFile() as said:  # by the others, who say what the first one says
        processes = [
            subprocess.Popen(
                command,
                env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=None if rank == 0 else said,
                stderr=None if rank == 0 else said,
            )
            for rank in range(num_processes)
        ]
        try:
            codes = _wait(processes)
        except KeyboardInterrupt:  # which all of them got as well
            return _wait(processes)[0]
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        if codes[0] in (0, -TERMINATED) and any(codes[1:]):
            said.seek(0)
            sys.stderr.write(said.read().decode("utf-8", errors="replace"))
        codes = [code for code in codes if code not in (0, -TERMINATED)]
        return abs(codes[0]) if codes else 0


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """Return all exit codes; when one process fails, the others get a while and are ended."""
    given_up_at: float | None = None
    while any(process.poll() is None for process in processes):
        if given_up_at is None and any(process.returncode for process in processes):
            given_up_at = time.monotonic() + GRACE_S
        if given_up_at is not None and time.monotonic() > given_up_at:
            for process in processes:
                if process.poll() is None:
                    process.terminate()
            given_up_at = None
        time.sleep(0.05)
    return [process.returncode for process in processes]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
