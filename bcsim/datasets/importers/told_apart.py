"""Ids of a source that begin anew in each of its lists, shards or splits."""

import os
from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from bcsim.datasets.importers.base import FoundPair
from bcsim.files.name_table import NameTable


class ToldApart:
    """Ids by which no two splits, and no two lists or shards of a split, hold the same one.

    Where ids begin anew in each list, all ids of the split get the path of their list, below the
    folder that these lists have in common; where they do in each split, all ids get its name.

    Args:
        found: pairs of the source, which are gone through up to three times.

    Attributes:
        num_pairs: number of pairs.
    """

    def __init__(self, found: Iterable[FoundPair]) -> None:
        self._folders: dict[str | None, str] = {}  # of lists whose path their ids get
        self._by_split = False
        self.num_pairs = 0
        ids, parts, part_of_id = NameTable(), NameTable(), array("I")
        parts_of: dict[str | None, set[int]] = defaultdict(set)
        several: set[str | None] = set()
        for pair in found:
            self.num_pairs += 1
            part, place = parts.add(pair.part), ids.add(f"{pair.split or ''}\0{pair.id}")
            parts_of[pair.split].add(part)
            if place == len(part_of_id):
                part_of_id.append(part)
            elif part_of_id[place] != part:
                several.add(pair.split)
        for split in several:
            folders = {os.path.dirname(parts[part]) for part in parts_of[split]}
            self._folders[split] = os.path.commonpath(folders) or "."
        if len(parts_of) > 1:
            self._by_split = self._are_in_several_splits(found)

    def renamed(self, pair: FoundPair) -> FoundPair:
        """Return a pair with the id that tells it from the others."""
        pair_id = self._id_in_split(pair)
        if self._by_split and pair.split:
            pair_id = f"{pair.split}/{pair_id}"
        return pair if pair_id == pair.id else replace(pair, id=pair_id)

    def _id_in_split(self, pair: FoundPair) -> str:
        folder = self._folders.get(pair.split)
        return pair.id if folder is None else f"{os.path.relpath(pair.part, folder)}/{pair.id}"

    def _are_in_several_splits(self, found: Iterable[FoundPair]) -> bool:
        ids, splits, split_of_id = NameTable(), NameTable(), array("I")
        for pair in found:
            split, place = splits.add(pair.split or ""), ids.add(self._id_in_split(pair))
            if place == len(split_of_id):
                split_of_id.append(split)
            elif split_of_id[place] != split:
                return True
        return False
