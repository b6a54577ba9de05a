"""Pairs of other libraries' formats as the folders that every command reads: `import_pairs`."""

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bcsim.audio.copy import copy_audio
from bcsim.datasets.checksums import write_sums
from bcsim.datasets.importers.base import FoundPair, Importer
from bcsim.datasets.manifest import MANIFEST_NAME, MAX_NAME_BYTES, SIGNALS, PairRow, write_manifest
from bcsim.errors import InputError, UsageError
from bcsim.files.failures import FAILURES_NAME, write_failures
from bcsim.files.hashing import hash_file
from bcsim.files.paths import printable
from bcsim.files.run_folder import check_disjoint, staged_folder
from bcsim.progress import track
from bcsim.registry import Registry

IMPORTERS: Registry[type[Importer]] = Registry("format", "bcsim.datasets.importers")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportResult:
    """What `import_pairs` did.

    Args:
        format: name of the source's format in `IMPORTERS`.
        num_pairs: number of pairs by split; the split is "" where the source tells none.
        failures: reason by pair, for pairs that could not be used.
    """

    format: str
    num_pairs: dict[str, int]
    failures: dict[str, str]


def import_pairs(
    source: Path,
    out: Path,
    format: str | None = None,
    names: Mapping[str, str] | None = None,
    channels: tuple[str, ...] = (),
    root: Path | None = None,
) -> ImportResult:
    """Copy the pairs of another format into a folder of pairs: whole, or not at all.

    Files of one channel keep their bytes; a channel or a segment of one keeps its samples. Where
    the source has splits, each becomes a folder of its own below `out`.

    Args:
        source: file or folder; never written to.
        out: new or empty folder.
        format: name in `IMPORTERS`; None to tell it from the files.
        names: the source's names of "air", "bone" or "noisy_air", where they are not usual.
        channels: roles of the channels of stereo files, such as ("air", "bone").
        root: folder that relative paths of a manifest start from.

    Raises:
        UsageError: for an unknown format or role, or an `out` that is not empty.
        InputError: if the source is malformed, or none of its pairs can be used.
        EnvironmentFault: if the disk is full or forbidden.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    source = source.absolute()  # importers join paths to its own and to the root
    known = (*SIGNALS, "-")
    for role in channels:
        if role not in known or (role != "-" and channels.count(role) > 1):
            raise UsageError(f"channels {','.join(channels)}: wants each of {known} once at most")
    name = format or _recognise(source, channels)
    importer = IMPORTERS[name](names=names or {}, channels=channels, root=root and root.absolute())
    check_disjoint(source, out)
    found = importer.read(source)
    if not found:
        raise InputError(f"{source}: holds no pairs of the format {name}; name another format")
    failures: dict[str, str] = {}
    rows: dict[str, dict[str, PairRow]] = defaultdict(dict)
    with staged_folder(out) as staging:
        for pair in track(found, len(found), f"importing {name}"):
            split = pair.split or ""
            try:
                pair_id = _checked_id(pair.id)
                if pair_id in rows[split]:
                    raise InputError(f"{pair_id}: another pair has this id")
                rows[split][pair_id] = _store(pair, pair_id, staging / split)
            except InputError as error:
                failures[f"{split}/{pair.id}".lstrip("/")] = str(error)
                log.warning("skipped: %s", printable(str(error)))
        num_pairs = {split: len(members) for split, members in rows.items() if members}
        if not num_pairs:
            first = next(iter(failures.values()))
            raise InputError(f"{source}: none of {len(found)} pairs can be used; first: {first}")
        for split in num_pairs:
            write_manifest(staging / split / MANIFEST_NAME, rows[split].values())
        write_sums(staging)
        write_failures(staging / FAILURES_NAME, "import", failures)
    return ImportResult(name, num_pairs, failures)


def _recognise(source: Path, channels: tuple[str, ...]) -> str:
    if channels:
        return "channels"
    for name, importer in IMPORTERS.items():
        if importer().recognises(source):
            return name
    raise InputError(f"{source}: cannot tell the format; name one of {', '.join(IMPORTERS)}")


def _checked_id(pair_id: str) -> str:
    """Return an id that is a path below the folder, and fits into a file system."""
    name = printable(pair_id)
    for part in name.split("/"):
        if part in ("", ".", "..") or len(part.encode()) > MAX_NAME_BYTES:
            raise InputError(f"{name}: this id cannot be the path of a file; rename the pair")
    return name


def _store(pair: FoundPair, pair_id: str, folder: Path) -> PairRow:
    """Copy the recordings of a pair and return its row."""
    for role in ("air", "bone"):
        if role not in pair.recordings:
            raise InputError(f"{pair_id}: the source has no {role} recording of it")
    copies = {}
    try:
        for role in SIGNALS:
            recording = pair.recordings.get(role)
            if recording is None:
                continue
            with recording.open() as file:
                copies[role] = copy_audio(
                    file,
                    recording.name,
                    folder / role / pair_id,
                    channel=recording.channel,
                    start_s=recording.start_s,
                    duration_s=recording.duration_s,
                )
        rates = {role: copy.sample_rate for role, copy in copies.items()}
        if len(set(rates.values())) > 1:
            told = ", ".join(f"{role} is {rate} Hz" for role, rate in rates.items())
            raise InputError(f"{pair_id}: {told}; resample to one rate before the import")
    except InputError:
        for copy in copies.values():
            copy.path.unlink()
        raise
    names = {
        f"{role}_file_name": copy.path.relative_to(folder).as_posix()
        for role, copy in copies.items()
    }
    return PairRow(
        id=pair_id,
        **names,
        speaker=printable(pair.speaker or pair_id.split("/")[0]),
        duration_s=min(copy.num_samples for copy in copies.values()) / rates["air"],
        sample_rate=rates["air"],
        sensor="recorded",
        source=printable(pair.recordings["air"].name),
        source_sha256=hash_file(copies["air"].path),
        seed=0,
        drawn={},
    )
