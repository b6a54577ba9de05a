"""What is let through to the decoder: every file's header is read here first.

libsndfile forgives too much: it returns half of a cut WAV, noise for 17 bits, and the first of two
Ogg streams, all without a word. So the content, never the name, has to be one of a few containers
and codecs, what the header claims has to be there, and what was decoded has to make sense.
"""

import math
from typing import Any, BinaryIO

from numpy.typing import NDArray

from bcsim.audio.validation.headers import (
    CONVERT,
    COPY,
    MAX_CHUNKS,
    Container,
    ContainerError,
    HeaderBytes,
    read_aiff,
    read_flac,
    read_wav,
)
from bcsim.audio.validation.streams import read_mp3, read_ogg

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 384_000
MAX_CHANNELS = 32
MAX_EXPANDED_S = 600.0  # below this, and below so many samples, nobody minds a large expansion
MAX_EXPANDED_SAMPLES = 1 << 25
# Times its size, in 16 bits: FLAC of speech reaches 5, Opus 100, FLAC of silence 600.
MAX_EXPANSION, MAX_EXPANSION_OF_MANY = 2_000, 250
MAX_MAGNITUDE = 64.0  # 36 dB over full scale: more than floats need, less than integers have
MP3_SLACK = 4 * 1152  # samples: encoders differ in what they count as delay and padding

_OTHERS = {
    **{b".snd": "AU audio", b"caff": "CAF audio", b"riff": "Wave64 audio", b"BW64": "BW64 audio"},
    **{b"RIFF": "WAV behind a tag", b"FORM": "AIFF behind a tag", b"OggS": "Ogg behind a tag"},
    **{b"wvpk": "WavPack audio", b"MAC ": "Monkey's Audio", b"#!AMR": "AMR audio"},
    **{b"NIST_1A": "SPHERE audio", b"Creative Voice": "VOC audio", b"\x30\x26\xb2\x75": "WMA"},
    **{b"\x1aE\xdf\xa3": "Matroska or WebM", b"MThd": "MIDI", b"PK\x03\x04": "a zip archive"},
    **{b"\x1f\x8b": "a gzip archive", b"BZh": "a bzip2 archive", b"\xfd7zXZ": "an xz archive"},
    **{
        b"7z\xbc\xaf": "a 7-Zip archive",
        b"\x89PNG": "a PNG image",
        b"\xff\xd8\xff": "a JPEG image",
    },
    **{b"GIF8": "a GIF image", b"%PDF": "a PDF", b"\x7fELF": "a program (ELF)", b"MZ": "a program"},
    **{b"\x93NUMPY": "a numpy array", b"MATLAB": "a MATLAB file", b"\x80\x04": "a Python pickle"},
    **{b"version https://git-lfs": "a Git LFS pointer (run git lfs pull)", b"<": "HTML or XML"},
}


def preflight(file: BinaryIO, whole: bool = True) -> Container:
    """Read a file's header, and check what it claims against what is there.

    Args:
        file: open for reading and seeking; it may stand anywhere, and is left anywhere.
        whole: walk and check all pages of an Ogg file, which takes as long as reading it. Nothing
            but the header of any other container is read.

    Raises:
        ContainerError: if it is nothing that bcsim reads, or cut short, or damaged.
    """
    data = HeaderBytes(file)
    if data.size == 0:
        raise ContainerError(f"is empty; {COPY}")
    start = _after_tags(data)
    magic = data.upto(start, 4)
    if start == 0 and magic in (b"RIFF", b"RIFX", b"RF64"):
        found = read_wav(data, magic)
    elif start == 0 and magic == b"FORM":
        found = read_aiff(data)
    elif start == 0 and magic == b"OggS":
        found = read_ogg(data, whole)
    elif magic == b"fLaC":
        found = read_flac(data, start)
    elif len(magic) == 4 and int.from_bytes(magic, "big") >> 21 == 0x7FF:
        found = read_mp3(data, start)
    else:
        what = _described(data.upto(start, 64))
        raise ContainerError(f"holds {what}, not WAV, FLAC, Ogg, AIFF or MP3; {CONVERT}")
    if not 1 <= found.channels <= MAX_CHANNELS:
        raise ContainerError(
            f"has {found.channels} channels, not 1 to {MAX_CHANNELS}; extract those you need"
        )
    if not MIN_RATE_HZ <= found.sample_rate <= MAX_RATE_HZ:
        raise ContainerError(f"a sample rate of {found.sample_rate} Hz is not audio; {CONVERT}")
    if found.frames is not None:
        _check_facts(found.frames, found.channels, found.sample_rate, data.size)
    return found


def _check_facts(frames: int, channels: int, rate: int, size: int) -> None:
    """Refuse nothing at all, and what grows out of proportion: an expansion bomb."""
    if frames == 0:
        raise ContainerError("holds 0 samples; leave the file out")
    samples = frames * channels
    many = samples > MAX_EXPANDED_SAMPLES
    most = MAX_EXPANSION_OF_MANY if many else MAX_EXPANSION
    if (many or frames > MAX_EXPANDED_S * rate) and 2 * samples > most * size:
        raise ContainerError(
            f"{size} bytes expand to {frames / rate:.0f} s: it holds hardly anything but digital "
            "silence; cut it"
        )


def _after_tags(data: HeaderBytes) -> int:
    """Return where a file begins behind tags (ID3v2) that were put in front of it."""
    start = 0
    for _ in range(MAX_CHUNKS):
        if data.upto(start, 3) != b"ID3":
            return start
        size = 0
        for digit in data.at(start + 6, 4):  # seven bits each
            size = size << 7 | digit & 0x7F
        start += 10 + size
        if start >= data.size:
            raise ContainerError(f"cut short: ends within its ID3 tag of {size} bytes; {COPY}")
    raise ContainerError(f"begins with more than {MAX_CHUNKS} tags; {CONVERT}")


def _described(head: bytes) -> str:
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


def check_count(found: Container, count: int, claimed: int) -> list[str]:
    """Refuse a file of which fewer samples could be decoded than it claims.

    Returns:
        what to warn of: the end of an MP3 may be missing.

    Raises:
        ContainerError: if there are too few, or none.
    """
    if count == 0:
        raise ContainerError("holds 0 samples; leave the file out")
    if count + (MP3_SLACK if found.name == "MP3" else 0) < claimed:
        raise ContainerError(
            f"cut short or damaged: claims {claimed} samples, {count} can be decoded; {COPY}"
        )
    return [f"ends {claimed - count} samples before its header claims"] * (count < claimed)


def loudest(samples: NDArray[Any]) -> float:
    """Return the largest magnitude of what was decoded.

    Args:
        samples: (T, C), full scale at 1.

    Raises:
        ContainerError: if it is not finite, or far above full scale.
    """
    if not samples.size:
        return 0.0
    low, high = float(samples.min()), float(samples.max())  # not a number if any sample is not
    if not math.isfinite(low) or not math.isfinite(high):
        raise ContainerError("holds samples that are not finite numbers; write it anew")
    if (largest := max(high, -low)) > MAX_MAGNITUDE:
        raise ContainerError(
            f"reaches {largest:.3g} times full scale: were integers stored as floats? Divide them "
            "by 32768, or what their bits call for"
        )
    return largest


def oddities(found: Container, largest: float) -> list[str]:
    """Return what to warn of in a file that can be used."""
    odd = list(found.warnings)
    if found.channels > 1:
        odd.append(f"{found.channels} channels averaged to one")
    if largest > 1.01:
        odd.append(f"peaks at {largest:.3g} of full scale")
    if largest == 0:
        odd.append("holds nothing but digital silence")
    return odd
