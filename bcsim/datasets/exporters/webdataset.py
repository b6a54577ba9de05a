"""WebDataset: `WebDataset("train-{000000..000009}.tar")`, a few files a pair in tar shards."""

import contextlib
import io
import itertools
import json
import tarfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import BinaryIO, ClassVar
from urllib.parse import quote

from bcsim.audio.unchanging import check_in_place
from bcsim.datasets.dataset import ListedPair
from bcsim.datasets.exporters import EXPORTERS
from bcsim.datasets.exporters.base import Exporter, facts_of
from bcsim.files.atomic import replacing
from bcsim.files.opening import FileState, open_regular, state_of


@EXPORTERS.register("webdataset")
class WebDataset(Exporter):
    """`SPLIT-NNNNNN.tar` with KEY.air.flac, KEY.bone.flac and KEY.json, the manifest's row."""

    sharded: ClassVar[bool] = True

    def write_split(self, pairs: Iterable[ListedPair], split: str, out: Path) -> None:
        left = iter(pairs)
        for number in itertools.count():
            first = next(left, None)
            if first is None:
                return
            with (
                replacing(out / f"{split}-{number:06d}.tar") as temporary,
                tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as shard,
            ):
                for pair in itertools.chain([first], itertools.islice(left, self.shard_size - 1)):
                    _add(shard, pair)


def _key(pair_id: str) -> str:
    """Return the key of a pair: a key ends at the first dot, so an id's own are encoded.

    Example:
        >>> _key("s1/take 2.wav")
        's1/take%202%2Ewav'
    """
    return quote(pair_id, safe="/").replace(".", "%2E")


def _add(shard: tarfile.TarFile, pair: ListedPair) -> None:
    row = {"id": pair.id, "speaker": pair.speaker, **facts_of(pair)}
    text = json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8")
    key = _key(pair.id)
    members: dict[str, Path | bytes] = {f"{key}.json": text}
    members |= {f"{key}.{role}{path.suffix}": path for role, path in pair.files.items()}
    with contextlib.ExitStack() as stack:
        files: dict[Path, tuple[BinaryIO, FileState]] = {}
        for path in pair.files.values():  # all at once: one may be replaced while another is read
            file = stack.enter_context(open_regular(path))
            files[path] = file, state_of(file)
        for name, content in sorted(members.items()):
            member = tarfile.TarInfo(name)  # no owner and no time: equal pairs, equal bytes
            if isinstance(content, bytes):
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
            else:
                file, (member.size, _) = files[content]
                shard.addfile(member, file)
        for path, (file, known) in files.items():
            check_in_place(file, known, path, partial(open_regular, path))
