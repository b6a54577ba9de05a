"""Two processes with a batch each learn what one with both batches does."""

import json
import subprocess
import sys

import pytest
import torch

from bcsim.losses.base import mean_over_processes, sum_over_processes

# One of two processes: losses and gradients with both batches alone, then with its own in company.
PROCESS = """
import json, os, sys
import torch
from torch.nn.functional import conv1d
from bcsim.losses.base import mean_over_processes
from bcsim.losses.multi_resolution_stft import MultiResolutionSTFT
from bcsim.rng import stream

def learn(items):
    taps = torch.tensor([[[0.5, -0.2, 0.1]]]).double().requires_grad_()
    estimate = conv1d(items, taps, padding=1)
    spectra = MultiResolutionSTFT([256, 512], [64, 100], [200, 400]).terms(estimate, items)
    means = [mean_over_processes(s.square().mean()) for s in (estimate, items)]
    found = {**spectra, "ratio_of_means": means[0] / means[1]}
    gradients = [torch.autograd.grad(v, taps, retain_graph=True)[0] for v in found.values()]
    return {
        name: [value.item(), *gradient.flatten().tolist()]
        for (name, value), gradient in zip(found.items(), gradients)
    }

rank, meeting = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
items = torch.from_numpy(stream(1, "processes").standard_normal((4, 1, 1500)))
items = items * torch.tensor([1.0, 0.1, 3.0, 0.3]).double()[:, None, None]  # batches are unlike
alone = learn(items)
torch.distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=2)
in_company = learn(items.chunk(2)[rank])
torch.distributed.destroy_process_group()
print(json.dumps([alone, in_company]), flush=True)
os._exit(0)  # the interpreter's own end meets a thread of gloo now and then, and aborts
"""


def test_the_average_gradient_of_two_processes_is_that_of_one_with_both_batches(tmp_path):
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, rank, str(tmp_path / "meeting")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        said = [process.communicate() for process in running]
    finally:
        for process in running:
            process.kill()
    assert all(process.returncode == 0 for process in running), said
    (alone, first), (_, second) = (json.loads(out) for out, _ in said)
    assert alone.keys() == {"multi_resolution_stft", "ratio_of_means"}
    for name, expected in alone.items():
        average = [(one + other) / 2 for one, other in zip(first[name], second[name], strict=True)]
        assert average == pytest.approx(expected, rel=0, abs=1e-10), name
        assert first[name] != pytest.approx(second[name], rel=1e-3)  # what each adds differs


@pytest.mark.parametrize("over_processes", [sum_over_processes, mean_over_processes])
def test_alone_a_value_stays_as_it_is(over_processes):
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    result = over_processes(value)
    assert torch.equal(result, value)
    (gradient,) = torch.autograd.grad(result.sum(), value)
    assert gradient.tolist() == [1, 1]
