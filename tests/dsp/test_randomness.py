import torch

from bcsim.dsp.randomness import torch_stream


def test_the_global_generator_does_not_notice():
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    with torch_stream(1, "weights"):
        torch.rand(100)
    assert torch.equal(torch.rand(4), expected)


def test_names_and_seeds_give_different_numbers():
    drawn = []
    for seed, name in ((1, "a"), (1, "b"), (2, "a")):
        with torch_stream(seed, name):
            drawn.append(torch.rand(4))
    assert not any(torch.equal(drawn[i], drawn[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
