"""What strangers wrote is read within bounds, or refused; nothing of it is run or waited for."""

import json
import os
import pickle

import pytest

from bcsim.errors import InputError
from bcsim.files.opening import open_regular
from bcsim.files.text import (
    MAX_DEPTH,
    kind_of,
    numbered_lines,
    parse_json,
    read_bytes,
    shown,
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "key 'c' is there twice"),
        ('{"a": NaN}', "NaN is not a finite number"),
        ('{"a": -Infinity}', "-Infinity is not a finite number"),
        ('{"a": 1e999}', "1e999 is not a finite number"),
        ("[" * 100_000, "nested deeper than 64 levels"),
        ("[" * 65 + "]" * 65, "nested deeper than 64 levels"),
        ('{"a":' * 65 + "1" + "}" * 65, "nested deeper than 64 levels"),
        (r'["\ud800"]', "surrogates not allowed"),
        ("1" * 10_000, "digit"),
        (b'"\xff"', "utf-8"),
        ("", "Expecting value"),
    ],
)
def test_what_is_not_strict_json_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


@pytest.mark.parametrize(
    "content",
    [
        {"a": [1, 2.5, None, True, {"b": "é\n[[[[" * 40}]},
        ["[" * 1000],
        "{" * 1000,
        json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH),
        [[[]] for _ in range(1000)],
        "\U0001f600",
    ],
)
def test_what_is_strict_json_comes_back(content):
    assert parse_json(json.dumps(content)) == content
    assert parse_json(json.dumps(content).encode()) == content


def test_many_keys_take_no_time():
    """A search for the one that is there twice must not compare each key with each other one."""
    keys = ", ".join(f'"{n}": 0' for n in range(200_000))
    with pytest.raises(ValueError, match="key '0' is there twice"):
        parse_json(f'{{{keys}, "0": 1}}')


def test_only_regular_files_of_moderate_size_are_read(tmp_path):
    path = tmp_path / "facts.json"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5, "facts") == b"12345"
    with pytest.raises(InputError, match=r"facts\.json: larger than 4 bytes; this is not facts"):
        read_bytes(path, 4, "facts")
    with pytest.raises(InputError, match=r"none: no such file; give facts"):
        read_bytes(tmp_path / "none", 4, "facts")
    with pytest.raises(InputError, match="not a regular file; give facts"):
        read_bytes(tmp_path, 4, "facts")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file; give facts"):
        read_bytes(tmp_path / "pipe", 4, "facts")
    with pytest.raises(InputError, match="cannot be read"):
        read_bytes(tmp_path / ("x" * 300), 4, "facts")


def test_lines_are_counted_and_none_is_longer_than_a_mebibyte(tmp_path):
    path = tmp_path / "list"
    path.write_bytes(b"a\n\nb\rc\n" + b"x" * (1 << 20))
    with open_regular(path, "a list") as file:
        lines = dict(numbered_lines(file, path, "a list"))
    assert lines == {1: "a\n", 2: "\n", 3: "b\rc\n", 4: "x" * (1 << 20)}
    for content, reason in ((b"x" * (1 << 20) + b"x", "longer than"), (b"\xff", "not UTF-8")):
        path.write_bytes(b"a\n" + content)
        with (
            open_regular(path, "a list") as file,
            pytest.raises(InputError, match=f"list line 2: {reason}"),
        ):
            list(numbered_lines(file, path, "a list"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_call_something_is_known_as_one(protocol):
    class Payload:
        def __reduce__(self):
            return (os.system, ("true",))

    assert kind_of(pickle.dumps(Payload(), protocol)) == "a pickle"


def test_the_length_before_a_safetensors_header_is_not_taken_for_something_else():
    for length in (0x0280, 0x0480, 0x8B1F):
        assert kind_of(length.to_bytes(8, "little") + b'{"a') is None
    assert kind_of(b"") is None


def test_a_value_is_shown_on_one_short_line():
    assert shown("a\nb\x1b[31m") == "a%0Ab%1B[31m"
    assert len(shown("x" * 10**6)) < 100
    assert len(shown(["x" * 10**6])) < 100
