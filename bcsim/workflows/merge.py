"""`bcsim merge`: the shards of a dataset joined into what one run would have written."""

import heapq
import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcsim.data.checksums import stored_entries
from bcsim.data.clips import Shard
from bcsim.data.failures import FAILURES_NAME
from bcsim.data.journal import Entry
from bcsim.data.manifest import MANIFEST_NAME, SPLITS, PairRow
from bcsim.data.run_state import (
    DATASET_NAME,
    PROFILE_NAME,
    RECIPE_NAME,
    STATE_FOLDER,
    check_settings,
    claimed,
    find_difference,
    read_account,
)
from bcsim.data.staging import must_not_contain_each_other
from bcsim.data.synthesis import finish_dataset
from bcsim.errors import InputError, UsageError
from bcsim.files import Writer, beneath, environment_faults, sweep_temporaries, sync_folders

TOTALS = ("num_pairs", "num_speakers", "num_failures", "seconds")


@dataclass(frozen=True)
class MergeResult:
    """What a merged dataset holds.

    Args:
        num_pairs: in all splits.
        seconds: of speech.
        num_failures: sources that could not be used.
    """

    num_pairs: int
    seconds: float
    num_failures: int


@dataclass(frozen=True)
class _Part:
    folder: Path
    shard: Shard
    settings: dict[str, Any]


def merge(
    out: Path, folders: Sequence[Path], copy: bool = False, overwrite: bool = False
) -> MergeResult:
    """Join shards; a merge that was killed is finished by the same call again.

    Args:
        out: folder of the whole dataset.
        folders: of the shards, in any order.
        copy: copy their files instead of linking them.
        overwrite: throw an earlier dataset in `out` away.

    Raises:
        UsageError: if a shard is missing, unfinished, there twice or of other settings, if two
            hold a pair of one id, or if `out` holds something else.
        EnvironmentFault: if the disk is full or forbidden.
    """
    for folder in folders:
        must_not_contain_each_other(folder, out)
    parts = sorted((_read(folder) for folder in folders), key=lambda part: part.shard.number)
    _check_complete(parts)
    for split in SPLITS:
        for _ in _pairs(parts, split):
            pass  # an id that stands there twice is refused before anything is written
    settings = {**parts[0].settings, "shard": None}
    failures = dict(itertools.chain.from_iterable(_failures(part.folder) for part in parts))
    profile = parts[0].folder / PROFILE_NAME
    with environment_faults(out), claimed(out, overwrite) as state:
        check_settings(out, state, settings)
        sweep_temporaries(out)
        tallies = finish_dataset(
            out,
            {
                split: _taken(parts, split, out, copy)
                for split in SPLITS
                if any((part.folder / split / MANIFEST_NAME).is_file() for part in parts)
            },
            failures,
            (parts[0].folder / RECIPE_NAME).read_text("utf-8"),
            profile if profile.is_file() else None,
            settings,
        )
        shutil.rmtree(state)
    return MergeResult(
        num_pairs=sum(tally.num_pairs for tally in tallies.values()),
        seconds=sum(tally.seconds for tally in tallies.values()),
        num_failures=len(failures),
    )


def _read(folder: Path) -> _Part:
    path = folder / DATASET_NAME
    if not path.is_file():
        raise UsageError(f"{folder}: is no finished shard; run synthesize --shard there")
    if (folder / STATE_FOLDER).is_dir():
        raise UsageError(f"{folder}: this shard is not finished; run its command again")
    try:
        settings = read_account(path)
        shard = Shard.parse(settings["shard"])
    except (UsageError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{folder}: is no finished shard; run synthesize --shard there") from error
    for name in TOTALS:
        settings.pop(name, None)
    return _Part(folder, shard, settings)


def _check_complete(parts: Sequence[_Part]) -> None:
    """Refuse shards that are not all parts of one dataset; they come sorted by number."""
    first = parts[0]
    for before, part in itertools.pairwise(parts):
        if part.shard == before.shard:
            raise UsageError(f"{part.folder}: is shard {part.shard}, and so is {before.folder}")
    for part in parts:
        of_same_count = part.shard.count == first.shard.count
        shard = first.settings["shard"] if of_same_count else part.settings["shard"]
        difference = find_difference(first.settings, {**part.settings, "shard": shard})
        if difference is not None:
            raise UsageError(
                f"{part.folder}: is of another dataset than {first.folder}: {difference}"
            )
    numbers = {part.shard.number for part in parts}
    everything = (Shard(n, first.shard.count) for n in range(1, first.shard.count + 1))
    missing = [str(shard) for shard in everything if shard.number not in numbers]
    if missing:
        raise UsageError(f"shards are missing: {', '.join(missing)}; give all of them")


def _pairs(parts: Sequence[_Part], split: str) -> Iterator[tuple[PairRow, Entry, _Part]]:
    """Yield the pairs of all shards sorted by id; few of them in memory."""
    streams = [_pairs_of(part, split) for part in parts]
    before: tuple[str, _Part] | None = None
    for row, entry, part in heapq.merge(*streams, key=lambda pair: pair[0].id):
        if before is not None and before[0] == row.id:
            raise UsageError(f"{row.id}: is in {before[1].folder} and in {part.folder}")
        before = row.id, part
        yield row, entry, part


def _pairs_of(part: _Part, split: str) -> Iterator[tuple[PairRow, Entry, _Part]]:
    for row, entry in stored_entries(part.folder, split):
        yield row, entry, part


def _taken(parts: Sequence[_Part], split: str, out: Path, copy: bool) -> Iterator[Entry]:
    """Bring the files of every pair to `out`, and then yield it."""
    with Writer() as writer:
        bring = writer.copy if copy else writer.link
        for row, entry, part in _pairs(parts, split):
            for name in row.file_names.values():
                source = beneath(part.folder, f"{split}/{name}")
                if not source.is_file():
                    raise InputError(f"{source}: is missing; run that shard's command again")
                bring(source, out / split / name)
            yield entry
    sync_folders(out / split)  # the manifest takes its name after this


def _failures(folder: Path) -> Iterator[tuple[str, str]]:
    path = folder / FAILURES_NAME
    if path.is_file():
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                entry = json.loads(line)
                if entry["run"] == "synthesize":
                    yield entry["source"], entry["error"]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise InputError(
                    f"{path} line {number}: is no line of synthesize; run that shard's command "
                    "again"
                ) from error
