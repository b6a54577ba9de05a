"""bcsim's own layout: `metadata.jsonl` beside the audio, with or without splits."""

from pathlib import Path

from bcsim.datasets.dataset import WHOLE, Dataset
from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import FoundPair, Importer, Recording
from bcsim.datasets.manifest import MANIFEST_NAME, SPLITS


@IMPORTERS.register("audiofolder")
class AudioFolder(Importer):
    """A dataset that `synthesize`, `import` or `convert --format audiofolder` wrote."""

    def recognises(self, source: Path) -> bool:
        folders = [source, *(source / split for split in SPLITS)]
        return any((folder / MANIFEST_NAME).is_file() for folder in folders)

    def read(self, source: Path) -> list[FoundPair]:
        dataset = Dataset.open(source)
        return [
            FoundPair(
                pair.id,
                {role: Recording.of_file(path) for role, path in pair.files.items()},
                pair.speaker,
                None if split == WHOLE else split,
            )
            for split in dataset.manifests
            for pair in dataset.pairs(split)
        ]
