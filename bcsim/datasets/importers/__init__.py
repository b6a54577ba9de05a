"""Pairs of other libraries' formats as the folders that every command reads: `import_pairs`."""

import contextlib
import filecmp
import io
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bcsim.audio.copy import CopiedAudio, copy_audio
from bcsim.audio.folder import without_audio_suffix
from bcsim.audio.unchanging import check_in_place
from bcsim.datasets.checksums import write_sums
from bcsim.datasets.importers.base import FoundPair, Importer
from bcsim.datasets.importers.told_apart import ToldApart
from bcsim.datasets.manifest import (
    DATASET_NAME,
    MANIFEST_NAME,
    MAX_NAME_BYTES,
    RECORDED,
    SIGNALS,
    SUMS_NAME,
    PairRow,
    write_lines,
)
from bcsim.datasets.talkers import talkers_of
from bcsim.datasets.told_facts import check_told
from bcsim.errors import InputError, UsageError
from bcsim.files.failures import FAILURES_NAME, none_usable, write_failures
from bcsim.files.findings import FINDINGS_NAME, write_noticed
from bcsim.files.hashing import hash_file
from bcsim.files.opening import state_of
from bcsim.files.outputs import check_output_folder
from bcsim.files.paths import printable, shortened
from bcsim.files.run_folder import staged_folder
from bcsim.files.text import plain
from bcsim.progress import track
from bcsim.registry import Registry

IMPORTERS: Registry[type[Importer]] = Registry("format", "bcsim.datasets.importers")

_MAX_PATH_BYTES = 4095  # that Linux takes, and less than half of it elsewhere
_AROUND_ID = 64  # bytes: the role before the id, the ending behind it, or a temporary name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportResult:
    """What `import_pairs` did; every entry of the source is counted once.

    Args:
        format: name of the source's format in `IMPORTERS`.
        num_pairs: number of imported pairs by split; the split is "" where the source tells none.
        failures: reason by entry, for entries that could not be used.
        speakers: names of the known speakers of the imported pairs.
        num_unknown: number of imported pairs of whom nothing tells the speaker.
    """

    format: str
    num_pairs: dict[str, int]
    failures: dict[str, str]
    speakers: frozenset[str]
    num_unknown: int


def import_pairs(
    source: Path,
    out: Path,
    format: str | None = None,
    names: Mapping[str, str] | None = None,
    channels: tuple[str, ...] = (),
    root: Path | None = None,
    *,
    talkers: Path | None = None,
    sample_rate: int | None = None,
) -> ImportResult:
    """Copy the pairs of another format into a folder of pairs: whole, or not at all.

    Files of one channel keep their bytes; a channel or a segment of one keeps its samples. Where
    the source has splits, each becomes a folder of its own below `out`. An entry that cannot be
    used costs only itself, and is named in `failures.jsonl`.

    Args:
        source: file or folder; never written to.
        out: new or empty folder; one that already holds this very import is left as it is.
        format: name in `IMPORTERS`; None to tell it from the files.
        names: the source's names of "air", "bone" or "noisy_air", where they are not usual.
        channels: roles of the channels of stereo files, such as ("air", "bone").
        root: folder that relative paths of a manifest start from.
        talkers: table of the talkers of the pairs (`bcsim.datasets.talkers`); those that no row
            names keep the talker that the source tells.
        sample_rate: sample rate in Hz to which all recordings are resampled; None to keep theirs.

    Raises:
        UsageError: for an unknown format or role, or an `out` that is not empty.
        InputError: if the source is malformed, or none of its pairs can be used.
        EnvironmentFault: if the disk is full or forbidden.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    check_output_folder(out, [source], _is_import)
    source = source.absolute()  # importers join paths to its own and to the root
    _check_roles(names or {}, channels)
    options = {"names": names or {}, "channels": channels, "root": root and root.absolute()}
    name = format or _recognise(source, options)
    importer = IMPORTERS[name](**options)
    if channels and not importer.takes_channels:
        raise UsageError(f"channels {','.join(channels)}: {name} has files of one channel only")
    found: Iterable[FoundPair] = importer.read(source)
    apart = ToldApart(found)
    if not (total := apart.num_pairs):
        raise InputError(f"{source}: holds no pairs of the format {name}; name another format")
    found = _taken_out(found) if isinstance(found, list) and talkers is None else found
    found = (apart.renamed(pair) for pair in found)
    if talkers is not None:
        found = _with_talkers([*found], source, talkers)
    failures: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    rows: dict[str, dict[str, str]] = defaultdict(dict)  # lines of the manifests, by split and id
    speakers: Counter[str | None] = Counter()
    blocked: dict[str, set[str]] = defaultdict(set)
    known: dict[bytes, tuple[str | None, str]] = {}
    num_again = 0
    with staged_folder(out, again=_is_import(out)) as staging:
        for pair in track(found, total, f"importing {name}"):
            split = pair.split or ""
            try:
                if pair.problem is not None:
                    raise InputError(pair.problem)
                _check_sides(pair, {} if channels else importer.roles)
                pair_id = _checked_id(pair.id, rows[split], blocked[split])
                _check_length(pair_id, out.absolute() / split, staging / split)
                row = _store(pair, pair_id, staging / split, sample_rate, len(channels))
                num_again += _is_known(pair, row, staging / split, known)
                rows[split][pair_id] = row.to_json()
                speakers[row.speaker] += 1
            except InputError as error:
                failures[_free_name(_place(pair), failures, numbers)] = str(error)
                log.warning("skipped: %s", printable(str(error)))
        num_pairs = {split: len(members) for split, members in rows.items() if members}
        if not num_pairs:
            raise none_usable(source, f"{total} pairs", failures)
        if num_again:
            log.warning("%d pairs have the same two recordings as another one", num_again)
        if "" in num_pairs and len(num_pairs) > 1:
            splits = ", ".join(sorted(filter(None, num_pairs)))
            log.warning(
                "%d pairs are of no split, beside %s; nothing trains on them", num_pairs[""], splits
            )
        for split in num_pairs:
            lines = (f"{line}\n" for _, line in sorted(rows[split].items()))
            write_lines(staging / split / MANIFEST_NAME, lines)
        write_sums(staging)
        write_failures(staging / FAILURES_NAME, "import", failures)
        write_noticed(staging / FINDINGS_NAME, "import")  # the same import again finds it there
    known_speakers = frozenset(speaker for speaker in speakers if speaker is not None)
    return ImportResult(name, num_pairs, failures, known_speakers, speakers[None])


def _taken_out(found: list[FoundPair]) -> Iterator[FoundPair]:
    """Yield pairs in their order and remove them: a source may list more than fit beside rows."""
    found.reverse()
    while found:
        yield found.pop()


def _recognise(source: Path, options: Mapping[str, Any]) -> str:
    """Return the one format that a source has; an InputError tells why there is not just one."""
    claims, reasons = [], []
    for name, importer in IMPORTERS.items():
        if options["channels"] and not importer.takes_channels:
            continue
        try:
            if importer(**options).recognises(source):
                claims.append(name)
        except UsageError as error:  # the format's, but for what the message says
            reasons.append(str(error))
    if len(claims) == 1:
        return claims[0]
    if claims:
        raise InputError(f"{source}: could be {' or '.join(claims)}; name the format that it is")
    reason = f" ({'; or '.join(dict.fromkeys(reasons))})" if reasons else ""
    raise InputError(
        f"{source}: cannot tell the format{reason}; name the format ({', '.join(IMPORTERS)})"
    )


def _check_roles(names: Mapping[str, str], channels: tuple[str, ...]) -> None:
    """Check that roles are named by columns or by channels, and each once."""
    known = (*SIGNALS, "-")
    told = f"channels {','.join(channels)}"
    for role in channels:
        if role not in known or (role != "-" and channels.count(role) > 1):
            raise UsageError(f"{told}: wants each of {known} once at most")
    if channels and names.keys() - {"air"}:
        raise UsageError(
            f"{told}, and also {', '.join(names)}: the channels tell the roles; only the column "
            "of the files, if there is one, may be named as air"
        )
    if len(set(names.values())) < len(names):
        raise UsageError(f"{' and '.join(names)} have one name; give two")


def _check_sides(pair: FoundPair, names: Mapping[str, str]) -> None:
    for role in ("air", "bone"):
        if role not in pair.recordings:
            called = names.get(role, role)
            wanted = "" if called == role else f"; what is called {called} is wanted"
            place = printable(_place(pair))
            raise InputError(f"{place}: the source has no {role} recording of it{wanted}")


def _is_known(
    pair: FoundPair, row: PairRow, folder: Path, known: dict[bytes, tuple[str | None, str]]
) -> bool:
    """Tell whether a pair of the same split has the same two recordings, by what they hold.

    Args:
        pair: pair of the source.
        row: row of the copied pair.
        folder: folder of the split; the copies are removed if the pair cannot be used.
        known: split and place of the pairs before, by the hashes of their two recordings; this one
            is added.

    Raises:
        InputError: if a pair of another split has them.
    """
    digests = row.source_sha256 + hash_file(folder / row.bone_file_name)
    own = pair.split, _place(pair)
    other = known.setdefault(bytes.fromhex(digests), own)
    if other[0] != pair.split:
        for name in row.file_names.values():
            (folder / name).unlink()
        told = f"{printable(own[1])}: these are the recordings of {printable(other[1])}"
        raise InputError(f"{told}; leave one out")
    return other is not own


def _with_talkers(found: Sequence[FoundPair], source: Path, table: Path) -> list[FoundPair]:
    """Return pairs with the speakers that a table tells; the others keep theirs."""
    folder = source if source.is_dir() else source.parent
    names = {
        _place(pair): {pair.id, *_names_below(folder, pair)}
        for pair in found
        if pair.problem is None
    }
    told = talkers_of(table, names)
    return [replace(pair, speaker=told.get(_place(pair), pair.speaker)) for pair in found]


def _place(pair: FoundPair) -> str:
    """Return split and id of a pair, for messages."""
    return f"{pair.split}/{pair.id}" if pair.split else pair.id


def _names_below(folder: Path, pair: FoundPair) -> Iterator[str]:
    """Yield the paths of a pair's files below the folder of the source."""
    for recording in pair.recordings.values():
        with contextlib.suppress(ValueError):  # it lies elsewhere
            yield Path(recording.name).relative_to(folder).as_posix()


def _free_name(name: str, taken: Mapping[str, str], numbers: Counter[str]) -> str:
    """Return a name under which nothing is listed yet: failures are counted one by one.

    Args:
        name: name to begin with.
        taken: what is listed.
        numbers: last number that was tried for each name, so that none is tried twice.
    """
    free = name
    while free in taken:
        numbers[name] += 1
        free = f"{name} ({1 + numbers[name]})"
    return free


def _checked_id(pair_id: str, taken: Collection[str], blocked: set[str]) -> str:
    """Return an id that is a path below the folder, fits into a file system, and is free.

    Args:
        pair_id: id that the source tells.
        taken: ids of the pairs before.
        blocked: ids whose files would be in the way of folders; those of this id are added.
    """
    name = printable(pair_id)
    parts = name.split("/")
    for part in parts:
        if part in ("", ".", "..") or len(part.encode()) > MAX_NAME_BYTES:
            raise InputError(f"{name}: this id cannot be the path of a file; rename the pair")
    if name in taken:
        raise InputError(f"{name}: another pair has this id; rename one")
    folders = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    like_files = {without_audio_suffix(folder) for folder in folders}.difference(folders)
    if name in blocked or not like_files.isdisjoint(taken):
        raise InputError(f"{name}: a folder is called like the file of another pair; rename one")
    blocked |= like_files
    return name


def _check_length(pair_id: str, *folders: Path) -> None:
    """Raise an InputError if a file of this id could have no path in one of the folders."""
    for folder in folders:
        size = len(os.fsencode(folder)) + len(pair_id.encode()) + _AROUND_ID
        if size > _MAX_PATH_BYTES:
            told = f"{size} bytes with its folder, of {_MAX_PATH_BYTES}"
            raise InputError(f"{shortened(pair_id)}: too long for a path ({told}); rename the pair")


def _is_import(out: Path) -> bool:
    return (out / SUMS_NAME).is_file() and not (out / DATASET_NAME).exists()


def _store(
    pair: FoundPair, pair_id: str, folder: Path, sample_rate: int | None, num_channels: int
) -> PairRow:
    """Copy the recordings of a pair and return its row.

    Files of several channels have at most `num_channels` of them, unless that is 0.
    """
    copies: dict[str, CopiedAudio] = {}
    try:
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(each.open()) for each in pair.recordings.values()]
            states = [None if isinstance(f, io.BytesIO) else state_of(f) for f in opened]
            for (role, recording), file in zip(pair.recordings.items(), opened, strict=True):
                copies[role] = copy_audio(
                    file,
                    recording.name,
                    folder / role / pair_id,
                    channel=recording.channel,
                    num_channels=None if recording.channel is None else num_channels or None,
                    start_s=recording.start_s,
                    duration_s=recording.duration_s,
                    overshoot_s=recording.overshoot_s,
                    sample_rate=sample_rate or recording.sample_rate,
                )
                check_told(recording.told, [copies[role].whole], recording.name)
            for recording, file, state in zip(
                pair.recordings.values(), opened, states, strict=True
            ):
                if state is not None:  # or one side may be of before a change, and one of after it
                    check_in_place(file, state, recording.name, recording.open)
        check_told(pair.told, [copies[role].whole for role in ("air", "bone")], pair_id)
        if filecmp.cmp(copies["air"].path, copies["bone"].path, shallow=False):
            raise InputError(f"{pair_id}: {pair.recordings['air'].name} is both air and bone")
        rates = {role: copy.sample_rate for role, copy in copies.items()}
        if len(set(rates.values())) > 1:
            told = ", ".join(f"{role} is {rates[role]} Hz" for role in SIGNALS if role in rates)
            raise InputError(f"{pair_id}: {told}; name one sample rate for both")
        names = {role: copy.path.relative_to(folder).as_posix() for role, copy in copies.items()}
        row = PairRow(
            id=pair_id,
            bone_file_name=names["bone"],
            air_file_name=names["air"],
            noisy_air_file_name=names.get("noisy_air"),
            speaker=None if pair.speaker is None else plain(pair.speaker),
            duration_s=min(copy.num_samples for copy in copies.values()) / rates["air"],
            sample_rate=rates["air"],
            sensor=RECORDED,
            source=printable(pair.recordings["air"].name),
            source_sha256=hash_file(copies["air"].path),
            seed=0,
            drawn={},
        )
        return row.read_back()
    except InputError:
        for copy in copies.values():
            copy.path.unlink()
        raise
