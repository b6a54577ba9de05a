"""Places that nothing must be written to: inside the input, over other people's files, elsewhere.

Every case is a folder with recordings in `air/`, and an `--out` in it. What must stay as it is,
stays below `keep/` and `air/`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.case import ACCEPT, REJECT, Verdict, encode, speech


@dataclass(frozen=True)
class OutCase:
    """A place for pairs.

    Args:
        name: unique.
        root: folder with `air/` and `keep/`.
        out: given as `--out`.
        verdict: accept or reject.
        why: in one sentence.
    """

    name: str
    root: Path
    out: Path
    verdict: Verdict
    why: str


def write_out_folders(folder: Path) -> list[OutCase]:
    """Write the cases."""
    cases = []
    for name, (verdict, why, make) in _OUTS.items():
        root = folder / name
        (root / "air").mkdir(parents=True)
        (root / "air/a.wav").write_bytes(encode(speech(0.3)))
        (root / "keep/train/bone").mkdir(parents=True)
        for decoy in ("decoy.txt", "metadata.jsonl", "train/metadata.jsonl", "train/bone/a.flac"):
            (root / "keep" / decoy).write_text("not yours")
        cases.append(OutCase(name, root, make(root), verdict, why))
    return cases


def _link(root: Path, name: str, target: str) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).symlink_to(root / target)
    return root / "out"


def _file(root: Path, name: str, content: str = "not yours") -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(content)
    return root / "out"


def _forged(root: Path) -> Path:
    """Make a folder that claims to be ours, in which a split leads elsewhere."""
    account = '{"schema": 1, "bcsim": "0.1.0", "recipe": {}, "seed": 0}'
    _file(root, "out/dataset.json", account)
    return _link(root, "out/train", "keep/train")


_OUTS: dict[str, tuple[Verdict, str, Callable[[Path], Path]]] = {
    "out_new": (ACCEPT, "a new folder", lambda root: root / "out"),
    "out_new_deep": (ACCEPT, "new folders", lambda root: root / "a/b/c"),
    "out_empty": (ACCEPT, "an empty folder", lambda root: (root / "out").mkdir() or root / "out"),
    "out_odd_name": (
        ACCEPT,
        "any legal name",
        lambda root: root / os.fsdecode(b"-out \n$(touch canary)\xff"),
    ),
    "out_parent_is_link": (
        ACCEPT,
        "a disk that is mounted elsewhere",
        lambda root: (root / "other").mkdir() or _link(root, "disk", "other").parent / "disk/out",
    ),
    "out_equals_in": (REJECT, "the input", lambda root: root / "air"),
    "out_equals_in_dots": (REJECT, "the input", lambda root: root / "keep/../air"),
    "out_equals_in_link": (REJECT, "the input by a link", lambda r: _link(r, "out", "air")),
    "out_in_in": (REJECT, "within the input", lambda root: root / "air/out"),
    "out_around_in": (REJECT, "around the input", lambda root: root),
    "out_is_file": (REJECT, "a file", lambda root: _file(root, "out")),
    "out_below_file": (REJECT, "below a file", lambda root: _file(root, "out") / "pairs"),
    "out_is_device": (REJECT, "a device", lambda root: Path("/dev/null")),
    "out_is_fifo": (REJECT, "a pipe", lambda root: os.mkfifo(root / "out") or root / "out"),
    "out_is_foreign": (REJECT, "somebody's folder", lambda root: root / "keep"),
    "out_holds_a_file": (REJECT, "somebody's folder", lambda r: _file(r, "out/notes.txt")),
    "out_is_link_away": (REJECT, "a link to somebody's folder", lambda r: _link(r, "out", "keep")),
    "out_is_link_nowhere": (REJECT, "a link to nothing", lambda r: _link(r, "out", "gone")),
    "out_is_link_loop": (REJECT, "a link to itself", lambda root: _link(root, "out", "out")),
    "out_train_is_link": (REJECT, "a split elsewhere", lambda r: _link(r, "out/train", "keep")),
    "out_state_is_link": (
        REJECT,
        "a link of the state",
        lambda r: _link(r, "out/.bcsim.tmp", "keep"),
    ),
    "out_lock_is_link": (
        REJECT,
        "the lock would be written elsewhere",
        lambda root: _link(root, "out/.bcsim.tmp/lock", "keep/decoy.txt"),
    ),
    "out_forged": (REJECT, "it claims to be ours, and leads elsewhere", _forged),
    "out_forged_state": (
        REJECT,
        "an account that is none",
        lambda root: _file(root, "out/.bcsim.tmp/run.json", "[" * 100_000),
    ),
}
