"""WebDataset shards: `KEY.air.flac`, `KEY.bone.flac` and `KEY.json` in tar files.

Nothing is unpacked by the names that a tar holds: members are read where they lie.
"""

import io
import json
import tarfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from urllib.parse import unquote

from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.base import FoundPair, Importer, Recording, find_files
from bcsim.datasets.manifest import SIGNALS
from bcsim.errors import InputError
from bcsim.files.text import reason_of

_MAX_JSON_BYTES = 1 << 20
_MAX_MEMBER_BYTES = 2 << 30


@IMPORTERS.register("webdataset")
class WebDataset(Importer):
    """The first part of a member's ending is the role."""

    defaults: ClassVar[Mapping[str, str]] = {role: role for role in SIGNALS}

    def recognises(self, source: Path) -> bool:
        return any(find_files(source, "*.tar"))

    def read(self, source: Path) -> list[FoundPair]:
        roles = {name: role for role, name in self.roles.items()}
        found = []
        for path, split in find_files(source, "*.tar"):
            recordings: dict[str, dict[str, Recording]] = {}
            facts: dict[str, dict[str, Any]] = {}
            try:
                size = path.stat().st_size
                with _Bounded(path) as file, tarfile.open(fileobj=file, mode="r:") as shard:
                    for member in shard:
                        if not 0 <= member.size <= size:  # below: this one again, for ever
                            raise tarfile.ReadError(f"a member of {member.size} bytes")
                        if not member.isreg() or member.issparse():
                            continue
                        folder, slash, base = member.name.rpartition("/")
                        base, _, ending = base.partition(".")
                        key = f"{folder}{slash}{base}"
                        name = f"{path}: {member.name}"
                        role = roles.get(ending.rpartition(".")[0])
                        read = partial(_member, path, member.offset_data, member.size)
                        if role is not None:
                            recordings.setdefault(key, {})[role] = Recording(name, read)
                        elif ending == "json" and member.size <= _MAX_JSON_BYTES:
                            facts[key] = _facts(read().read(), name)
            except InputError:
                raise
            except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError) as error:
                raise InputError(
                    f"{path}: is no tar file, uncompressed ({reason_of(error)}); make it again"
                ) from error
            for key, by_role in recordings.items():
                told = {k: v for k, v in facts.get(key, {}).items() if isinstance(v, str)}
                pair_id = told.get("id", unquote(key))
                found.append(FoundPair(pair_id, by_role, told.get("speaker"), split))
        return found


class _Bounded(io.FileIO):
    """A file of which tarfile can read no header that would fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MAX_JSON_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)


def _member(path: Path, offset: int, size: int) -> BinaryIO:
    if size > _MAX_MEMBER_BYTES:
        raise InputError(f"{path}: a member of {size} bytes; at most {_MAX_MEMBER_BYTES} are read")
    with path.open("rb") as file:
        file.seek(offset)
        return io.BytesIO(file.read(size))


def _facts(content: bytes, name: str) -> dict[str, Any]:
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: is no JSON") from error
    return facts if isinstance(facts, dict) else {}
