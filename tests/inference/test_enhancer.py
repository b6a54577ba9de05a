import numpy as np
import pytest
import torch

from bcsim.errors import InputError, UsageError
from bcsim.inference.enhancer import BlockEnhancer, enhance, measure_loudness
from bcsim.models.base import Enhancer
from bcsim.models.storage import build_enhancer
from bcsim.rng import stream

SPECS = [
    {"name": "eben", "width": 2, "latent": 4},
    {"name": "seanet", "width": 2, "latent": 4},
    {"name": "seanet", "width": 2, "latent": 4, "causal": True},
]


@pytest.fixture(params=SPECS, ids=str)
def model(request) -> Enhancer:
    return build_enhancer(request.param, seed=1).eval()


def identity() -> Enhancer:
    """An enhancer that changes nothing: SEANet adds its input to what the network gives."""
    model = build_enhancer({"name": "seanet", "width": 1, "latent": 1, "weight_norm": False}, 1)
    for name, weights in model.named_parameters():
        if name.startswith("last_conv"):
            torch.nn.init.zeros_(weights)
    return model.eval()


def noise(num_samples: int) -> np.ndarray:
    return 0.1 * stream(1, "inference").standard_normal(num_samples)


@pytest.mark.parametrize("num_samples", [40_000, 40_001, 16_384])
@pytest.mark.parametrize("chunk_s", [0.3, 1.0])
def test_chunks_give_what_one_piece_gives(model, num_samples, chunk_s):
    samples = noise(num_samples)
    whole = enhance(model, samples, 16_000, chunk_s=1000)
    chunked = enhance(model, samples, 16_000, chunk_s=chunk_s)
    np.testing.assert_allclose(chunked, whole, rtol=0, atol=2e-6)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("block", [1, 1000, 7919])
def test_blocks_of_any_length_give_what_one_piece_gives(model, rate, block):
    samples = noise(1000 if block == 1 else 12_001)
    blocks = BlockEnhancer(model, rate, chunk_s=0.1)
    found = [blocks(samples[None, at : at + block]) for at in range(0, len(samples), block)]
    whole = enhance(model, samples, rate, chunk_s=1000)
    np.testing.assert_allclose(np.concatenate([*found, blocks.finish()]), whole, rtol=0, atol=1e-5)


def of_whole_recordings() -> Enhancer:
    """Return a network that sees its input relative to the loud speech of the whole recording."""
    return build_enhancer({"name": "envelope_mapper", "width": 4, "num_layers": 1}, 1).eval()


def test_a_chunk_of_a_pause_is_enhanced_as_within_the_whole(monkeypatch):
    """Each minute had a level of its own: noise alone was taken for loud speech."""
    monkeypatch.setattr("bcsim.inference.enhancer.UNBOUNDED_CONTEXT_S", 1.0)
    samples = noise(80_001)
    samples[20_000:] *= 1e-3
    model = of_whole_recordings()
    whole = enhance(model, samples, 16_000, chunk_s=1000)
    chunked = enhance(model, samples, 16_000, chunk_s=1.0)
    np.testing.assert_allclose(chunked, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_samples", [5, 48_000, 48_001])
@pytest.mark.parametrize("block", [777, 60_000])
def test_the_loudness_of_blocks_is_that_of_the_whole(num_samples, block, monkeypatch):
    monkeypatch.setattr("bcsim.inference.enhancer.CHUNK_S", 0.5)
    model, samples = of_whole_recordings(), noise(num_samples)
    missing = model.valid_length(num_samples) - num_samples
    padded = torch.from_numpy(np.pad(samples, (0, missing))).float()
    blocks = (samples[None, at : at + block] for at in range(0, num_samples, block))
    found, expected = (
        measure_loudness(model, 16_000, blocks),
        model.loudness_of_frames(padded[None, None]),
    )
    torch.testing.assert_close(found, expected)


def test_one_piece_is_what_the_model_gives(model):
    samples = noise(10_000)
    with torch.inference_mode():
        direct = model(torch.from_numpy(samples).float()[None, None])[0, 0]
    np.testing.assert_array_equal(enhance(model, samples, 16_000), direct.double().numpy())


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("num_samples", [1, 7, 4001])
def test_the_length_stays_at_any_rate(rate, num_samples):
    assert enhance(identity(), noise(num_samples), rate).shape == (num_samples,)


@pytest.mark.parametrize("rate", [11_025, 44_100, 48_000])
def test_a_tone_comes_back_in_time_and_level_at_any_rate(rate):
    time_s = np.arange(rate) / rate
    tone = 0.5 * np.sin(2 * np.pi * 1000 * time_s) * np.hanning(rate)
    np.testing.assert_allclose(enhance(identity(), tone, rate), tone, atol=1e-4)


def test_memory_does_not_grow_with_the_length():
    model = build_enhancer(SPECS[1], seed=1).eval()
    lengths = []
    model.register_forward_hook(
        lambda _module, inputs, _output: lengths.append(inputs[0].shape[-1])
    )
    enhance(model, noise(200_000), 16_000, chunk_s=1.0)
    assert model.history_samples is not None
    assert model.latency_samples is not None
    overlap = model.history_samples + model.latency_samples + 3 * model.frame_samples
    assert max(lengths) <= 16_000 + overlap


def two_channels() -> Enhancer:
    spec = {"name": "seanet", "width": 2, "latent": 4, "channels": ["bone", "air"]}
    return build_enhancer(spec, 1).eval()


def test_a_model_is_given_the_channels_that_it_takes():
    air, bone = noise(100), noise(100)
    with pytest.raises(UsageError, match="takes bone and air, and was given bone;"):
        enhance(two_channels(), bone, 16_000)
    with pytest.raises(UsageError, match="takes bone, and was given bone and air;"):
        enhance(identity(), bone, 16_000, air)
    with pytest.raises(ValueError, match=r"bone \(100,\), air \(99,\)"):
        enhance(two_channels(), bone, 16_000, air[:-1])


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_two_channels_stay_in_time_from_chunk_to_chunk(rate):
    bone, air = noise(40_001), 0.1 * stream(2, "inference").standard_normal(40_001)
    whole = enhance(two_channels(), bone, rate, air, chunk_s=1000)
    np.testing.assert_allclose(
        enhance(two_channels(), bone, rate, air, chunk_s=0.3), whole, rtol=0, atol=2e-6
    )
    if rate == 16_000:
        inputs = torch.from_numpy(np.stack([bone, air])).float()[None]
        with torch.inference_mode():
            direct = two_channels()(inputs)[0, 0].double().numpy()
        np.testing.assert_allclose(whole, direct, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.zeros(99, dtype=np.float16), "bone is float16; convert it"),
        (np.zeros(99, dtype=np.int16), "bone is int16; scale it"),
        (np.full(99, np.nan), "bone has samples that are NaN"),
    ],
)
def test_what_is_no_recording_is_refused(samples, says):
    with pytest.raises(InputError, match=says):
        enhance(identity(), samples, 16_000)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_output_that_is_not_finite_is_refused_and_not_written_as_silence(value):
    """In 16 bits NaN is 0: a whole folder of silent files was written, with exit code 0."""
    model = identity()
    with torch.no_grad():
        model.last_layer.fill_(value)
    with pytest.raises(InputError, match="the model's output is not finite"):
        enhance(model, 0.1 * np.ones(4000), 16_000)
