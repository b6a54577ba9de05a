"""Datasets of pairs in the terms of other libraries: one file a format, one entry, `export`."""

import contextlib
import hashlib
import logging
from pathlib import Path
from typing import Any

import bcsim
from bcsim.datasets.dataset import Dataset
from bcsim.datasets.exporters.base import Exporter, check_exportable, check_listable
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import environment_faults, write_json
from bcsim.files.opening import open_regular
from bcsim.files.outputs import check_is_no_link, check_output_folder, is_free
from bcsim.files.run_folder import remove_left_lock, staged_folder
from bcsim.files.text import parse_json, read_bytes
from bcsim.progress import track
from bcsim.registry import Registry

EXPORTERS: Registry[type[Exporter]] = Registry("format", "bcsim.datasets.exporters")
EXPORT_NAME = "export.json"
_MAX_EXPORT_BYTES = 1 << 20

log = logging.getLogger(__name__)


def export(
    dataset: Path,
    format: str,
    out: Path,
    shard_size: int | None = None,
    overwrite: bool = False,
) -> dict[str, int]:
    """Write a dataset in another format: whole, or not at all.

    `webdataset` and `audiofolder` hold the audio; `lhotse`, `speechbrain` and `kaldi` are lists
    that point to the dataset's own files, so the dataset has to stay where it is (`speechbrain`
    takes its place as `data_root`). The same dataset gives the same bytes.

    Args:
        dataset: folder that `synthesize` or `import` wrote; never written to.
        format: name in `EXPORTERS`.
        out: new or empty folder; one that already holds this very export is left as it is.
        shard_size: number of pairs in a shard, for formats with shards; None for 1000.
        overwrite: replace another export in `out`.

    Returns:
        Number of pairs by split; the one split of a dataset without any is "all".

    Raises:
        UsageError: for an unknown format, a size for a format without shards, or an `out` that
            holds something else.
        InputError: naming file and line, if the dataset is not whole.
        EnvironmentFault: if the disk is full or forbidden.
    """
    kind = EXPORTERS[format]
    if shard_size is not None and not kind.sharded:
        raise UsageError(f"shard size {shard_size}: {format} has no shards; leave it out")
    if shard_size is not None and shard_size < 1:
        raise UsageError(f"shard size {shard_size}: a shard holds at least 1 pair")
    exporter = kind() if shard_size is None else kind(shard_size)
    if not dataset.is_dir():
        raise InputError(f"{dataset}: no such folder; give the one that synthesize or import wrote")
    dataset = dataset.resolve()  # lists of files hold absolute paths
    check_output_folder(out, [dataset], _is_export)
    check_listable(dataset)
    found = Dataset.open(dataset)
    metadata = _metadata(found, exporter, format)
    counts = metadata["num_pairs"]
    if not any(counts.values()):
        raise InputError(f"{dataset}: holds no pairs; give a dataset that does")
    if _metadata_of(out) == metadata:
        remove_left_lock(out)
        log.info("%s: holds this export already", out)
        return counts
    with staged_folder(out, overwrite and _metadata_of(out) is not None) as staging:
        for split, count in counts.items():
            pairs = track(check_exportable(found.pairs(split)), count, f"writing {format}, {split}")
            exporter.write_split(pairs, split, staging)
        write_json(staging / EXPORT_NAME, metadata)
    return counts


def plan_export_beside(dataset: Path, format: str, overwrite: bool = False) -> Path:
    """Return the folder DATASET.FORMAT, having checked that `export` will be able to write it.

    The dataset is one that `synthesize` is about to write, or to finish. With `overwrite`, the
    folder may hold an earlier export of anything.

    Raises:
        UsageError: if the folder holds something else, or the dataset's path can be in no list.
        EnvironmentFault: if the folder cannot be looked at.
    """
    kind = EXPORTERS[format]
    dataset = dataset.resolve()
    check_listable(dataset)
    if not dataset.name:
        raise UsageError(f"{dataset}: has no place beside it; choose another output folder")
    out = dataset.with_name(f"{dataset.name}.{format}")
    with environment_faults(out):
        check_is_no_link(out)
        if is_free(out):
            return out
        there = _metadata_of(out)
        if there is None:
            raise UsageError(f"{out}: {format} goes there, and it is no export of bcsim; move it")
        with contextlib.suppress(InputError):  # the dataset is not finished, or not begun
            if overwrite or there == _metadata(Dataset.open(dataset), kind(), format):
                return out
    raise UsageError(
        f"{out}: {format} goes there, and it is an export of something else; move it away, or "
        "overwrite it"
    )


def _metadata(dataset: Dataset, exporter: Exporter, format: str) -> dict[str, Any]:
    """Return the content of `export.json`, which is equal for equal exports."""
    # Over the folder as well, which lists of files point to.
    digest = hashlib.sha256(str(dataset.folder).encode())
    for path in dataset.manifests.values():
        with environment_faults(path), open_regular(path) as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return {
        "schema": 1,
        "bcsim": bcsim.__version__,
        "format": format,
        "shard_size": exporter.shard_size if exporter.sharded else None,
        "manifests_sha256": digest.hexdigest(),
        "num_pairs": {split: dataset.count(split) for split in dataset.manifests},
    }


def _is_export(out: Path) -> bool:
    return _metadata_of(out) is not None


def _metadata_of(out: Path) -> Any:
    try:
        metadata = parse_json(read_bytes(out / EXPORT_NAME, _MAX_EXPORT_BYTES, "an export"))
    except ValueError:  # nothing there, no file, or not JSON
        return None
    return metadata if isinstance(metadata, dict) and "manifests_sha256" in metadata else None
