"""Ogg and MP3: files without a header of their own, streams of pages and frames.

Sources: RFC 3533 (Ogg), RFC 7845 (Opus in it), the Vorbis I specification, and
ISO/IEC 11172-3 and 13818-3 (MP3).
"""

import struct
import zlib

from bcsim.audio.validation.headers import (
    CONVERT,
    COPY,
    Container,
    ContainerError,
    HeaderBytes,
    check_size,
)

MAX_PAGES = 1_000_000  # of an Ogg stream; usual ones take 4 kB
_OGG_OTHERS = {b"\x7fFLAC": "FLAC", b"Speex": "Speex", b"\x80theora": "video", b"fishead": "video"}
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000)
_MPEG_KBPS_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG_KBPS_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG_RATES = (44_100, 48_000, 32_000)
_MPEG_SAME = 0xFFFE0C00  # bits of a header that all frames share: sync, version, layer, rate
_MIN_MPEG_FRAME = 24  # bytes: 8 kbit/s at 24 kHz
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def read_ogg(data: HeaderBytes, whole: bool) -> Container:
    """Read the first page of an Ogg file and, if `whole`, check all others."""
    flags, *_, lacing, place = _page(data, 0)
    head = data.at(place, sum(lacing))
    if head.startswith(b"\x01vorbis") and len(head) == 30:
        version, channels, rate, blocks = struct.unpack("<IBI12xB", head[7:29])
        codec, longest, skipped = "VORBIS", 1 << (blocks >> 4), 0
    elif head.startswith(b"OpusHead") and len(head) >= 19:
        version, channels, skipped, rate = struct.unpack("<BBHI", head[8:16])
        if rate < 1 << 31:  # libsndfile decodes at the next rate that Opus knows
            rate = next((known for known in _OPUS_RATES if rate <= known), 48_000)
        version, codec, longest = version >> 4, "OPUS", 5760  # 120 ms at 48 kHz
    else:
        found = (name for magic, name in _OGG_OTHERS.items() if head.startswith(magic))
        raise ContainerError(f"Ogg with {next(found, 'something unknown')} inside; {CONVERT}")
    if version or not flags & 2:
        raise ContainerError(f"Ogg that does not begin with its beginning: damaged; {COPY}")
    if not whole:
        return Container("OGG", codec, channels, rate)
    last, packets, warnings = _walk_pages(data, codec)
    if last > packets * longest:
        raise ContainerError(
            f"damaged: claims {last} samples, its {packets} packets hold {packets * longest} at "
            f"most; {COPY}"
        )
    # Opus counts at 48 kHz, and what the decoder needs to settle.
    frames = max(0, last - skipped) * rate // 48_000 if codec == "OPUS" else last
    return Container("OGG", codec, channels, rate, frames, warnings)


def _page(data: HeaderBytes, place: int) -> tuple[int, int, int, int, bytes, int]:
    """Return flags, position, stream, number, sizes of the segments and place of the first."""
    version, flags, position, stream, number, count = struct.unpack(
        "<BBqII4xB", data.at(place + 4, 23)
    )
    if version != 0:
        raise ContainerError(f"Ogg of an unknown version ({version}): damaged; {COPY}")
    return flags, position, stream, number, data.at(place + 27, count), place + 27 + count


def _walk_pages(data: HeaderBytes, codec: str) -> tuple[int, int, tuple[str, ...]]:
    """Check all pages of an Ogg file; return its last position, its packets, and warnings."""
    place, last, packets, flags = 0, 0, 0, 0
    stream = int.from_bytes(data.at(14, 4), "little")
    for expected in range(MAX_PAGES):
        if place == data.size:
            break
        if (magic := data.upto(place, 4)) != b"OggS":
            if flags & 4:
                return last, packets, (f"{data.size - place} bytes behind its end are left out",)
            what = "cut short" if b"OggS".startswith(magic) else "damaged"
            raise ContainerError(f"{what}: no Ogg page at byte {place}; {COPY}")
        ended = flags & 4
        flags, position, serial, number, lacing, start = _page(data, place)
        if serial != stream or ended:
            raise ContainerError(
                f"holds more than one stream, and only the first would be read; {CONVERT}"
            )
        end = start + sum(lacing)
        check_size(end - place, data.size - place, "bytes in its last page")
        page = data.at(place, end - place)
        # The checksum is zlib's polynomial with the bits the other way round, and no inversion.
        check = zlib.crc32((page[:22] + bytes(4) + page[26:]).translate(_REVERSED), 0xFFFFFFFF)
        if check ^ 0xFFFFFFFF != int.from_bytes(page[22:26].translate(_REVERSED), "big"):
            raise ContainerError(f"damaged: wrong checksum of the page at byte {place}; {COPY}")
        if number != expected or (position != -1 and position < last):
            raise ContainerError(f"damaged: its pages are not in order at byte {place}; {COPY}")
        last = max(last, position)
        packets += len(lacing) - lacing.count(255)
        place = end
    else:
        raise ContainerError(f"has more than {MAX_PAGES} pages; {CONVERT}")
    if flags & 4:
        return last, packets, ()
    if codec == "OPUS":  # which libsndfile then does not decode
        raise ContainerError(f"cut short: its last page is not marked as the end; {COPY}")
    return last, packets, ("its last page is not marked as the end; perhaps it was cut short",)


def read_mp3(data: HeaderBytes, start: int) -> Container:
    """Read the first frames of MP3, which may stand behind a tag."""
    header = int.from_bytes(data.at(start, 4), "big")
    first, channels, rate, frame = _mpeg(header)
    there = data.size - start
    check_size(frame, there, "bytes in its first frame")
    if there >= frame + 4:
        following = int.from_bytes(data.at(start + frame, 4), "big")
        if (header ^ following) & _MPEG_SAME:
            raise ContainerError(f"begins like MP3, and does not go on like it; {CONVERT}")
    # Behind the header lies side information; then the first frame may say how long all is.
    side = {(True, 1): 17, (True, 2): 32, (False, 1): 9, (False, 2): 17}[first, channels]
    info = data.upto(start + 4 + side, 16)
    if info[:4] in (b"Xing", b"Info") and len(info) == 16:
        has, *claims = struct.unpack(">3I", info[4:])
        frames = claims.pop(0) if has & 1 else 0
        claimed = claims.pop(0) if has & 2 else 0
        if 0.99 * claimed > there:
            check_size(claimed, there, "bytes")
        check_size(frames * _MIN_MPEG_FRAME, there, "bytes or more")
    return Container("MP3", "MPEG_LAYER_III", channels, rate)


def _mpeg(header: int) -> tuple[bool, int, int, int]:
    """Return of a frame's header: is it MPEG-1, its channels, rate, and bytes of the frame."""
    version, layer = header >> 19 & 3, header >> 17 & 3  # 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
    kbps, rate = header >> 12 & 15, header >> 10 & 3
    if layer != 1:  # layer III
        raise ContainerError(f"is MPEG, and not MP3; {CONVERT}")
    if version == 1 or kbps in (0, 15) or rate == 3:
        raise ContainerError(f"begins like MP3, with a header that makes no sense; {CONVERT}")
    rate_hz = _MPEG_RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    words, bit_rate = (144, _MPEG_KBPS_1) if version == 3 else (72, _MPEG_KBPS_2)
    length = words * bit_rate[kbps - 1] * 1000 // rate_hz + (header >> 9 & 1)
    return version == 3, 1 if header >> 6 & 3 == 3 else 2, rate_hz, length
