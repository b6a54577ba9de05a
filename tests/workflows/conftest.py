"""A small corpus, a sensor, and the hash of a folder: what tests of datasets share."""

import contextlib
import hashlib
import importlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from bcsim.errors import BcsimError
from bcsim.workflows import adapt_stages, compare, train


@pytest.fixture(scope="session")
def corpus(tmp_path_factory, speech) -> Path:
    """Six clips of four speakers in a tree, at two rates, one of them in two channels."""
    folder = tmp_path_factory.mktemp("corpus") / "air"
    clips = {"s1/a.wav": 16_000, "s1/b.flac": 16_000, "s2/a.wav": 8000, "s2/deep/c.ogg": 16_000}
    for number, (name, rate) in enumerate(clips.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, speech[number % 2, : 6000 + 500 * number].numpy(), rate)
    (folder / "s3").mkdir()
    soundfile.write(folder / "s3/stereo.wav", speech[:, :5000].T.numpy(), 16_000)
    (folder / "s4").mkdir()
    soundfile.write(folder / "s4/a b.AIFF", speech[0, :7000].numpy(), 16_000, format="AIFF")
    return folder


@pytest.fixture
def air(tmp_path, corpus) -> Path:
    """The same clips, for one test to change."""
    return Path(shutil.copytree(corpus, tmp_path / "air"))


@pytest.fixture
def sensor_file(tmp_path, sensor) -> str:
    sensor.save(tmp_path / "known.sensor")
    return str(tmp_path / "known.sensor")


@pytest.fixture
def tree() -> Callable[[Path], dict[str, str]]:
    """The SHA-256 of every file below a folder."""

    def hash_files(folder: Path) -> dict[str, str]:
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return hash_files


@pytest.fixture
def trainings_here(monkeypatch):
    """Let comparisons and adaptations work in this process; count the runs.

    This saves the start of other processes.
    """
    taken = []

    def run_trainings(trainings, jobs, description):
        failed = {}
        for training in trainings:
            taken.append(training.name)
            module = training.arguments[0].replace("-", "_")
            command = importlib.import_module(f"bcsim_cli.{module}").command
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    command.main([*training.arguments[1:]], standalone_mode=False)
            except BcsimError as error:
                failed[training.name] = str(error)
        return failed

    monkeypatch.setattr(train, "write_run_report", lambda out: None)  # half of the time
    for workflow in (adapt_stages, compare):
        monkeypatch.setattr(workflow, "run_trainings", run_trainings)
    return taken
