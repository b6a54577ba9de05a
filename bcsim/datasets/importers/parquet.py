"""Parquet files, and folders of `save_to_disk`, with audio in columns of any name."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from bcsim.datasets.importers import IMPORTERS
from bcsim.datasets.importers.arrow_table import ArrowTable, find_tables
from bcsim.datasets.importers.base import FoundPair, Importer, pairs_of_parts
from bcsim.datasets.importers.vibravox import names_sensor
from bcsim.errors import InputError

_WHOLE = "audio"  # the usual column for files that hold all channels


@IMPORTERS.register("parquet")
class Parquet(Importer):
    """Columns `air` and `bone`, or those that `names` tells; with roles of channels, `audio`."""

    defaults: ClassVar[Mapping[str, str]] = {"air": "air", "bone": "bone"}
    takes_channels: ClassVar[bool] = True

    def recognises(self, source: Path) -> bool:
        broken = None
        for table in find_tables(source):
            try:
                columns = table.columns
            except InputError as error:
                broken = broken or error
                continue
            if any(names_sensor(column) for column in columns):
                return False
            self._columns(table)
            return True
        if broken:
            raise broken
        return False

    def read(self, source: Path) -> list[FoundPair]:
        parts = [(table.path, table.split) for table in find_tables(source)]
        return pairs_of_parts(source, parts, self._pairs)

    def _pairs(self, path: Path, split: str | None) -> list[FoundPair]:
        table = ArrowTable(path, split)
        return table.pairs(self._columns(table), self.root or path.parent)

    def _columns(self, table: ArrowTable) -> dict[str, tuple[str, int | None]]:
        """Return the column of each role, with the number of its channel.

        Raises:
            InputError: if the table lacks one of them.
        """
        columns: dict[str, tuple[str, int | None]] = {
            role: (column, None) for role, column in self.roles.items()
        }
        if self.channels:
            column = self.names.get("air", _WHOLE)
            columns = {role: (column, number) for role, number in self.channel_of.items()}
        wanted = list(dict.fromkeys(column for column, _ in columns.values()))
        there = table.columns
        if not set(wanted) <= set(there):
            raise InputError(self._wants(table.path, there, wanted))
        return columns
