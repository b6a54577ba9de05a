"""What is timed is what is meant: the same low-pass twice, and every rendering whole."""

import torch


def test_the_two_low_passes_that_are_timed_are_one(load_benchmark, speech):
    kinds = load_benchmark("rendering_speed").kinds()
    air = speech[:1]
    published, ours = (
        kinds[f"EBEN's low-pass{which}"](air) for which in (" as published", ", bcsim")
    )
    torch.testing.assert_close(ours, published, rtol=0, atol=1e-9)


def test_every_rendering_is_finite_and_as_long_as_the_clip(load_benchmark, speech):
    for name, render in load_benchmark("rendering_speed").kinds().items():
        bone = render(speech[:1])
        assert bone.shape == (1, speech.shape[1]), name
        assert bool(bone.isfinite().all()), name
        assert float(bone.abs().max()) > 0, name
