"""Who renders a corpus does not show in it: processes, threads, a cluster, or a batch at a time."""

import dataclasses
import logging
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pytest
import soundfile

from bcsim.errors import UsageError
from bcsim.synthesis.rendering import Renderer, Skipped
from bcsim.workers.pool import Workers
from bcsim.workflows.synthesize import plan_synthesis, synthesize


def run(air, out, sensor, **options):
    return synthesize(plan_synthesis(air, out, sensor, **options), Workers())


@pytest.mark.parametrize(
    "workers",
    [
        Workers(2),
        Workers(2, batch=1),
        Workers(2, batch=7),
        Workers(2, "threading", batch=32),
        Workers(2, "dask", batch=2),
    ],
    ids=str,
)
def test_who_does_the_work_does_not_show(air, tmp_path, sensor_file, workers, monkeypatch, tree):
    run(air, tmp_path / "one", sensor_file)
    listing = os.walk

    def shuffled(*args, **kwargs):
        for parent, folders, names in listing(*args, **kwargs):
            random.Random(parent).shuffle(folders)
            random.Random(parent).shuffle(names)
            yield parent, folders, names

    monkeypatch.setattr(os, "walk", shuffled)
    synthesize(plan_synthesis(air, tmp_path / "many", sensor_file), workers)
    assert tree(tmp_path / "many") == tree(tmp_path / "one")


def test_clips_in_one_padded_batch_are_the_clips_alone(air, tmp_path, sensor_file):
    """As on a GPU. Sums of other lengths round otherwise in float64, by less than 16 bits show."""
    alone = plan_synthesis(air, tmp_path / "alone", sensor_file)
    together = plan_synthesis(air, tmp_path / "together", sensor_file)
    (air / "s1/bad.wav").write_text("not audio")
    bad = dataclasses.replace(alone.clips[1], id="bad", source="s1/bad.wav")
    clips = [alone.clips[0], bad, *alone.clips[1:]]
    lines = alone.renderer.render(clips)
    assert together.renderer.render_together(clips) == lines
    assert isinstance(lines[1], Skipped)
    for path in (tmp_path / "alone").rglob("*.flac"):
        one, _ = soundfile.read(path, dtype="int16")
        other, _ = soundfile.read(str(path).replace("/alone/", "/together/"), dtype="int16")
        assert np.abs(one.astype(int) - other).max() <= 1


def test_without_dask_the_command_that_installs_it_is_named(
    air, tmp_path, sensor_file, monkeypatch
):
    monkeypatch.setitem(sys.modules, "distributed", None)
    plan = plan_synthesis(air, tmp_path / "pairs", sensor_file)
    with pytest.raises(UsageError, match=r"run: pip install 'bcsim\[dask\]'"):
        synthesize(plan, Workers(engine="dask"))
    assert not (tmp_path / "pairs").exists()


@pytest.mark.slow
def test_a_cluster_whose_worker_is_killed_gives_the_same(air, tmp_path, sensor_file, tree):
    run(air, tmp_path / "whole", sensor_file)
    cluster: Any = distributed.LocalCluster(
        2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=logging.ERROR
    )
    with cluster:
        workers = Workers(engine="dask", scheduler=cluster.scheduler_address, batch=1)
        plan = plan_synthesis(air, tmp_path / "killed", sensor_file)
        victims = [nanny.pid for nanny in cluster.workers.values()]
        renderer = KillsOnce(**vars(plan.renderer), marker=tmp_path / "done", victims=victims)
        synthesize(dataclasses.replace(plan, renderer=renderer), workers)
    assert (tmp_path / "done").exists()
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


@dataclasses.dataclass(frozen=True)
class KillsOnce(Renderer):
    """Kills a worker in the middle of its second clip: its files are there, its line is not."""

    marker: Path = Path()
    victims: Sequence[int] = ()

    def render(self, clips):
        lines = super().render(clips)
        if clips[0].source == "s2/a.wav" and not self.marker.exists():
            assert os.getpid() in self.victims
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return lines
