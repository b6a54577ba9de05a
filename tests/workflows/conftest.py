"""A small corpus, a sensor, and the hash of a folder: what tests of datasets share."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile


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
