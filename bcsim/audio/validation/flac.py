"""The header of FLAC; source: RFC 9639."""

import struct

from bcsim.audio.validation.base import CONVERT, COPY, MAX_CHUNKS, AudioError, AudioInfo, FileBytes

_MAX_FRAME_OVERHEAD = 32  # bytes of a frame beside its samples
_MAX_TRAILER = 1 << 12  # bytes of tags that some programs put behind the last frame
_MIN_FRAME = 10  # bytes: header 6, one constant channel 2, checksum 2


def read_flac(data: FileBytes) -> AudioInfo:
    """Check the header of FLAC, which may stand behind a tag."""
    place = data.start + 4
    if data.at(place, 4)[0] & 0x7F or data.at(place + 1, 3) != b"\0\0\x22":
        raise AudioError(f"FLAC without its first block (STREAMINFO): damaged; {COPY}")
    smallest, largest, packed = struct.unpack(">HH6xQ", data.at(place + 4, 18))
    rate, channels, bits = packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1
    frames = packed & (1 << 36) - 1
    if not 16 <= smallest <= largest:
        raise AudioError(f"FLAC with blocks of {smallest} to {largest} samples; {COPY}")
    if bits not in (8, 16, 24):
        raise AudioError(f"FLAC with {bits}-bit samples; {CONVERT} of 16 or 24 bits")
    for _ in range(MAX_CHUNKS):
        header = data.at(place, 4)
        place += 4 + int.from_bytes(header[1:], "big")
        if place >= data.size:
            raise AudioError(f"cut short: ends within its header, at {data.size}; {COPY}")
        if header[0] & 0x80:
            break
    else:
        raise AudioError(f"has more than {MAX_CHUNKS} blocks of metadata; {CONVERT}")
    first, second = data.at(place, 2)
    if first != 0xFF or second & 0xFE != 0xF8:
        raise AudioError(f"FLAC without samples behind its header: damaged; {COPY}")
    if frames == 0:
        raise AudioError(
            "FLAC that does not say how long it is (written to a pipe?); run flac on it again"
        )
    most = (data.size - place) // _MIN_FRAME * largest
    if frames > most:
        raise AudioError(
            f"cut short: claims {frames} samples, {data.size} bytes hold {most} at most; {COPY}"
        )
    raw = frames * channels * bits // 8 + (frames // smallest + 1) * _MAX_FRAME_OVERHEAD
    if data.size - place > raw + _MAX_TRAILER:
        raise AudioError(
            f"holds more than the {frames} samples that its header claims; run flac on it again"
        )
    codec = "PCM_S8" if bits == 8 else f"PCM_{bits}"
    return AudioInfo("FLAC", codec, channels, rate, frames, is_plain=data.start == 0)
