"""Lists may be longer than memory."""

import gc
import json

import pytest

from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import FoundPair
from bcsim.datasets.importers.told_apart import ToldApart

NUM_PAIRS = 100


def cut(number):
    """Return a cut as lhotse writes it."""
    recordings = [
        {
            "id": f"{role}{number}",
            "sources": [{"type": "file", "channels": [0], "source": f"{role}/{number:050}.wav"}],
        }
        for role in ("air", "bone")
    ]
    custom = {"target_recording": recordings[0]}
    own = {"id": f"{number}", "start": 0, "duration": 1, "channel": 0, "recording": recordings[1]}
    return json.dumps({**own, "custom": custom})


LISTS = {
    "audiofolder": ("metadata.csv", "air,bone", lambda n: f"air/{n:050}.wav,bone/{n:050}.wav"),
    "speechbrain": ("x.csv", "ID,air_wav,bone_wav", lambda n: f"{n},a/{n:050}.wav,b/{n:050}.wav"),
    "lhotse": ("cuts.jsonl", "", cut),
}


def num_in_memory():
    """Return how many pairs there are now."""
    return sum(type(thing) is FoundPair for thing in gc.get_objects())


def kaldi(folder):
    """Write data directories as Kaldi has them."""
    for role in ("air", "bone"):
        (folder / f"train_{role}").mkdir(parents=True)
        lines = [f"u{n} {role}/{n:050}.wav" for n in range(NUM_PAIRS)]
        (folder / f"train_{role}/wav.scp").write_text("\n".join(lines))


@pytest.mark.parametrize("name", [*LISTS, "kaldi"])
def test_the_pairs_of_a_long_list_are_not_in_memory(name, tmp_path):
    """They took 1.6 kB each, which is 320 MB of 200,000."""
    if name == "kaldi":
        kaldi(path := tmp_path / "kaldi")
    else:
        file, heading, line = LISTS[name]
        path = tmp_path / file
        path.write_text("\n".join([heading, *map(line, range(NUM_PAIRS))]))
    importer = IMPORTERS[name]()
    assert importer.recognises(path)
    before = num_in_memory()
    found = importer.read(path)
    assert ToldApart(found).num_pairs == NUM_PAIRS
    last = None
    for _ in range(2):  # each time anew
        ids = []
        for pair in found:
            assert pair.problem is None
            ids.append(pair.id)
            last = pair
        assert len(set(ids)) == NUM_PAIRS
        assert last is not None
        assert num_in_memory() - before <= 2
