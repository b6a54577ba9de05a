"""`bcsim merge`: the shards of a dataset joined into what one run would have written."""

import hashlib
import heapq
import itertools
import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcsim.datasets.checksums import CHECKED_AT_ONCE, parse_sum, written_pairs
from bcsim.datasets.dataset import read_dataset_metadata
from bcsim.datasets.manifest import (
    DATASET_NAME,
    MANIFEST_NAME,
    PROFILE_NAME,
    RECIPE_NAME,
    SPLITS,
    STATE_FOLDER,
    SUMS_NAME,
    PairRow,
    WrittenPair,
    lines_of,
)
from bcsim.errors import InputError, UsageError
from bcsim.files.atomic import environment_faults, sweep_temporaries, sync_folders
from bcsim.files.failures import FAILURES_NAME, none_usable
from bcsim.files.hashing import Stamp, stamped_hashes
from bcsim.files.paths import beneath
from bcsim.files.run_folder import differences
from bcsim.files.text import read_bytes
from bcsim.files.tree import remove_tree
from bcsim.files.writer import Writer
from bcsim.progress import track
from bcsim.synthesis.clips import Shard
from bcsim.synthesis.rendering import RenderingOptions
from bcsim.synthesis.run import SynthesisResult, finish_dataset
from bcsim.synthesis.run_folder import check_dataset_folder, continue_or_begin, locked_output
from bcsim.workers.pool import num_cores

TOTALS = ("num_pairs", "num_speakers", "num_failures", "seconds")
NAMED_AT_MOST = 5  # shards that are missing
NO_STAMP = (0, 0, 0, 0)  # which no file has
MAX_BYTES = 8 << 20  # of a recipe, or a sensor profile
_CHANGED = "is not what was written there; run that shard's command again"
_MISSING = "is missing, or cannot be read; run that shard's command again"
_TYPES = {"sensor": str, "mean": bool, "air": str, "shard": str}  # of settings that are needed


@dataclass(frozen=True)
class _Part:
    folder: Path
    shard: Shard
    settings: dict[str, Any]


def merge(
    out: Path, folders: Sequence[Path], copy: bool = False, overwrite: bool = False
) -> SynthesisResult:
    """Join shards; a merge that was killed is finished by the same call again.

    Every file that is taken is read and compared with the `SHA256SUMS` of its shard before `out` is
    touched.

    Args:
        out: folder of the whole dataset.
        folders: folders of the shards, in any order.
        copy: copy the files of the shards instead of linking them.
        overwrite: throw away an earlier dataset in `out`.

    Raises:
        UsageError: if a shard is missing, unfinished, there twice or of other settings, if two
            hold a pair of one id, if a file is not what was written there, or if `out` holds
            something else.
        InputError: if none of the shards holds a pair.
        EnvironmentFault: if the disk is full or forbidden.
    """
    check_dataset_folder(out, folders)
    parts = sorted((_read(folder) for folder in folders), key=lambda part: part.shard.number)
    _check_complete(parts)
    settings = {**parts[0].settings, "shard": None}
    failures = dict(itertools.chain.from_iterable(_failures(part.folder) for part in parts))
    recipe, profile = _recipe_and_profile(parts[0].folder)
    num_pairs = sum(1 for split in SPLITS for _ in _pairs(parts, split))  # no id is there twice
    if not num_pairs:
        what = f"{len(failures)} recordings of {len(parts)} shards"
        raise none_usable(parts[0].folder, what, failures)
    stamps: array[int] = array("q")  # of the files of all pairs, one after the other
    for found in track(_checked(parts), num_pairs, "verifying"):
        for stamp in found:
            stamps.extend(stamp or NO_STAMP)
    known = _by_file(stamps)
    with environment_faults(out), locked_output(out, overwrite) as state:
        continue_or_begin(out, state, settings)
        sweep_temporaries(out)
        taken = {
            split: _taken(parts, split, out, copy, known)
            for split in SPLITS
            if any((part.folder / split / MANIFEST_NAME).is_file() for part in parts)
        }
        result = finish_dataset(out, taken, failures, recipe, profile, settings)
        remove_tree(state)
    return result


def _read(folder: Path) -> _Part:
    path, message = folder / DATASET_NAME, f"{folder}: is no finished shard; synthesize it there"
    if not path.is_file():
        raise UsageError(message)
    if (folder / STATE_FOLDER).is_dir():
        raise UsageError(f"{folder}: this shard is not finished; run its command again")
    try:
        settings = read_dataset_metadata(path)
        if type(settings["recipe"]["sample_rate"]) is not int:
            raise TypeError("a rate that is no number")
        if {key: type(settings[key]) for key in _TYPES} != _TYPES:
            raise TypeError("a setting of another type")
        shard = Shard.parse(settings["shard"])
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(message) from error
    for name in TOTALS:
        settings.pop(name, None)
    for name, default in RenderingOptions().settings().items():
        settings.setdefault(name, default)  # of a shard from before this option
    return _Part(folder, shard, settings)


def _check_complete(parts: Sequence[_Part]) -> None:
    """Raise for shards that are not all parts of one dataset; they come sorted by number."""
    first = parts[0]
    for before, part in itertools.pairwise(parts):
        if part.shard == before.shard:
            raise UsageError(f"{part.folder}: is shard {part.shard}, and so is {before.folder}")
    for part in parts:
        of_same_count = part.shard.count == first.shard.count
        shard = first.settings["shard"] if of_same_count else part.settings["shard"]
        settings = {**part.settings, "shard": shard}
        difference = next(differences(first.settings, settings), None)
        if difference is not None:
            raise UsageError(
                f"{part.folder}: is of another dataset than {first.folder}: {difference}"
            )
    count = first.shard.count  # a stranger may have written it: it is not counted up to
    if len(parts) < count:
        numbers = {part.shard.number for part in parts}
        missing = (str(Shard(n, count)) for n in range(1, count + 1) if n not in numbers)
        named = ", ".join(itertools.islice(missing, NAMED_AT_MOST))
        more = count - len(parts) - NAMED_AT_MOST
        others = f" and {more} more" if more > 0 else ""
        raise UsageError(f"shards are missing: {named}{others}; give all of them")


def _recipe_and_profile(folder: Path) -> tuple[str, Path | None]:
    """Return the recipe of a shard and the place of its sensor profile, if it has one.

    Raises:
        InputError: if one is not what was written there, or is a link that leads elsewhere.
    """
    sums: dict[str, str] = {}
    for where, line in lines_of(folder / SUMS_NAME, "a list of sha256sum"):
        digest, name = parse_sum(line, where)
        if name in (RECIPE_NAME, PROFILE_NAME):
            sums[name] = digest
    path, recipe = _read_as_written(folder, RECIPE_NAME, sums)
    try:
        text = recipe.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8; run that shard's command again") from error
    if PROFILE_NAME not in sums and not os.path.lexists(folder / PROFILE_NAME):
        return text, None
    return text, _read_as_written(folder, PROFILE_NAME, sums)[0]


def _read_as_written(folder: Path, name: str, sums: Mapping[str, str]) -> tuple[Path, bytes]:
    path = beneath(folder, name)
    content = read_bytes(path, MAX_BYTES, "what synthesize wrote there")
    if hashlib.sha256(content).hexdigest() != sums.get(name):
        raise InputError(f"{path}: {_CHANGED}")
    return path, content


def _pairs(parts: Sequence[_Part], split: str) -> Iterator[tuple[PairRow, WrittenPair, _Part]]:
    """Yield the pairs of all shards sorted by id; few of them in memory."""
    streams = [
        zip(written_pairs(part.folder, split), itertools.repeat(part), strict=False)
        for part in parts
    ]
    before: tuple[str, _Part] | None = None
    for (row, written), part in heapq.merge(*streams, key=lambda pair: pair[0][0].id):
        if before is not None and before[0] == row.id:
            raise UsageError(f"{row.id}: is in {before[1].folder} and in {part.folder}")
        before = row.id, part
        yield row, written, part


def _checked(parts: Sequence[_Part]) -> Iterator[list[Stamp | None]]:
    """Compare the files of every pair with their sums, and then yield their stamps."""
    pairs = ((split, *pair) for split in SPLITS for pair in _pairs(parts, split))
    while block := [*itertools.islice(pairs, CHECKED_AT_ONCE)]:
        paths = [
            beneath(part.folder, f"{split}/{name}")
            for split, row, _, part in block
            for name in row.file_names.values()
        ]
        wanted = itertools.chain.from_iterable(written.sha256 for _, _, written, _ in block)
        hashed = stamped_hashes(paths, num_cores())
        stamps = []
        for path, (found, stamp), digest in zip(paths, hashed, wanted, strict=True):
            if found != digest:
                raise InputError(f"{path}: {_CHANGED if found else _MISSING}")
            stamps.append(stamp)
        of_next = iter(stamps)
        for _, row, _, _ in block:
            yield [*itertools.islice(of_next, len(row.file_names))]


def _by_file(stamps: Sequence[int]) -> Iterator[Stamp]:
    for start in range(0, len(stamps), len(NO_STAMP)):
        number, size, changed_ns, touched_ns = stamps[start : start + len(NO_STAMP)]
        yield number, size, changed_ns, touched_ns


def _taken(
    parts: Sequence[_Part], split: str, out: Path, copy: bool, known: Iterator[Stamp]
) -> Iterator[WrittenPair]:
    """Bring the files of every pair to `out`, and then yield it.

    Args:
        parts: all shards.
        split: split whose pairs are brought.
        out: output folder.
        copy: copy the files instead of linking them.
        known: stamp of each file in the order of `_checked`. What has another one by now, because
            it was changed or the order was, is hashed again.
    """
    with Writer() as writer:
        bring = writer.copy if copy else writer.link
        for row, written, part in _pairs(parts, split):
            for name, digest in zip(row.file_names.values(), written.sha256, strict=True):
                source = beneath(part.folder, f"{split}/{name}")
                bring(source, out / split / name, digest, next(known, NO_STAMP))
            yield written
    sync_folders(out / split)  # the manifest takes its name after this


def _failures(folder: Path) -> Iterator[tuple[str, str]]:
    path = folder / FAILURES_NAME
    for where, line in lines_of(path, "a list of failures") if path.is_file() else ():
        try:
            entry = json.loads(line)
            if entry["run"] != "synthesize":
                continue
            source, reason = entry["source"], entry["error"]
            if not (isinstance(source, str) and isinstance(reason, str)):
                raise TypeError("no text")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{where}: is no line of synthesize; run that shard's command again"
            ) from error
        yield source, reason
