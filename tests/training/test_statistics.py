"""What a network keeps of its training pairs, such as mean spectra."""

from dataclasses import replace

import pytest
import torch

import bcsim.training.run as run_module
from bcsim.errors import DivergedError
from bcsim.models.blstm_mapping import BLSTMMapping
from bcsim.models.storage import load_enhancer
from bcsim.training.data import TrainingData
from bcsim.training.trainer import Trainer

MODEL = {"name": "blstm_mapping", "units": 2, "num_layers": 1}


@pytest.fixture
def mapping(changed, monkeypatch):
    monkeypatch.setattr(BLSTMMapping, "num_statistics_pairs", 3)  # two batches
    return changed(
        model=MODEL,
        losses=[{"name": "log_magnitude_mse"}],
        training={"num_steps": 2, "checkpoint_interval_steps": 1},
        validation={"interval_steps": 2, "num_items": 1, "num_samples": 0},
    )


def statistics(model) -> dict[str, torch.Tensor]:
    return {name: v.clone() for name, v in model.named_buffers() if name.endswith(("mean", "tion"))}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return len(first) == 4 and all(torch.equal(first[name], second[name]) for name in first)


def test_they_are_measured_before_the_first_step_and_kept_with_the_weights(
    mapping, pairs, tmp_path
):
    expected = Trainer(mapping, TrainingData(pairs))
    expected.fit_statistics()
    assert statistics(expected.model)["air_mean"].abs().min() > 0
    run_module.train(mapping, TrainingData(pairs), tmp_path)
    assert equal(statistics(load_enhancer(tmp_path)), statistics(expected.model))
    assert equal(statistics(expected.networks.enhancer), statistics(expected.model))


def test_a_resumed_run_keeps_those_that_it_was_begun_with(mapping, pairs, tmp_path, monkeypatch):
    run_module.train(
        replace(
            mapping,
            training=replace(mapping.training, num_steps=1),
            schedule=replace(mapping.schedule, name="constant"),
        ),
        TrainingData(pairs),
        tmp_path,
    )
    before = statistics(load_enhancer(tmp_path))
    monkeypatch.setattr(Trainer, "fit_statistics", lambda self: pytest.fail("measured again"))
    run_module.train(
        replace(mapping, schedule=replace(mapping.schedule, name="constant")),
        TrainingData(pairs),
        tmp_path,
        resume=True,
    )
    assert equal(statistics(load_enhancer(tmp_path)), before)


def test_all_processes_measure_the_same(mapping, pairs):
    found = []
    for rank, world_size in ((0, 1), (1, 2)):
        trainer = Trainer(mapping, TrainingData(pairs))
        trainer.batches = replace(trainer.batches, rank=rank, world_size=world_size)
        trainer.fit_statistics()
        found.append(statistics(trainer.model))
    assert equal(*found)


def test_a_pair_that_is_not_finite_is_named(mapping, pairs, monkeypatch):
    monkeypatch.setattr(pairs, "broken", frozenset({"talker/003"}))
    with pytest.raises(DivergedError, match=r"^talker/003: samples that are NaN"):
        Trainer(mapping, TrainingData(pairs)).fit_statistics()
