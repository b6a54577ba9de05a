"""What `load_dataset("audiofolder", data_dir=...)` of `datasets` reads: bcsim's own layout."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from bcsim.datasets.dataset import WHOLE, ListedPair
from bcsim.datasets.exporters import EXPORTERS
from bcsim.datasets.exporters.base import Exporter, facts_of
from bcsim.datasets.manifest import MANIFEST_NAME
from bcsim.errors import InputError
from bcsim.files.atomic import link_file, replacing
from bcsim.files.opening import CHANGED
from bcsim.files.text import shown


@EXPORTERS.register("audiofolder")
class AudioFolder(Exporter):
    """`SPLIT/metadata.jsonl` beside `SPLIT/air/...` and `SPLIT/bone/...`.

    Files are hard links where the file system has them, and copies elsewhere.
    """

    def write_split(self, pairs: Iterable[ListedPair], split: str, out: Path) -> None:
        folder = out if split == WHOLE else out / split
        with (
            replacing(folder / MANIFEST_NAME) as temporary,
            temporary.open("w", encoding="utf-8") as manifest,
        ):
            for pair in pairs:
                names, before = {}, _identities(pair)
                for role, path in pair.files.items():
                    name = f"{role}/{_without_dollar(pair.id)}{path.suffix}"
                    link_file(path, folder / name)
                    names[f"{role}_file_name"] = name
                if _identities(pair) != before:  # one side may be of before a change, one of after
                    raise InputError(f"{pair.where}: a file of {shown(pair.id)} {CHANGED}")
                row = {"id": pair.id, **names, "speaker": pair.speaker, **facts_of(pair)}
                # Text, for `datasets` takes nested keys as columns, equal in all splits; what was
                # drawn may differ from pair to pair.
                row["drawn"] = json.dumps(row.get("drawn"), ensure_ascii=False)
                manifest.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _identities(pair: ListedPair) -> list[tuple[int, ...]]:
    """Return what tells the files of a pair from others that get their names."""
    found = [path.stat() for path in pair.files.values()]
    return [(file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns) for file in found]


def _without_dollar(name: str) -> str:
    """Return a name without "$", behind which `datasets` sees a variable of the environment.

    Two names stay two: "%" is encoded where it looks like an encoding.

    Example:
        >>> _without_dollar("$HOME"), _without_dollar("%24HOME"), _without_dollar("100%")
        ('%24HOME', '%2524HOME', '100%')
    """
    return re.sub("%(?=2[45])", "%25", name).replace("$", "%24")
