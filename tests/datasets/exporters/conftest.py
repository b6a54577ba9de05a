"""A dataset as `synthesize` writes it, with every kind of name in it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from bcsim.datasets.manifest import PairRow, write_manifest
from bcsim.rng import stream

RATE = 16_000
ROLES = ("bone", "air", "noisy_air")
SPLITS = {
    "train": [
        ("s1/a.b c", "s1"),
        ("s1/deep/ü", "s1"),
        ("s1-2/{x} $HOME", "s1-2"),
        ("solo", "solo"),
    ],
    "test": [("t9/100%", "t9")],
}


def write_dataset(folder: Path, splits=None, suffix=".flac", roles=ROLES) -> Path:
    """Write pairs of noise, 16 bits, each of another length; each split drew something else."""
    for split, members in (splits or SPLITS).items():
        rows = []
        for number, (pair_id, speaker) in enumerate(members):
            num_samples = 1000 + 37 * number
            names = {}
            for role in roles:
                names[f"{role}_file_name"] = f"{role}/{pair_id}{suffix}"
                path = folder / split / names[f"{role}_file_name"]
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = stream(0, split, pair_id, role).integers(-9000, 9000, num_samples)
                soundfile.write(path, noise.astype(np.int16), RATE)
            rows.append(
                PairRow(
                    id=pair_id,
                    **names,
                    speaker=speaker,
                    duration_s=num_samples / RATE,
                    sample_rate=RATE,
                    sensor="known",
                    source=f"{pair_id}.wav",
                    source_sha256="0" * 64,
                    seed=3,
                    drawn={f"gain_of_{split}": {"gain_db": 1.5}},
                )
            )
        write_manifest(folder / split / "metadata.jsonl", rows)
    return folder


def expected(split: str, pair_id: str, role: str) -> np.ndarray:
    """The samples that `write_dataset` wrote, made again, as int16."""
    number = [name for name, _ in SPLITS[split]].index(pair_id)
    noise = stream(0, split, pair_id, role).integers(-9000, 9000, 1000 + 37 * number)
    return noise.astype(np.int16)


@pytest.fixture
def dataset(tmp_path) -> Path:
    return write_dataset(tmp_path / "pairs")


@pytest.fixture
def samples():
    return expected


@pytest.fixture
def write():
    return write_dataset
