"""The lists, shards and recipes that are mutated, each beside what reads it."""

import gzip
import importlib.util
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bcsim.datasets.importers import import_pairs
from bcsim.errors import BcsimError
from bcsim.recipe import build_simulator, read_yaml
from tests.hostile.case import RATE, encode, speech

Source = tuple[str, bytes, Callable[[Path], object]]  # path below the folder, content, reader

RECIPE = b"""\
kind: synthesis
effects:
  - {name: gain, gain_db: {uniform: [-6, 6]}}
  - {name: polarity}
  - {name: butterworth_lowpass, cutoff_hz: 2000.0, order: 4}
"""


def sources(folder: Path) -> Iterator[Source]:
    """Write recordings below `folder`, and yield the sources that name or hold them."""
    sound = {"air": encode(speech(0.1), "FLAC"), "bone": encode(speech(0.1) / 2, "FLAC")}
    for role, content in sound.items():
        place = folder / "wav" / f"{role}.flac"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    files = {role: str(folder / "wav" / f"{role}.flac") for role in sound}
    scp = f"s1-a {files['bone']}\n".encode()
    other = folder / "kaldi/train_air"
    other.mkdir(parents=True)
    (other / "wav.scp").write_text(f"s1-a {files['air']}\n")
    yield "kaldi/train_bone/wav.scp", scp, _importer(folder, "kaldi", 2)
    (folder / "segments/train_bone").mkdir(parents=True)
    shutil.copytree(other, folder / "segments/train_air")
    (folder / "segments/train_bone/wav.scp").write_bytes(scp)
    for name, text in {"segments": "s1-a s1-a 0.0 0.05\n", "utt2spk": "s1-a s1\n"}.items():
        yield f"segments/train_bone/{name}", text.encode(), _importer(folder, "kaldi", 2)
    cuts = (json.dumps(_cut(files)) + "\n").encode()
    yield "lhotse/cuts.jsonl", cuts, _importer(folder, "lhotse", 1)
    packed = gzip.compress(cuts, mtime=0)
    yield "packed/cuts.jsonl.gz", packed, _importer(folder, "lhotse", 1)
    entry = {"air_wav": files["air"], "bone_wav": files["bone"], "spk_id": "s1"}
    told = json.dumps({"a": entry}).encode()
    yield "speechbrain/train.json", told, _importer(folder, "speechbrain", 1)
    table = f"ID,air_wav,bone_wav\na,{files['air']},{files['bone']}\n".encode()
    yield "table/train.csv", table, _importer(folder, "speechbrain", 1)
    pax, gnu = (_shard(sound, form) for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
    packed = gzip.compress(gnu, mtime=0)
    for name, shard in {"pax/0.tar": pax, "gnu/0.tar": gnu, "tgz/0.tar.gz": packed}.items():
        yield name, shard, _importer(folder, "webdataset", 1)
    yield "recipe.yaml", RECIPE, _simulator
    if importlib.util.find_spec("pyarrow"):  # of an extra
        yield from _tables(folder, sound)


def _tables(folder: Path, sound: dict[str, bytes]) -> Iterator[Source]:
    """Yield tables with the audio in their cells, as bytes or as `datasets` writes it."""
    names = ("pyarrow", "pyarrow.parquet", "pyarrow.ipc")
    pyarrow, parquet, ipc = (importlib.import_module(name) for name in names)
    bare = pyarrow.table({role: [content] for role, content in sound.items()})
    columns = {role: [{"bytes": c, "path": None}] * 3 for role, c in sound.items()}
    told = {"id": ["a", "b", "c"], "speaker": ["s1", "s1", "s2"], "sampling_rate": [RATE] * 3}
    full = pyarrow.table({**columns, **told})
    options = {
        "bare": (bare, {"compression": "none"}),
        "zstd": (full, {"compression": "zstd", "row_group_size": 2}),
        "pages": (full, {"data_page_version": "2.0", "write_page_index": True}),
    }
    for name, (table, wanted) in options.items():
        file = io.BytesIO()
        parquet.write_table(table, file, **wanted)
        yield f"{name}/train.parquet", file.getvalue(), _importer(folder, "parquet", 1)
    file = io.BytesIO()
    with ipc.new_stream(file, full.schema) as writer:
        writer.write_table(full)
    (folder / "saved").mkdir()
    (folder / "saved/state.json").write_text('{"_data_files": [{"filename": "0.arrow"}]}')
    yield "saved/0.arrow", file.getvalue(), _importer(folder, "parquet", 1)


def _importer(folder: Path, kind: str, depth: int) -> Callable[[Path], object]:
    return partial(_imported, folder / "imported", kind, depth)


def _imported(out: Path, kind: str, depth: int, path: Path) -> object:
    source = path.parents[depth - 1]
    try:
        return import_pairs(source, out, format=kind)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _simulator(path: Path) -> object:
    recipe = read_yaml(path)
    effects = recipe.get("effects")
    if not isinstance(effects, list):
        raise BcsimError("no list of effects")
    return build_simulator(effects, RATE, None, str(path))


def _cut(files: dict[str, str]) -> dict[str, object]:
    recordings = {
        role: {
            "id": role, "sampling_rate": RATE, "num_samples": RATE // 10, "duration": 0.1,
            "sources": [{"type": "file", "channels": [0], "source": file}],
        }
        for role, file in files.items()
    }  # fmt: skip
    return {
        "id": "a", "start": 0, "duration": 0.1, "channel": 0, "recording": recordings["bone"],
        "custom": {"target_recording": recordings["air"]}, "type": "MonoCut",
        "supervisions": [{"id": "a", "speaker": "s1"}],
    }  # fmt: skip


def _shard(sound: dict[str, bytes], form: int) -> bytes:
    file = io.BytesIO()
    members = {f"k.{role}.flac": content for role, content in sound.items()}
    members |= {"k.json": b'{"speaker": "s1"}', "x" * 120 + ".txt": b"a long name"}
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if form == tarfile.PAX_FORMAT:
                member.pax_headers = {"mtime": "1.5"}
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()
