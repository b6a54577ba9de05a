"""The examples of CONTRIBUTING.md are new files of bcsim: each is registered, made and used."""

import math
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
import torch

from bcsim.datasets.importers import IMPORTERS, import_pairs
from bcsim.datasets.torch_datasets import PairDataset
from bcsim.discriminators import DISCRIMINATORS
from bcsim.dsp.spectra import cross_spectra
from bcsim.effects import EFFECTS
from bcsim.effects.base import Scene, stack_draws
from bcsim.fitting.estimators import ESTIMATORS
from bcsim.losses import LOSSES
from bcsim.losses.adversarial import CRITERIA
from bcsim.metrics import METRICS
from bcsim.metrics.comparison import Comparison
from bcsim.models import MODELS

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
RATE = 16_000
EXAMPLES = dict(re.findall(r"^## [^\n]*`(\S+)`\n.*?```python\n(.*?)```", TEXT, re.M | re.S))
REGISTRIES = (
    EFFECTS, MODELS, LOSSES, CRITERIA, DISCRIMINATORS, METRICS, ESTIMATORS, IMPORTERS,
)  # fmt: skip


@pytest.fixture
def example(tmp_path, load_script):
    """Import an example as a module of its own, and forget what it registered afterwards."""
    before = {id(registry): {name: registry[name] for name in registry} for registry in REGISTRIES}

    def load(path: str):
        file = tmp_path / Path(path).name
        file.write_text(EXAMPLES[path], "utf-8")
        return load_script(file)

    yield load
    for registry in REGISTRIES:
        cast(Any, registry)._entries = before[id(registry)]


def test_there_is_an_example_of_each_kind_in_a_file_that_is_free():
    packages = {str(Path(path).parent).replace("/", ".") for path in EXAMPLES}
    assert packages == {registry.package for registry in REGISTRIES}
    assert not any((ROOT / path).exists() for path in EXAMPLES)


def test_the_effect_bends_the_signal(example):
    example("bcsim/effects/soft_clip.py")
    effect = cast(Any, EFFECTS["soft_clip"])(ceiling=0.5)
    scene = Scene.from_air(torch.full((2, 8), 10.0), RATE)
    drawn = stack_draws([effect.sample(0, name, "soft_clip") for name in "ab"])
    torch.testing.assert_close(effect.apply(scene, drawn).bone, torch.full((2, 8), 0.5))


def test_the_model_looks_no_further_than_it_says(example):
    example("bcsim/models/short_filter.py")
    model = MODELS["short_filter"](taps=4)
    impulse = torch.zeros(1, 1, 16)
    impulse[..., 8] = 1.0
    (places,) = model(impulse)[0, 0].nonzero(as_tuple=True)
    assert places.tolist() == [8, 9, 10, 11]
    assert model.last_layer.shape == (1, 1, 4)


def test_the_loss_is_the_difference_of_levels(example):
    example("bcsim/losses/log_energy.py")
    target = torch.ones(2, 1, 9)
    loss = LOSSES["log_energy"]()(2 * target, target)
    assert loss.item() == pytest.approx(math.log(4), abs=1e-6)


def test_the_criterion_costs_least_where_the_scores_are_right(example):
    example("bcsim/losses/adversarial/logistic.py")
    criterion = CRITERIA["logistic"]()
    low, high = ([[torch.full((1, 1, 4), score)]] for score in (-9.0, 9.0))
    assert criterion.discriminator_loss(high, low).item() < 1e-3
    assert criterion.discriminator_loss(low, high).item() == pytest.approx(18, abs=1e-3)
    assert criterion.generator_loss(high).item() < criterion.generator_loss(low).item()


def test_the_discriminator_scores_what_it_is_given(example):
    example("bcsim/discriminators/envelope.py")
    discriminator = DISCRIMINATORS["envelope"](width=2, hop=8)
    ((inner, scores),) = discriminator(torch.randn(3, 1, 80))
    assert (inner.shape, scores.shape) == ((3, 2, 10), (3, 1, 10))


def test_the_metric_is_the_difference_of_crest_factors(example, speech):
    example("bcsim/metrics/crest_error.py")
    peaked = speech[0].clone()
    peaked[9000] = 2 * speech[0].abs().max()
    metric = METRICS["crest_error"]
    assert metric(Comparison.prepare(speech[0], speech[0], RATE)) == pytest.approx(0)
    assert metric(Comparison.prepare(peaked, speech[0], RATE)) == pytest.approx(6, abs=0.3)
    assert metric(Comparison.prepare(0 * peaked, speech[0], RATE)) == metric.worst
    assert metric.heading == "crest error, dB"


def test_the_estimator_recovers_a_gain_with_its_sign(example):
    example("bcsim/fitting/estimators/geometric_mean.py")
    air = torch.from_numpy(np.random.default_rng(0).standard_normal(RATE))
    spectra = cross_spectra(air, -0.5 * air, 512, 256)
    response = cast(Any, ESTIMATORS["geometric-mean"]()).response(
        spectra, torch.zeros_like(spectra.yy)
    )
    torch.testing.assert_close(response[..., 5:-5], torch.full_like(response[..., 5:-5], -0.5))


def test_the_importer_reads_pairs_told_by_suffixes(example, tmp_path):
    example("bcsim/datasets/importers/suffixes.py")
    source = tmp_path / "source"
    source.mkdir()
    for role, level in (("air", 0.5), ("bone", 0.25)):
        samples = np.where(np.arange(RATE) % 100 < 50, level, -level)
        soundfile.write(source / f"one_{role}.wav", samples, RATE)
    result = import_pairs(source, tmp_path / "pairs", "suffixes")
    assert result.failures == {}
    pair = PairDataset(tmp_path / "pairs")[0]
    assert (pair["air"][0].item(), pair["bone"][0].item()) == (0.5, 0.25)
