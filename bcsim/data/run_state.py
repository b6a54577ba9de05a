"""The folder of a dataset in the making: whose it is, and whether a run may go on there."""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bcsim.data.manifest import MANIFEST_NAME, SIGNALS, SPLITS
from bcsim.errors import EnvironmentFault, InputError, UsageError
from bcsim.files import TEMPORARY_SUFFIX, replacing, write_json

DATASET_NAME, RECIPE_NAME, PROFILE_NAME = "dataset.json", "recipe.resolved.yaml", "profile.sensor"
STATE_FOLDER, RUN_NAME, JOURNAL_NAME = ".bcsim", "run.json", "journal.jsonl"


@contextlib.contextmanager
def claimed(out: Path, overwrite: bool) -> Iterator[Path]:
    """Claim the output folder; the kernel lets go of the lock when the process ends."""
    state = out / STATE_FOLDER
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; choose a folder for --out")
    ours = _is_ours(out / DATASET_NAME) or _is_ours(state / RUN_NAME) or _is_fresh(state)
    if out.is_dir() and not ours and any(out.iterdir()):
        raise UsageError(f"{out}: is not empty and no dataset of bcsim; choose another --out")
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EnvironmentFault(
                f"{out}: another run is writing there; wait for it, or choose another --out"
            ) from None
        if overwrite:
            _clear(out)
        yield state


def _is_ours(path: Path) -> bool:
    """Tell whether a JSON file is the account of a dataset that bcsim wrote."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"schema", "bcsim", "recipe", "seed"} <= content.keys()


def _is_fresh(state: Path) -> bool:
    """Tell whether a run was killed before it had written anything but its lock."""
    if not state.is_dir():
        return False
    names = {path.name for path in state.iterdir() if path.suffix != TEMPORARY_SUFFIX}
    return names <= {"lock"}


def _clear(out: Path) -> None:
    """Remove what bcsim wrote, and nothing else."""
    for split in SPLITS:
        for name in SIGNALS:
            shutil.rmtree(out / split / name, ignore_errors=True)
        (out / split / MANIFEST_NAME).unlink(missing_ok=True)
    for name in (DATASET_NAME, RECIPE_NAME, PROFILE_NAME, "README.md"):
        (out / name).unlink(missing_ok=True)
    for name in (RUN_NAME, JOURNAL_NAME):
        (out / STATE_FOLDER / name).unlink(missing_ok=True)


def check_settings(out: Path, state: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to go on with a run of other settings; note down the settings of a new one."""
    begun = state / RUN_NAME
    earlier_path = begun if begun.is_file() else out / DATASET_NAME
    if not earlier_path.is_file():
        write_json(begun, dict(settings))
        return
    try:
        earlier = json.loads(earlier_path.read_text("utf-8"))
        earlier = {key: earlier.get(key) for key in settings}
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{earlier_path}: damaged ({error}); use --overwrite to begin anew"
        ) from None
    difference = find_difference(earlier, settings)
    if difference is not None:
        if not begun.is_file():
            shutil.rmtree(state)
        raise UsageError(
            f"{out}: made with {difference}; nothing was changed: use the same settings, another "
            "--out, or --overwrite"
        )
    if not begun.is_file():
        _reopen(out, state)
        write_json(begun, dict(settings))


def find_difference(earlier: Any, now: Any, name: str = "") -> str | None:
    """Return the first difference of two settings, such as "seed 0, now 1", or None."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        pairs = [(key, earlier.get(key), now.get(key)) for key in {**now, **earlier}]
    elif isinstance(earlier, list) and isinstance(now, list) and len(earlier) == len(now):
        pairs = list(zip(range(len(now)), earlier, now, strict=True))
    else:
        return None if earlier == now else f"{name} {earlier!r}, now {now!r}"
    found = (find_difference(a, b, f"{name}.{key}".lstrip(".")) for key, a, b in pairs)
    return next((difference for difference in found if difference is not None), None)


def _reopen(out: Path, state: Path) -> None:
    """Make a journal of a finished dataset's manifests, so that missing files are rendered."""
    with replacing(state / JOURNAL_NAME) as temporary, temporary.open("wb") as journal:
        for split in SPLITS:
            if (out / split / MANIFEST_NAME).is_file():
                with (out / split / MANIFEST_NAME).open("rb") as manifest:
                    shutil.copyfileobj(manifest, journal)
