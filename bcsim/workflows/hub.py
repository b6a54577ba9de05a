"""Files from the Hugging Face hub, by `Owner/Name`."""

import re
from collections.abc import Sequence
from pathlib import Path

from bcsim.errors import InputError, one_line
from bcsim.extras import optional_import

MAX_REASON = 120  # characters
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def is_hub_id(text: str) -> bool:
    """Tell whether a text is of the form `Owner/Name`.

    Example:
        >>> is_hub_id("Cnam-LMSSC/EBEN"), is_hub_id("runs/small/x"), is_hub_id("throat")
        (True, False, False)
    """
    return _HUB_ID.fullmatch(text) is not None


def download(hub_id: str, patterns: Sequence[str]) -> Path:
    """Download files of a repository on the hub, or find them in the cache.

    Args:
        hub_id: name of the repository, `Owner/Name`.
        patterns: names of the files to download, such as "*.sensor".

    Returns:
        Folder of the downloaded files, whose name is the revision.

    Raises:
        UsageError: if the package that downloads is missing.
        InputError: if there is no such repository, or it cannot be reached.
    """
    hub = optional_import("huggingface_hub", extra="hub")
    errors = optional_import("huggingface_hub.errors", extra="hub")
    try:
        return Path(hub.snapshot_download(hub_id, allow_patterns=list(patterns)))
    # The bases are what the library below raises, which is another one in every few versions.
    except (OSError, ValueError, *errors.HfHubHTTPError.__bases__) as error:
        raise InputError(
            f"{hub_id}: no such folder, and it cannot be downloaded "
            f"({one_line(error)[:MAX_REASON]}); check the name and the network, or give a folder"
        ) from error
