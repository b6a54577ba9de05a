"""`bcsim verify`: whether a dataset is still what was written."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bcsim.datasets.dataset import read_dataset_metadata
from bcsim.datasets.manifest import (
    DATASET_NAME,
    MANIFEST_NAME,
    SPLITS,
    STATE_FOLDER,
    SUMS_NAME,
    lines_of,
)
from bcsim.datasets.verification import verify_files
from bcsim.errors import InputError
from bcsim.files.opening import open_regular
from bcsim.files.text import shown


@dataclass(frozen=True)
class Verification:
    """What was found in a dataset.

    Args:
        num_files: number of files that `SHA256SUMS` lists.
        problems: a line for each problem; empty for a dataset that is whole.
    """

    num_files: int
    problems: list[str]


def verify(dataset: Path) -> Verification:
    """Read every file of a dataset and compare it with what was written.

    Args:
        dataset: folder that `synthesize`, `merge` or `import` wrote.

    Raises:
        InputError: if it is no such folder.
    """
    if not dataset.is_dir():
        raise InputError(f"{dataset}: no such folder; give the one that synthesize wrote")
    if not any((dataset / name).exists() for name in (SUMS_NAME, DATASET_NAME, STATE_FOLDER)):
        raise InputError(f"{dataset}: is no dataset of bcsim; give the folder that it wrote")
    problems = [*verify_files(dataset), *_miscounted(dataset)]
    if (dataset / STATE_FOLDER).exists():
        problems.insert(0, f"{dataset}: is not finished; run the command that makes it again")
    try:
        num_files = sum(1 for _ in lines_of(dataset / SUMS_NAME))
    except InputError:
        num_files = 0  # which is among the problems
    return Verification(num_files, problems)


def _miscounted(dataset: Path) -> Iterator[str]:
    """Compare what `dataset.json` says with the manifests; imported pairs have none."""
    path = dataset / DATASET_NAME
    if not path.exists():
        return
    try:
        counts = read_dataset_metadata(path)["num_pairs"]
        claimed = {split: counts[split] for split in SPLITS}
    except (InputError, KeyError, TypeError):
        yield f"{path}: damaged"
        return
    for split, wanted in claimed.items():
        manifest, found = dataset / split / MANIFEST_NAME, 0
        if manifest.is_file():
            with open_regular(manifest, "a manifest") as file:
                found = sum(
                    content.count(b"\n") for content in iter(partial(file.read, 1 << 20), b"")
                )
        if found != wanted:
            yield f"{manifest}: lists {found} pairs, {path.name} says {shown(wanted)}"
