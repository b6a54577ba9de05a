"""The headers of WAV, AIFF and FLAC, byte by byte.

Sources: Microsoft's "Multiple Channel Audio Data and WAVE Files"; EBU Tech 3306 (RF64); Apple's
AIFF-C draft of 1991; RFC 9639 (FLAC).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_CHUNKS = 1_000  # before the samples; real files have about ten

COPY = "copy the file again"
CONVERT = "convert it to WAV (PCM) or FLAC"
_SOX_ENDLESS = 0x7FFFF000  # bytes that SoX claims when it writes to a pipe, in whole frames
_ENDLESS = {0xFFFFFFFF, _SOX_ENDLESS}  # and ffmpeg
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # of what wFormatTag could have said
_WAV_CODECS = {
    **{(1, 8): "PCM_U8", (1, 16): "PCM_16", (1, 24): "PCM_24", (1, 32): "PCM_32"},
    **{(3, 32): "FLOAT", (3, 64): "DOUBLE", (6, 8): "ALAW", (7, 8): "ULAW"},
}
_WAV_TAGS = {
    **{1: "PCM", 2: "MS ADPCM", 3: "float", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM"},
    **{0x31: "GSM 6.10", 0x50: "MPEG", 0x55: "MP3", 0xFF: "AAC", 0x161: "WMA"},
}
_AIFF_CODECS = {
    **{(b"raw ", 8): "PCM_U8", (b"none", 8): "PCM_S8", (b"none", 16): "PCM_16"},
    **{(b"none", 24): "PCM_24", (b"none", 32): "PCM_32"},
}
_AIFF_SIZED = {b"fl32": ("FLOAT", 4), b"fl64": ("DOUBLE", 8), b"ulaw": ("ULAW", 1)}
_AIFF_SIZED |= {b"alaw": ("ALAW", 1), b"in24": ("PCM_24", 3), b"in32": ("PCM_32", 4)}
_AIFF_SIZED |= {b"42n1": ("PCM_24", 3), b"23ni": ("PCM_32", 4)}  # little-endian
_MAX_FLAC_OVERHEAD = 32  # bytes of a frame beside its samples
_FLAC_TRAILER = 1 << 12  # bytes of tags that some programs put behind the last frame
_MIN_FLAC_FRAME = 10  # bytes: header 6, one constant channel 2, checksum 2
_BEGIN = 1024  # bytes


class ContainerError(ValueError):
    """Why a file is not taken as audio, in a few words, and the remedy."""


@dataclass(frozen=True)
class Container:
    """What a file's header says, once it has been found to be sound.

    Args:
        name: WAV, RF64, AIFF, FLAC, OGG or MP3.
        codec: by libsndfile's name of it, such as "PCM_16".
        channels: at least one.
        sample_rate: in Hz, at which libsndfile decodes it.
        frames: samples of each channel; None where only decoding tells (MP3).
        warnings: what is odd about it, but does no harm.
    """

    name: str
    codec: str
    channels: int
    sample_rate: int
    frames: int | None = None
    warnings: tuple[str, ...] = ()


class HeaderBytes:
    """A file's bytes, asked for by their place."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        file.seek(0)
        self._begin = file.read(_BEGIN)  # most headers are asked for nothing else

    def upto(self, start: int, count: int) -> bytes:
        """Return `count` bytes, or as many of them as there are."""
        if start + count <= len(self._begin) or start >= self.size:
            return self._begin[start : start + count]
        self._file.seek(start)
        return self._file.read(count)

    def at(self, start: int, count: int) -> bytes:
        """Return `count` bytes of a header, which have to be there."""
        found = self.upto(start, count)
        if len(found) < count:
            raise ContainerError(f"cut short: ends within its header, at {self.size}; {COPY}")
        return found


def _shown(name: bytes) -> str:
    return ascii(name.decode("latin-1"))


def _chunks(data: HeaderBytes, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, place and size of the chunks of WAV and AIFF; the last may overrun the file."""
    start = 12
    for _ in range(MAX_CHUNKS):
        if start + 8 > data.size:
            return
        name, size = struct.unpack(f"{order}4sI", data.at(start, 8))
        yield name, start + 8, size
        start += 8 + size + size % 2
        if start > data.size + 1:  # the last byte of padding is often left out
            raise ContainerError(
                f"cut short: its chunk {_shown(name)} claims {size} bytes, and the file ends "
                f"{start - data.size} before; {COPY}"
            )
    raise ContainerError(f"has more than {MAX_CHUNKS} chunks; {CONVERT}")


def check_size(claimed: int, there: int, what: str = "bytes of samples") -> None:
    """Refuse a file that claims more than is there."""
    if claimed > there:
        raise ContainerError(f"cut short: claims {claimed} {what}, {there} are there; {COPY}")


def read_wav(data: HeaderBytes, magic: bytes) -> Container:
    """Read the header of WAV: RIFF, RIFX (which counts big-endian), RF64."""
    order = ">" if magic == b"RIFX" else "<"
    name = "RF64" if magic == b"RF64" else "WAV"
    (form_size,) = struct.unpack(f"{order}I", data.at(4, 4))
    if (form := data.at(8, 4)) != b"WAVE":
        raise ContainerError(f"holds RIFF of the kind {_shown(form)}, not WAV; {CONVERT}")
    sizes, layout = None, None
    for chunk, start, size in _chunks(data, order):
        if chunk == b"ds64" and name == "RF64" and size >= 28:
            sizes = struct.unpack("<QQ", data.at(start, 16))
        elif chunk == b"fmt " and layout is None:
            layout = _wav_layout(data, start, size, order)
        elif chunk == b"data":
            break
    else:
        raise ContainerError(f"has no chunk of samples ('data'): damaged or cut short; {COPY}")
    if layout is None:
        raise ContainerError(f"does not say what its samples are ('fmt '); {CONVERT}")
    codec, channels, rate, align = layout
    there = data.size - start
    warnings = []
    if name == "RF64":
        if sizes is None or size not in (0xFFFFFFFF, sizes[1]):
            raise ContainerError(f"RF64 without a size of its samples ('ds64'); {CONVERT}")
        size = sizes[1]
    elif there < size and size in (*_ENDLESS, _SOX_ENDLESS // align * align):
        warnings.append("its header does not say how long it is (written to a pipe?)")
        size = there
    elif form_size > data.size - 7 and form_size not in _ENDLESS:  # padding may be missing
        warnings.append(f"its header claims {form_size + 8} bytes, {data.size} are there")
    if size == 0 and there > 0:
        raise ContainerError(
            f"its header claims no samples, and {there} bytes follow; have the recorder or "
            "ffmpeg mend it"
        )
    check_size(size, there)
    if size % align:
        warnings.append(f"ends within a sample; the last {size % align} bytes are left out")
    return Container(name, codec, channels, rate, size // align, tuple(warnings))


def _wav_layout(data: HeaderBytes, start: int, size: int, order: str) -> tuple[str, int, int, int]:
    """Return codec, channels, rate and bytes of a frame."""
    if size < 16:
        raise ContainerError(f"its 'fmt ' chunk is too short ({size} bytes); {COPY}")
    tag, channels, rate, _, align, bits = struct.unpack(f"{order}HHIIHH", data.at(start, 16))
    if tag == 0xFFFE and size >= 40:
        valid, guid = struct.unpack(f"{order}H4x16s", data.at(start + 18, 22))
        if guid[2:] != _GUID_TAIL or valid > bits:
            raise ContainerError(f"WAV with samples of an unknown kind; {CONVERT}")
        tag = int.from_bytes(guid[:2], "little")
    codec = _WAV_CODECS.get((tag, bits))
    if codec is None:
        kind = _WAV_TAGS.get(tag, f"format {tag:#06x}")
        raise ContainerError(f"WAV with {bits}-bit {kind} inside; {CONVERT}")
    if align == 0 or align != channels * bits // 8:
        raise ContainerError(
            f"WAV whose {channels} channels of {bits} bits take {align} bytes; {CONVERT}"
        )
    return codec, channels, rate, align


def read_aiff(data: HeaderBytes) -> Container:
    """Read the header of AIFF or AIFF-C."""
    form = data.at(8, 4)
    if form not in (b"AIFF", b"AIFC"):
        raise ContainerError(f"holds IFF of the kind {_shown(form)}, not AIFF; {CONVERT}")
    common, sound = None, None
    for chunk, start, size in _chunks(data, ">"):
        if chunk == b"COMM":
            if size < 22 if form == b"AIFC" else size != 18:
                raise ContainerError(f"its 'COMM' chunk has {size} bytes; {COPY}")
            common = data.at(start, 22 if form == b"AIFC" else 18)
        elif chunk == b"SSND":
            check_size(size, data.size - start)
            if size < 8:
                raise ContainerError("holds 0 samples; leave the file out")
            sound = size - 8 - int.from_bytes(data.at(start, 4), "big")
        if common is not None and sound is not None:
            break
    else:
        raise ContainerError(f"lacks 'COMM' or 'SSND': damaged or cut short; {COPY}")
    channels, frames, bits, exponent, mantissa = struct.unpack(">HIHHQ", common[:18])
    # 80 bits: sign, exponent with an offset of 16383, 64 bits of which the first is the integer
    shift = 16383 + 63 - exponent
    rate = mantissa >> shift if 0 <= shift < 64 else 0
    kind = common[18:22].lower() or b"none"
    kind = b"none" if kind in (b"sowt", b"twos") else kind  # little-endian, big-endian
    codec, width = _AIFF_SIZED.get(kind, (_AIFF_CODECS.get((kind, bits)), bits // 8))
    if codec is None:
        raise ContainerError(f"AIFF with {bits}-bit {_shown(kind)} inside; {CONVERT}")
    there = max(0, sound) // max(1, width * channels)
    check_size(frames, there, "samples")
    odd = f"its header claims {frames} samples, {there} are there"
    return Container("AIFF", codec, channels, rate, there, (odd,) * (frames != there))


def read_flac(data: HeaderBytes, start: int) -> Container:
    """Read the header of FLAC, which may stand behind a tag."""
    place = start + 4
    if data.at(place, 4)[0] & 0x7F or data.at(place + 1, 3) != b"\0\0\x22":
        raise ContainerError(f"FLAC without its first block (STREAMINFO): damaged; {COPY}")
    smallest, largest, packed = struct.unpack(">HH6xQ", data.at(place + 4, 18))
    rate, channels, bits = packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1
    frames = packed & (1 << 36) - 1
    if not 16 <= smallest <= largest:
        raise ContainerError(f"FLAC with blocks of {smallest} to {largest} samples; {COPY}")
    if bits not in (8, 16, 24):
        raise ContainerError(f"FLAC with {bits}-bit samples; {CONVERT} of 16 or 24 bits")
    for _ in range(MAX_CHUNKS):
        header = data.at(place, 4)
        place += 4 + int.from_bytes(header[1:], "big")
        if place >= data.size:
            raise ContainerError(f"cut short: ends within its header, at {data.size}; {COPY}")
        if header[0] & 0x80:
            break
    else:
        raise ContainerError(f"has more than {MAX_CHUNKS} blocks of metadata; {CONVERT}")
    first, second = data.at(place, 2)
    if first != 0xFF or second & 0xFE != 0xF8:
        raise ContainerError(f"FLAC without samples behind its header: damaged; {COPY}")
    if frames == 0:
        raise ContainerError(
            "FLAC that does not say how long it is (written to a pipe?); run flac on it again"
        )
    most = (data.size - place) // _MIN_FLAC_FRAME * largest
    if frames > most:
        raise ContainerError(
            f"cut short: claims {frames} samples, {data.size} bytes hold {most} at most; {COPY}"
        )
    raw = frames * channels * bits // 8 + (frames // smallest + 1) * _MAX_FLAC_OVERHEAD
    if data.size - place > raw + _FLAC_TRAILER:
        raise ContainerError(
            f"holds more than the {frames} samples that its header claims; run flac on it again"
        )
    return Container("FLAC", {8: "PCM_S8"}.get(bits, f"PCM_{bits}"), channels, rate, frames)
