"""The training benchmarks compare what they say they compare."""

import pytest
import torch


@pytest.fixture(scope="module")
def eben_step(load_benchmark):
    return load_benchmark("eben_step")


@pytest.mark.parametrize(
    ("dtype", "together", "rate", "tolerance", "num_steps"),
    [
        (torch.float64, False, 3e-4, 1e-9, 10),
        (torch.float32, True, 3e-4, 1e-4, 5),
        (torch.float32, False, 1e-6, 1e-4, 5),
    ],
    ids=["exactly, in a row", "in float32, step by step", "in float32, in a row, slowly"],
)
def test_the_public_step_and_ours_have_the_same_losses(
    eben_step, dtype, together, rate, tolerance, num_steps
):
    size = eben_step.Size(4, 4, 4, 4)
    like = torch.zeros((), dtype=dtype)
    batches = [eben_step.batch(number, 2, 4064, like) for number in range(num_steps)]
    public = eben_step.PublicStep(size, like, learning_rate=rate)
    ours = eben_step.OurStep(size, like, learning_rate=rate)
    said = eben_step.largest_difference(public, ours, batches, together)
    assert float(said.split()[0]) < tolerance, said


def test_the_public_form_is_not_ours_under_another_name(eben_step):
    """It runs the discriminator four times a step; ours twice, once for either side."""
    size, like = eben_step.Size(4, 4, 4, 4), torch.zeros(())
    pair = eben_step.batch(0, 2, 4064, like)
    counts = []
    for form in (eben_step.PublicStep(size, like), eben_step.OurStep(size, like)):
        network = getattr(form, "discriminator", None) or form.adversarial.discriminator
        calls = []
        network.register_forward_hook(lambda *_, seen=calls: seen.append(1))
        form(*pair)
        counts.append(len(calls))
    assert counts == [4, 2]


@pytest.mark.shared
@pytest.mark.slow
def test_sim_to_real_runs_at_a_small_size(shared, run_benchmark, tmp_path):
    printed = run_benchmark("sim_to_real", "--smoke", "--threads", 1, "--out", tmp_path / "out")
    rows = [line.split("|")[1].strip() for line in printed.splitlines() if "(" in line]
    assert rows[-5:] == [
        "low-pass", "fixed response", "speech-dependent", "real", "speech-dependent + real"
    ]  # fmt: skip
