"""Files whose names are legal and unwelcome, and links and devices among the recordings."""

import os
import socket
from pathlib import Path

from tests.hostile.case import (
    ACCEPT,
    REJECT,
    Case,
    Cases,
    encode,
    speech,
)

SECONDS = 0.3
# Every name is whole: what is not ASCII stands around a part that is.
NAMES: dict[str, bytes] = {
    "name_nfc": "name_nfc_\u00e9.wav".encode(),
    "name_nfd": "name_nfd_e\u0301.wav".encode(),
    "name_kanji": "\u8a9e name_kanji.wav".encode(),
    "name_emoji": "\U0001f399 name_emoji.wav".encode(),
    "name_right_to_left": "\u202ename_right_to_left\u202e.wav".encode(),
    "name_zero_width": "\u200bname_zero_width\u200b.wav".encode(),
    "name_newline": b"name_newline\nError: all is well.wav",
    "name_return": b"\rname_return\r.wav",
    "name_tab": b"\tname_tab\t.wav",
    "name_bell": b"\aname_bell\b.wav",
    "name_ansi": b"\x1b[31mname_ansi\x1b[0m\x1b[2J.wav",
    "name_title": b"\x1b]0;name_title\a.wav",
    "name_not_utf8": b"\xff\xfename_not_utf8\x80.wav",
    "name_latin1": b"name_latin1_\xe9.wav",
    "name_dash": b"-name_dash.wav",
    "name_rf": b"--overwrite name_rf -rf.wav",
    "name_shell": b"$(touch canary) name_shell.wav",
    "name_backtick": b"`touch canary` name_backtick.wav",
    "name_semicolon": b"; touch canary; name_semicolon.wav",
    "name_pipe": b"name_pipe | touch canary & .wav",
    "name_quotes": b'"name_quotes\' "".wav',
    "name_percent": b"%s%n%d name_percent %20.wav",
    "name_braces": b"{name_braces}{0}.wav",
    "name_markup": b"[red]name_markup[bold]<script>.wav",
    "name_backslash": b"C:\\..\\name_backslash\\x.wav",
    "name_glob": b"*name_glob?[a].wav",
    "name_spaces": b"  name_spaces  .wav",
    "name_dots": b"name_dots....wav",
    "name_tilde": b"~name_tilde.wav",
    "name_colon": b"C:name_colon.wav",
    "name_reserved": b"con name_reserved.wav",
    "name_upper": b"UPPER name_upper.WAV",
    "name_case": b"name_case twin.wav",
    "NAME_CASE": b"NAME_CASE TWIN.wav",
    "name_255_bytes": b"name_255_bytes " + b"x" * 221 + b" name_255_bytes.wav",
    "name_255_unicode": b"name_255_unicode " + "\u00e9".encode() * 117 + b".wav",
}


def write_names(folder: Path) -> list[Case]:
    """Write sound files under names of every kind, and files of equal stems."""
    cases = Cases(folder)
    content = encode(speech(SECONDS))
    for name, raw in NAMES.items():
        assert len(raw) <= 255
        file_name = os.fsdecode(raw)
        cases.add(file_name, content, ACCEPT, "any legal name works", seconds=SECONDS, name=name)
    for suffix, container in (("wav", "WAV"), ("flac", "FLAC"), ("aiff", "AIFF")):
        content = encode(speech(SECONDS), container)
        cases.add(f"dup.{suffix}", content, ACCEPT, "equal stems are different recordings")
    content = encode(speech(SECONDS))
    cases.add("dup.wav.wav", content, ACCEPT, "a stem that is another's name")
    cases.add("dup%2Ewav.wav", content, ACCEPT, "what another name is escaped to")
    return cases.found


def write_names_of_bad_files(folder: Path) -> list[Case]:
    """Write the same names over files that are no audio: their error lines are to be read."""
    cases = Cases(folder)
    for name, raw in NAMES.items():
        file_name = os.fsdecode(raw.replace(b"name_", b"bad__").replace(b"NAME_", b"BAD__"))
        assert len(os.fsencode(file_name)) <= 255
        bad = name.replace("name_", "bad__").replace("NAME_", "BAD__")
        cases.add(file_name, b"not audio", REJECT, "text under such a name", name=bad)
    return cases.found


def write_links(folder: Path, elsewhere: Path) -> list[Case]:
    """Write links, loops, pipes and devices: a walk ends, and nothing blocks.

    Args:
        folder: where to.
        elsewhere: folder outside, which links point to.
    """
    cases = Cases(folder)
    elsewhere.mkdir(parents=True, exist_ok=True)
    (elsewhere / "sound.wav").write_bytes(encode(speech(SECONDS)))
    links = {
        "link_to_file.wav": (elsewhere / "sound.wav", ACCEPT, "a link to a recording"),
        "link_to_nowhere.wav": (elsewhere / "gone.wav", REJECT, "a link to nothing"),
        "link_to_itself.wav": (Path("link_to_itself.wav"), REJECT, "a link that never ends"),
        "link_to_zero.wav": (Path("/dev/zero"), REJECT, "a device without an end"),
        "link_to_null.wav": (Path("/dev/null"), REJECT, "a device without a beginning"),
    }
    for name, (target, verdict, why) in links.items():
        (folder / name).symlink_to(target)
        cases.add(name, None, verdict, why)
    (folder / "loop").mkdir()
    (folder / "loop/again").symlink_to(folder)  # is not followed: a circle
    (folder / "away").symlink_to(elsewhere)
    cases.add("away/sound.wav", None, ACCEPT, "a recording in a folder that a link leads to")
    (folder / "empty folder.wav").mkdir()
    os.mkfifo(folder / "fifo.wav")
    cases.add("fifo.wav", None, REJECT, "a pipe that nobody writes to")
    os.mkfifo(folder / "fifo.flac")
    cases.add("fifo.flac", None, REJECT, "a pipe that nobody writes to")
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(folder)  # such paths have to be short
        try:
            listener.bind("socket.wav")
        finally:
            os.chdir(here)
    cases.add("socket.wav", None, REJECT, "a socket")
    if os.getuid() != 0:  # who may read everything
        path = cases.add("forbidden.wav", encode(speech(SECONDS)), REJECT, "may not be read")
        path.chmod(0)
    return cases.found
