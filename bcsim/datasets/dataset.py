"""A dataset of pairs on disk: the one reader of manifests, whoever wrote them.

Every line of a manifest is read with the same care: strict JSON, names of an air and a bone file
that do not leave the dataset, and ids that occur once. That is all that somebody else's manifest
needs; an id and a speaker are optional. What bcsim wrote itself holds more, and `ListedPair.row`
checks all of it. Rows are read one by one, so that memory does not grow with the dataset.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcsim.datasets.lists import part_told_by, speaker_of
from bcsim.datasets.manifest import (
    MANIFEST_NAME,
    SIGNALS,
    SPLITS,
    STATE_FOLDER,
    PairRow,
    file_beneath,
    is_rendered,
    lines_of,
)
from bcsim.errors import InputError
from bcsim.files.name_table import NameTable
from bcsim.files.text import parse_json, read_bytes, reason_of, shown

WHOLE = "all"  # the one split of a dataset that has none
_MAX_METADATA_BYTES = 1 << 24  # a recipe may name thousands of files


def read_dataset_metadata(path: Path) -> dict[str, Any]:
    """Return the content of `dataset.json`, or of the settings of a run that makes a dataset.

    Raises:
        InputError: if the file cannot be read, or "schema", "bcsim", "recipe" or "seed" is missing
            or of a wrong type.
    """
    return parse_dataset_metadata(
        read_bytes(path, _MAX_METADATA_BYTES, "the metadata of a dataset of bcsim"), path
    )


def parse_dataset_metadata(text: bytes, path: Path) -> dict[str, Any]:
    """Return what a text says that is, or is to be, in a file; see `read_dataset_metadata`."""
    if len(text) > _MAX_METADATA_BYTES:
        raise InputError(
            f"{path}: larger than {_MAX_METADATA_BYTES} bytes; make the recipe smaller"
        )
    try:
        content = parse_json(text)
    except ValueError as error:
        reason = reason_of(error)
        raise InputError(f"{path}: damaged ({reason}); begin anew in another place") from error
    wanted = {"schema": int, "bcsim": str, "recipe": dict, "seed": int}
    if isinstance(content, dict) and wanted == {key: type(content.get(key)) for key in wanted}:
        return content
    raise InputError(f"{path}: no metadata of a dataset of bcsim; begin anew in another place")


@dataclass(frozen=True, slots=True)
class PairFiles:
    """The recordings of the same speech.

    Args:
        id: name of the pair; in a manifest without ids, the name of the bone file.
        files: paths of the files by signal: "bone", "air" and perhaps "noisy_air".
        speaker: name of the speaker, or None where nothing tells.
        is_rendered: whether `synthesize` rendered the files, which are synchronous then.
    """

    id: str
    files: dict[str, Path]
    speaker: str | None = None
    is_rendered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPair(PairFiles):
    """A pair as a manifest lists it.

    Args:
        line: line of the manifest, in JSON.
        content: everything that the line holds, by the manifest's keys.
        where: file and line of the manifest, for messages.
    """

    line: str
    content: dict[str, Any]
    where: str

    @property
    def row(self) -> PairRow:
        """The pair as a row that bcsim wrote; an InputError names file and line of another."""
        return PairRow.from_json(self.line, self.where)


@dataclass(frozen=True)
class Dataset:
    """A folder of pairs with manifests.

    Args:
        folder: folder of the dataset.
        manifests: path of the manifest by split; the split of a manifest for all pairs is "all".
    """

    folder: Path
    manifests: dict[str, Path]

    @classmethod
    def open(cls, folder: Path) -> "Dataset":
        """Find the manifests of a dataset.

        Raises:
            InputError: if there are none, or `synthesize` is not done with it.
        """
        if (folder / STATE_FOLDER).is_dir():
            raise InputError(f"{folder}: is not finished; run the same synthesize command again")
        found = {split: folder / split / MANIFEST_NAME for split in SPLITS}
        found[WHOLE] = folder / MANIFEST_NAME
        manifests = {split: path for split, path in found.items() if path.is_file()}
        if not manifests:
            raise InputError(
                f"{folder}: holds no {MANIFEST_NAME}; give the folder that synthesize or import "
                "wrote"
            )
        return cls(folder, manifests)

    def count(self, split: str) -> int:
        """Return how many pairs a split has."""
        return sum(1 for _, line in lines_of(self.manifests[split]) if line.strip())

    def pairs(self, split: str) -> Iterator[ListedPair]:
        """Yield the pairs of a split in the manifest's order; see `read_pairs`."""
        yield from read_pairs(self.manifests[split])


def read_pairs(manifest: Path) -> Iterator[ListedPair]:
    """Yield the pairs that a manifest lists, whoever wrote it, in its order.

    Raises:
        InputError: naming file and line, if the manifest is missing, or a line is malformed, has
            the id of another, or names a file outside the dataset.
    """
    if not manifest.exists():
        raise InputError(f"{manifest}: no such manifest; give the folder that synthesize wrote")
    ids = NameTable()
    for where, line in lines_of(manifest):
        if not line.strip():
            continue
        pair = _listed(line, where, manifest.parent)
        if pair.id in ids:
            raise InputError(f"{where}: id '{shown(pair.id)}' stands there twice; rename one")
        ids.add(pair.id)
        yield pair


def read_rows(manifest: Path) -> Iterator[PairRow]:
    """Yield the rows of a manifest that bcsim wrote, in which no file is listed twice.

    Raises:
        InputError: naming file and line, if it is not like that, or as `read_pairs` does.
    """
    names = NameTable()
    for pair in read_pairs(manifest):
        row = pair.row
        for name in row.file_names.values():
            if name in names:
                raise InputError(f"{pair.where}: '{shown(name)}' is listed twice; rerun synthesize")
            names.add(name)
        yield row


def read_manifest(manifest: Path) -> list[PairRow]:
    """Return the rows of a manifest that bcsim wrote; see `read_rows`."""
    return [*read_rows(manifest)]


def _listed(line: str, where: str, folder: Path) -> ListedPair:
    try:
        content = parse_json(line)
        names = {signal: content.get(f"{signal}_file_name") for signal in SIGNALS}
        if not names["noisy_air"]:
            del names["noisy_air"]
        missing = {"air_file_name", "bone_file_name"} - content.keys()
        if missing:
            raise KeyError(min(missing))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{where}: wants JSON with air_file_name and bone_file_name ({reason_of(error)})"
        ) from error
    part = part_told_by(content)
    if part is not None:
        raise InputError(f"{where}: {part}")
    pair_id = content.get("id", names["bone"])
    for value in (*names.values(), pair_id):
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise InputError(f"{where}: {shown(value)} is no name; write text in its place")
    try:
        speaker = speaker_of(content)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    files = {signal: file_beneath(folder, str(name), where) for signal, name in names.items()}
    return ListedPair(
        str(pair_id),
        files,
        speaker,
        is_rendered(content),
        line=line,
        content=content,
        where=where,
    )
