"""Many names in little memory."""

import tracemalloc

import pytest

from bcsim.files.name_table import NameTable


def test_names_have_the_places_that_a_dict_would_give_them():
    names = ["", "a", "\ud800", "é", *(f"speaker{n % 7}/utterance {n}" for n in range(3000)), "a"]
    table, wanted = NameTable(), dict[str, int]()
    for name in names:
        assert (name in table) == (name in wanted)
        assert table.place(name) == wanted.get(name)
        assert table.add(name) == wanted.setdefault(name, len(wanted))
    assert [*table] == [*wanted]
    assert len(table) == len(wanted)
    assert [table.place(name) for name in names] == [wanted[name] for name in names]
    assert table[len(wanted) - 1] == names[-2]
    with pytest.raises(IndexError):
        table[len(wanted)]


def test_a_name_takes_few_bytes_more_than_it_has():
    """A dict of names to numbers takes some 200, which is 80 MB of 400,000 files."""
    tracemalloc.start()
    try:
        table = NameTable()
        for number in range(10_000):
            table.add(f"{number:040}")
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert size < 10_000 * (40 + 40)
