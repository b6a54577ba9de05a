"""A dataset of pairs on disk."""

from pathlib import Path
from typing import Any

from bcsim.errors import InputError
from bcsim.files.text import parse_json, read_bytes, reason_of

MAX_METADATA_BYTES = 1 << 24  # a recipe may name thousands of things; more is none of ours


def read_dataset_metadata(path: Path) -> dict[str, Any]:
    """Read `dataset.json`, or the settings of a run that makes a dataset.

    Args:
        path: of the file.

    Returns:
        Its content, in which "schema", "bcsim", "recipe" and "seed" are of the right types.

    Raises:
        InputError: if it cannot be read, or is not the metadata of a dataset of bcsim.
    """
    text = read_bytes(path, MAX_METADATA_BYTES, "the metadata of a dataset of bcsim")
    try:
        content = parse_json(text)
    except ValueError as error:
        raise InputError(
            f"{path}: damaged ({reason_of(error)}); begin anew in another place"
        ) from error
    wanted = {"schema": int, "bcsim": str, "recipe": dict, "seed": int}
    if isinstance(content, dict) and wanted == {key: type(content.get(key)) for key in wanted}:
        return content
    raise InputError(f"{path}: no metadata of a dataset of bcsim; begin anew in another place")
