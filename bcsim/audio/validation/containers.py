"""The containers that bcsim reads, and the check of a header by whichever it is.

libsndfile forgives too much: it returns half of a cut WAV, noise for 17 bits, and the first of two
Ogg streams, all without a word. So the content, never the name, has to be one of a few containers
and codecs, and what the header claims has to be there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from bcsim.audio.validation.aiff import read_aiff
from bcsim.audio.validation.au import read_au
from bcsim.audio.validation.base import CONVERT, UNKNOWN_LENGTH, AudioError, AudioInfo, FileBytes
from bcsim.audio.validation.caf import read_caf
from bcsim.audio.validation.flac import read_flac
from bcsim.audio.validation.mp3 import is_frame, read_mp3
from bcsim.audio.validation.ogg import read_ogg
from bcsim.audio.validation.sphere import read_sphere
from bcsim.audio.validation.w64 import read_w64
from bcsim.audio.validation.wav import read_wav

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 384_000
MAX_CHANNELS = 32
MAX_EXPANDED_S = 600.0  # below this, and below so many samples, any expansion fits into memory
MAX_EXPANDED_SAMPLES = 1 << 25
# Times its size, in 16 bits: FLAC of speech reaches 5, Opus 100, FLAC of silence 600.
MAX_EXPANSION, MAX_EXPANSION_OF_MANY = 2_000, 250


@dataclass(frozen=True)
class Container:
    """A container that bcsim reads."""

    name: str  # for messages; `AudioInfo.container` repeats it
    suffixes: tuple[str, ...]  # of its files; the first is the usual one
    begins: Callable[[bytes], bool]  # tells whether the first four bytes behind tags begin one
    read: Callable[[FileBytes], AudioInfo]  # checks the header
    may_be_tagged: bool = False  # ID3v2 tags may stand before it


CONTAINERS = (
    Container("WAV", (".wav", ".wave"), {b"RIFF", b"RIFX", b"RF64"}.__contains__, read_wav),
    Container("FLAC", (".flac",), b"fLaC".__eq__, read_flac, may_be_tagged=True),
    Container("Ogg", (".ogg", ".oga", ".opus"), b"OggS".__eq__, read_ogg),
    Container("AIFF", (".aiff", ".aif", ".aifc"), b"FORM".__eq__, read_aiff),
    Container("Wave64", (".w64",), b"riff".__eq__, read_w64),
    Container("CAF", (".caf",), b"caff".__eq__, read_caf),
    Container("AU", (".au", ".snd"), {b".snd", b"dns."}.__contains__, read_au),
    Container("SPHERE", (".sph", ".nist"), b"NIST".__eq__, read_sphere),
    Container("MP3", (".mp3",), is_frame, read_mp3, may_be_tagged=True),
)

_OTHERS = {  # first bytes of what is no audio, or no audio that bcsim reads
    **{b"BW64": "BW64 audio", b"riff": "Wave64 behind a tag", b".snd": "AU behind a tag"},
    **{b"RIFF": "WAV behind a tag", b"FORM": "AIFF behind a tag", b"OggS": "Ogg behind a tag"},
    **{b"wvpk": "WavPack audio", b"MAC ": "Monkey's Audio", b"#!AMR": "AMR audio"},
    **{b"Creative Voice": "VOC audio", b"\x30\x26\xb2\x75": "WMA"},
    **{b"\x1aE\xdf\xa3": "Matroska or WebM", b"MThd": "MIDI", b"PK\x03\x04": "a zip archive"},
    **{b"\x1f\x8b": "a gzip archive", b"BZh": "a bzip2 archive", b"\xfd7zXZ": "an xz archive"},
    **{b"7z\xbc\xaf": "a 7-Zip archive", b"\x89PNG": "a PNG image", b"GIF8": "a GIF image"},
    **{b"\xff\xd8\xff": "a JPEG image", b"%PDF": "a PDF", b"\x7fELF": "a program (ELF)"},
    **{b"\x93NUMPY": "a numpy array", b"MATLAB": "a MATLAB file", b"<": "HTML or XML"},
    **{b"\x80\x04": "a Python pickle"},
    **{b"version https://git-lfs": "a Git LFS pointer (run git lfs pull)", b"MZ": "a program"},
}


def check_header(file: BinaryIO, whole: bool = True) -> AudioInfo:
    """Check the header of an open file at any position, and that what it claims is there.

    With `whole`, all pages of an Ogg file are read; of all other containers only the header is.

    Raises:
        AudioError: if the file is none that bcsim reads, cut short, or damaged.
    """
    data = FileBytes(file, whole)
    magic = data.upto(data.start, 4)
    for container in CONTAINERS:
        if container.begins(magic) and (container.may_be_tagged or data.start == 0):
            header = container.read(data)
            break
    else:
        *names, last = (container.name for container in CONTAINERS)
        raise AudioError(
            f"holds {_described(data.upto(data.start, 64))}, not {', '.join(names)} or {last}; "
            f"{CONVERT}"
        )
    if not 1 <= header.channels <= MAX_CHANNELS:
        raise AudioError(
            f"has {header.channels} channels, not 1 to {MAX_CHANNELS}; extract those you need"
        )
    if not MIN_RATE_HZ <= header.sample_rate <= MAX_RATE_HZ:
        raise AudioError(f"a sample rate of {header.sample_rate} Hz is not audio; {CONVERT}")
    if header.frames != UNKNOWN_LENGTH:
        _check_length(header, data.size)
    return header


def _check_length(header: AudioInfo, size: int) -> None:
    """Check that a file holds samples, and not far more of them than its size explains."""
    if header.frames == 0:
        raise AudioError("holds 0 samples; leave the file out")
    samples = header.frames * header.channels
    many = samples > MAX_EXPANDED_SAMPLES
    most = MAX_EXPANSION_OF_MANY if many else MAX_EXPANSION
    if (many or header.duration_s > MAX_EXPANDED_S) and 2 * samples > most * size:
        raise AudioError(
            f"{size} bytes expand to {header.duration_s:.0f} s: it holds hardly anything but "
            "digital silence; cut it"
        )


def _described(head: bytes) -> str:
    """Say what a file holds that is none of the containers."""
    if head[4:8] == b"ftyp":
        return "MP4 (AAC)"
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            return name
    if not head.strip(b"\0"):
        return "nothing but zeros"
    try:
        text = head.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return "unknown bytes"
    return "text" if text.replace("\n", "").replace("\r", "").isprintable() else "unknown bytes"
