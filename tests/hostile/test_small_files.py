"""Small files that would take hours or all memory: refused by their counts, before they do.

Without the caps each of these tests takes minutes and gigabytes, or does not end.
"""

import gzip
import io
import json
import struct
import tarfile
from collections import Counter

import numpy as np
import pytest

from bcsim.datasets import lists
from bcsim.datasets.importers import IMPORTERS, _free_name, import_pairs
from bcsim.datasets.importers.arrow_table import ArrowTable
from bcsim.effects.distributions import Normal
from bcsim.errors import InputError, UsageError
from bcsim.files import gzip_file, strict_yaml, tar_file
from bcsim.files.safetensors_file import read_shapes
from bcsim.files.strict_yaml import parse_yaml
from bcsim.files.tar_file import tar_members
from bcsim.files.text import parse_json
from bcsim.models.storage import build_enhancer, load_enhancer, save_enhancer
from bcsim.recipe import build_simulator
from bcsim.registry import convert_stored
from bcsim.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


def header(kind, size, name="PaxHeaders/k"):
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def padded(content):
    return content + bytes(-len(content) % tarfile.BLOCKSIZE)


def webdataset(path):
    return IMPORTERS["webdataset"]().read(path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"2 " * 100_000 + b"=", id="records of two bytes, and one '=' at the end"),
        pytest.param(b"1" * 200_000, id="a length of 200,000 digits"),
        pytest.param(b"20 hdrcharset=BINARY" * 10_000, id="records without their ends"),
    ],
)
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE])
@pytest.mark.parametrize("length", [200_000, tar_file.MAX_HEADER_BYTES])
def test_an_extended_header_of_a_tar_is_looked_at_once(tmp_path, content, kind, length):
    content = content[-length:]
    path = tmp_path / "0.tar"
    path.write_bytes(header(kind, len(content)) + padded(content) + bytes(1024))
    with pytest.raises(InputError, match=r"0\.tar: is no tar file \(.*header"):
        webdataset(path)


def test_long_names_holes_and_links_are_read_as_tarfile_reads_them(tmp_path):
    names = ["k.air.flac", "f/" * 150 + "k.air.flac", "é" * 90 + ".air.flac", "x" * 99 + ".flac"]
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        path = tmp_path / f"{form}.tar"
        with tarfile.open(path, "w", format=form, pax_headers={"comment": "of all"}) as tar:
            for number, name in enumerate(names):
                link = tarfile.TarInfo(f"link{number}")
                link.type, link.linkname = tarfile.SYMTYPE, name
                tar.addfile(link)
                member = tarfile.TarInfo(name)
                member.size = 600 * number
                tar.addfile(member, io.BytesIO(bytes([number]) * member.size))
        content = path.read_bytes()
        found = [*tar_members(lambda start, size: content[start : start + size], len(content))]  # noqa: B023
        with tarfile.open(path) as tar:
            wanted = [(m.name, m.offset_data, m.size) for m in tar if m.isreg()]
        assert [tuple(member) for member in found] == wanted
        assert len(wanted) == len(names)


def test_a_tar_of_too_many_members_is_refused_with_the_number(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_file, "MAX_MEMBERS", 20)
    path = tmp_path / "0.tar"
    members = [header(tarfile.REGTYPE, 0, f"{number}.air.flac") for number in range(21)]
    path.write_bytes(b"".join(members[:20]) + bytes(1024))
    assert len([*webdataset(path)]) == 20
    path.write_bytes(b"".join(members) + bytes(1024))
    with pytest.raises(InputError, match="more than 20 members"):
        webdataset(path)


def test_a_tar_that_is_damaged_half_way_is_not_taken_for_its_first_half(tmp_path):
    path = tmp_path / "0.tar"
    first, second = (header(tarfile.REGTYPE, 0, f"{n}.air.flac") for n in "ab")
    path.write_bytes(first + b"?" + second[1:] + bytes(1024))
    with pytest.raises(InputError, match="at byte 512: bad checksum"):
        webdataset(path)


@pytest.mark.parametrize("name", ["0.tar.gz", "cuts.jsonl.gz"])
def test_a_packed_file_that_expands_a_thousandfold_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr("bcsim.files.opening._SMALL_BYTES", 1 << 20)
    path = tmp_path / name
    path.write_bytes(gzip.compress((b" " * 1023 + b"\n") * 2000))
    reader = "webdataset" if "tar" in name else "lhotse"
    with pytest.raises(InputError, match=r"(expands to more|larger) than 1048576 bytes"):
        list(IMPORTERS[reader]().read(path))


@pytest.mark.parametrize("name", ["0.tar.gz", "cuts.jsonl.gz"])
def test_a_file_that_is_packed_in_very_many_parts_is_refused(tmp_path, name, monkeypatch):
    """A million empty parts, 20 MB, took seconds to expand to nothing."""
    monkeypatch.setattr(gzip_file, "MAX_MEMBERS", 100)
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"") * 101)
    reader = "webdataset" if "tar" in name else "lhotse"
    with pytest.raises(InputError, match=r"packed in more than 100 parts; expand it, and pack it"):
        list(IMPORTERS[reader]().read(path))


def test_parts_and_zeros_behind_them_expand_as_gzip_expands_them(tmp_path):
    rng = np.random.default_rng(0)
    parts = [rng.bytes(40_000), b"", b"x" * 300_000, bytes(70_000)]
    packed = b"".join(gzip.compress(part) + bytes(9000) for part in parts)
    expanded = gzip_file.expanded(io.BytesIO(packed), "x").read()
    assert expanded == b"".join(parts) == gzip.decompress(packed)
    assert gzip_file.expanded(io.BytesIO(b""), "x").read() == b""


@pytest.mark.parametrize("name", ["wav.scp", "pairs.csv", "cuts.jsonl", "blank.jsonl.gz"])
def test_a_list_of_too_many_lines_is_refused_with_the_number(tmp_path, name, monkeypatch):
    monkeypatch.setattr(lists, "MAX_LIST_LINES", 1000)
    path = tmp_path / name
    for count in (1000, 1001):
        content = b"\n" * count
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        if count == 1000:
            assert sum(1 for _ in lists.lines_of_list(path)) == count
            continue
        with pytest.raises(InputError, match=r"more than 1000 lines; split it into several lists"):
            for _ in lists.lines_of_list(path):
                pass


def test_a_name_that_fails_thousands_of_times_is_numbered_without_counting_anew():
    looked_up = 0

    class Failures(dict[str, str]):
        def __contains__(self, name: object) -> bool:
            nonlocal looked_up
            looked_up += 1
            return super().__contains__(name)

    failures = Failures({"a (3)": "another one's own name"})
    numbers: Counter[str] = Counter()
    for _ in range(2000):
        failures[_free_name("a", failures, numbers)] = "stands there twice"
    assert [*failures][:4] == ["a (3)", "a", "a (2)", "a (4)"]
    assert len(failures) == 2001
    assert looked_up < 3 * 2000


def test_a_table_of_a_thousand_columns_is_refused_with_the_number(tmp_path):
    path = tmp_path / "pairs.csv"
    for count in (1000, 1001):
        path.write_text(",".join(f"c{number}" for number in range(count)) + "\n1,2\n")
        if count == 1000:
            assert len([*lists.entries_of_list(path)]) == 1
            continue
        with pytest.raises(InputError, match="1001 columns; at most 1000 are read"):
            list(lists.entries_of_list(path))


@pytest.mark.parametrize("row", [",\n", ",,,,,\n", " , ,\r\n", "\n"])
def test_rows_without_a_value_are_passed_over_without_a_parser(tmp_path, monkeypatch, row):
    path = tmp_path / "pairs.csv"
    path.write_text("air,bone,\n" + row * 500 + "a.wav,b.wav,,,,\n" + row * 500)
    parsed = []
    reader = lists.csv.reader
    monkeypatch.setattr(lists.csv, "reader", lambda *a, **k: parsed.append(a) or reader(*a, **k))
    (entry,) = lists.entries_of_list(path)
    assert entry.content == {"air": "a.wav", "bone": "b.wav"}
    assert len(parsed) == 2  # the heading and the row


def test_a_quotation_mark_that_is_not_closed_is_not_looked_for_through_the_table(tmp_path):
    """Each of a million such rows would be read with the hundred rows behind it."""
    path = tmp_path / "pairs.csv"
    for count in (30, 31):
        path.write_text('air,text\na.wav,"' + "x\n" * (count - 1) + 'x"\nb.wav,x\n')
        entries = [*lists.entries_of_list(path)]
        assert (len(entries) == 2) == (count == 30)
        assert entries[-1].content == {"air": "b.wav", "text": "x"}


def test_a_parquet_file_of_half_a_million_empty_rows_is_refused_with_the_number(tmp_path):
    pyarrow, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    cells = pyarrow.nulls(500_001, pyarrow.binary())
    parquet.write_table(pyarrow.table({"air": cells, "bone": cells}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="claims 500001 rows; at most 500000 are read"):
        ArrowTable(tmp_path / "x.parquet", None).pairs({"air": ("air", None)}, tmp_path)


def test_the_metadata_of_a_parquet_file_are_not_read_anew_for_each_row_group(tmp_path, monkeypatch):
    pyarrow, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    cells = pyarrow.array([b""] * 40)
    table = pyarrow.table({"air": cells, "bone": cells})
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=1)
    opened = []

    class Noted(parquet.ParquetFile):
        def __init__(self, *arguments, metadata=None):
            opened.append(metadata)
            super().__init__(*arguments, metadata=metadata)

    monkeypatch.setattr(parquet, "ParquetFile", Noted)
    with pytest.raises(InputError, match="holds no audio"):
        import_pairs(tmp_path / "x.parquet", tmp_path / "out")
    assert len(opened) > 40
    assert opened.count(None) < 10


@pytest.mark.parametrize("key", ["strides", "channels"])
def test_a_network_of_half_a_million_levels_is_refused_before_it_is_built(tmp_path, key):
    save_enhancer(tmp_path, build_enhancer({"name": "seanet", "width": 2, "latent": 2}, 1), {})
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["model"][key] = [1] * 500_000 if key == "strides" else ["bone"] * 100_000
    path.write_text(json.dumps(config, separators=(",", ":")))
    with pytest.raises(InputError, match=rf"{key} has \d+ entries; it takes 256 at most"):
        load_enhancer(tmp_path)


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("model", {"name": "seanet", "strides": [1] * 200}),
        ("discriminator", {"name": "melgan", "num_scales": 10**9}),
        ("discriminator", {"name": "multi_scale", "num_scales": 10**9}),
        ("discriminator", {"name": "multi_resolution_stft", "fft_sizes": [10**9]}),
        ("loss", {"name": "multi_resolution_stft", "fft_sizes": [10**9] * 3}),
        ("loss", {"name": "mel_l1", "fft_size": 10**9}),
    ],
)
def test_sizes_that_would_take_all_memory_are_refused_with_the_most(kind, spec):
    from bcsim.discriminators import DISCRIMINATORS
    from bcsim.losses import LOSSES
    from bcsim.models import MODELS
    from bcsim.registry import build

    registry = {"model": MODELS, "discriminator": DISCRIMINATORS, "loss": LOSSES}[kind]
    with pytest.raises(UsageError, match=r"at most|1 to 16|65536"):
        build(registry, spec, sample_rate=16_000, convert=convert_stored)


def million_tensors(count):
    entries = ",".join(
        f'"{number}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for number in range(count)
    )
    content = f"{{{entries}}}".encode()
    return struct.pack("<Q", len(content)) + content


def test_a_header_of_a_hundred_thousand_empty_tensors_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(million_tensors(100_000))
    with pytest.raises(InputError, match=r"a header of \d+ bytes; at most 2097152 are read"):
        read_shapes(path)
    save_checkpoint(tmp_path, Checkpoint(1, {}, {}))
    (facts,) = tmp_path.glob("step_*.json")
    facts.with_suffix(".safetensors").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"at most 2097152 are read"):
        load_checkpoint(facts)


def test_a_recipe_of_thousands_of_effects_or_a_long_vector_is_refused():
    effects = [{"name": "polarity"}] * 101
    with pytest.raises(UsageError, match="101 effects; it takes 100 at most"):
        build_simulator(effects, 16_000, None, "x.yaml")
    with pytest.raises(ValueError, match="whole number from 1 to 1000"):
        Normal(0.0, 1.0, 10**8)


@pytest.mark.parametrize("value", ["1,", "[],", "[1,2],", "{a: 1},"])
def test_a_yaml_text_of_too_many_values_is_refused_before_it_is_read_to_its_end(monkeypatch, value):
    """Of short lists, 180 kB took 13 s, twice read to the end."""
    monkeypatch.setattr(strict_yaml, "MAX_NODES", 100)
    assert parse_yaml("a: [" + value * 20 + "]")
    with pytest.raises(ValueError, match="more than 100 values; shorten the lists"):
        parse_yaml("a: [" + value * 300 + "@ is no YAML")


def test_text_that_takes_minutes_or_gigabytes_to_parse_is_refused():
    with pytest.raises(ValueError, match="600003 characters, and 262144 are read at most"):
        parse_yaml("a: " + "[1,2]," * 100_000)
    with pytest.raises(ValueError, match="more than 1000000 objects and lists"):
        parse_json(f"[{'[],' * 1_000_000}[]]")
