"""Processes that train together do what the environment says of them, or it is refused."""

from types import SimpleNamespace

import pytest
import torch

from bcsim.errors import UsageError
from bcsim.training import processes
from bcsim.training.config import LoopConfig

VARIABLES = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    *("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"),
)


@pytest.fixture
def environment(monkeypatch):
    """Set the variables of an environment that has none of these but the given."""

    def use(**values: str) -> None:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return use


@pytest.fixture
def accelerate(monkeypatch):
    """Put a stand-in in accelerate's place, which notes its arguments and believes what is set."""

    def stand_in(device="cpu", rank=0, size=1, kind="NO", steps=1) -> dict:
        given = {}

        def accelerator(**options):
            given.update(options)
            return SimpleNamespace(
                device=torch.device(device),
                process_index=rank,
                num_processes=size,
                distributed_type=SimpleNamespace(value=kind),
                gradient_accumulation_steps=steps,
            )

        library = SimpleNamespace(Accelerator=accelerator, InitProcessGroupKwargs=SimpleNamespace)
        monkeypatch.setattr(processes, "optional_import", lambda *_, **__: library)
        return given

    return stand_in


@pytest.mark.parametrize(
    ("gpus", "device", "on_cpu"),
    [(0, "auto", True), (1, "auto", False), (1, "cpu", True), (1, "cuda", False)],
)
def test_the_default_device_without_a_gpu_is_the_cpu_for_accelerate_too(
    environment, accelerate, monkeypatch, gpus, device, on_cpu
):
    """Else accelerate finds no process group, and each process trains on its own, unsaid."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    environment()
    given = accelerate(device="cpu" if on_cpu else "cuda")
    processes.make_accelerator(LoopConfig(num_steps=1, device=device))
    assert given["cpu"] is on_cpu


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "0"}, (0, 1)),
        ({"WORLD_SIZE": "1"}, (0, 1)),
        ({"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, (1, 2)),
        ({"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}, (5, 8)),
        ({"RANK": "1", "WORLD_SIZE": "2", "PMI_SIZE": "2"}, (1, 2)),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, (0, 1)),
    ],
)
def test_rank_and_number_of_processes_are_those_of_torchrun(environment, values, expected):
    environment(**values)
    assert processes.processes_of_run() == expected
    assert processes.is_main_process() == (expected[0] == 0)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"WORLD_SIZE": "2"}, "environment has WORLD_SIZE=2, of which one is missing"),
        ({"RANK": "1"}, "environment has RANK=1"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2, WORLD_SIZE=2"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK=-1"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK=one"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
        ({"LOCAL_RANK": "0"}, "environment has LOCAL_RANK=0"),
        ({"RANK": "0", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, "LOCAL_RANK=1"),
        ({"PMI_SIZE": "2"}, "PMI_SIZE is 2: started by MPI; start with torchrun"),
    ],
)
def test_an_environment_that_contradicts_itself_is_refused(environment, values, says):
    environment(**values)
    with pytest.raises(UsageError, match=says):
        processes.is_main_process()


def test_an_accelerator_that_sees_other_processes_than_the_environment_is_refused(
    environment, accelerate
):
    environment(RANK="1", LOCAL_RANK="1", WORLD_SIZE="2")
    accelerate(rank=0, size=1)
    with pytest.raises(UsageError, match="says process 1 of 2, accelerate sees process 0 of 1"):
        processes.make_accelerator(LoopConfig(num_steps=1, device="cpu"))


@pytest.mark.parametrize("settings", [{"kind": "FSDP"}, {"steps": 4}])
def test_what_accelerate_was_set_to_do_besides_is_refused(environment, accelerate, settings):
    """`accelerate launch` hands such settings on, of which the trainer would do one half."""
    environment()
    accelerate(**settings)
    with pytest.raises(UsageError, match="leave both to the recipe"):
        processes.make_accelerator(LoopConfig(num_steps=1, device="cpu"))


def test_more_processes_than_gpus_are_refused_unless_they_train_on_the_cpu(
    environment, accelerate, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    environment(RANK="0", LOCAL_RANK="0", WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    accelerate(rank=0, size=2, kind="MULTI_CPU")
    with pytest.raises(UsageError, match="2 processes: this machine has 1 GPUs"):
        processes.make_accelerator(LoopConfig(num_steps=1))
    processes.make_accelerator(LoopConfig(num_steps=1, device="cpu"))
