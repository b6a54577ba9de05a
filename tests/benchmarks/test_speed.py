"""The speed benchmarks compare like with like; how fast things are is not tested."""

import numpy as np
import soundfile
import torch

from bcsim.effects.base import Scene


def test_both_forms_of_temporal_transforms_give_the_same(load_benchmark, speech):
    effects = load_benchmark("effects")
    simulator = effects.temporal_transforms()
    draws = [simulator.sample(0, str(number)) for number in range(2)]
    scene = simulator.apply(Scene.from_air(speech.float(), effects.RATE), draws)
    seeds = torch.tensor([draw["white_noise"]["seed"] for draw in draws])
    noise = effects.white_noise(seeds, speech.shape[-1], dtype=torch.float32)
    for row in range(2):
        air, bone = effects.published_item(speech[row : row + 1].float(), noise[row : row + 1])
        assert (air[0] - scene.air[row]).abs().max() < 1e-5
        assert (bone[0] - scene.bone[row]).abs().max() < 1e-5


def test_the_floor_of_synthesize_writes_two_readable_files_for_each(load_benchmark, tmp_path):
    benchmark = load_benchmark("synthesize")
    source = tmp_path / "in" / "s" / "a.flac"
    source.parent.mkdir(parents=True)
    samples = np.arange(-800, 800, dtype=np.int16)
    soundfile.write(source, samples, 16_000)
    benchmark.read_and_write([source], tmp_path / "in", tmp_path / "out")
    for role in ("air", "bone"):
        written, _ = soundfile.read(tmp_path / "out" / role / "s" / "a.flac", dtype="int16")
        assert np.array_equal(written, samples)


def test_the_benchmarks_run_at_a_small_size(run_benchmark, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    soundfile.write(corpus / "a.flac", 0.1 * np.random.default_rng(0).normal(size=16_000), 16_000)
    small = {
        "synthesize": [
            *("--air", corpus, "--copies", "1", "--rounds", "1", "--jobs", "1"),
            *("--runs", "temporal-transforms"),
        ],
        "scale": ["--sizes", "20", "--hours", "0.001", "--jobs", "1"],
        "enhance": ["--hours", "0.001"],
    }
    for name, options in small.items():
        figures = tmp_path / f"{name}.json"
        printed = run_benchmark(name, *options, "--json", figures)
        assert printed.count("|") > 10
        assert figures.is_file()
