"""Ogg with Vorbis or Opus in it: a stream of pages, whose last one tells the length.

Sources: RFC 3533 (Ogg), RFC 7845 (Opus in it), the Vorbis I specification.
"""

import struct
import zlib

from bcsim.audio.validation.base import CONVERT, COPY, AudioError, AudioInfo, FileBytes, check_size

MAX_PAGES = 1_000_000  # of an Ogg stream; usual ones take 4 kB
_OGG_OTHERS = {b"\x7fFLAC": "FLAC", b"Speex": "Speex", b"\x80theora": "video", b"fishead": "video"}
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def read_ogg(data: FileBytes) -> AudioInfo:
    """Check the first page of an Ogg file and, where `data.whole` allows it, all others."""
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
        raise AudioError(f"Ogg with {next(found, 'something unknown')} inside; {CONVERT}")
    if version or not flags & 2:
        raise AudioError(f"Ogg that does not begin with its beginning: damaged; {COPY}")
    if not data.whole:
        return AudioInfo("Ogg", codec, channels, rate)
    last, packets, warnings = _walk_pages(data, codec)
    if last > packets * longest:
        raise AudioError(
            f"damaged: claims {last} samples, its {packets} packets hold {packets * longest} at "
            f"most; {COPY}"
        )
    # Opus counts at 48 kHz, and what the decoder needs to settle.
    frames = max(0, last - skipped) * rate // 48_000 if codec == "OPUS" else last
    return AudioInfo("Ogg", codec, channels, rate, frames, warnings)


def _page(data: FileBytes, place: int) -> tuple[int, int, int, int, bytes, int]:
    """Return flags, position, stream, number, sizes of the segments and place of the first."""
    version, flags, position, stream, number, count = struct.unpack(
        "<BBqII4xB", data.at(place + 4, 23)
    )
    if version != 0:
        raise AudioError(f"Ogg of an unknown version ({version}): damaged; {COPY}")
    return flags, position, stream, number, data.at(place + 27, count), place + 27 + count


def _walk_pages(data: FileBytes, codec: str) -> tuple[int, int, tuple[str, ...]]:
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
            raise AudioError(f"{what}: no Ogg page at byte {place}; {COPY}")
        ended = flags & 4
        flags, position, serial, number, lacing, start = _page(data, place)
        if serial != stream or ended:
            raise AudioError(
                f"holds more than one stream, and only the first would be read; {CONVERT}"
            )
        end = start + sum(lacing)
        check_size(end - place, data.size - place, "bytes in its last page")
        page = data.at(place, end - place)
        # The checksum is zlib's polynomial with the bits the other way round, and no inversion.
        check = zlib.crc32((page[:22] + bytes(4) + page[26:]).translate(_REVERSED), 0xFFFFFFFF)
        if check ^ 0xFFFFFFFF != int.from_bytes(page[22:26].translate(_REVERSED), "big"):
            raise AudioError(f"damaged: wrong checksum of the page at byte {place}; {COPY}")
        if number != expected or (position != -1 and position < last):
            raise AudioError(f"damaged: its pages are not in order at byte {place}; {COPY}")
        last = max(last, position)
        packets += len(lacing) - lacing.count(255)
        place = end
    else:
        raise AudioError(f"has more than {MAX_PAGES} pages; {CONVERT}")
    if flags & 4:
        return last, packets, ()
    if codec == "OPUS":  # which libsndfile then does not decode
        raise AudioError(f"cut short: its last page is not marked as the end; {COPY}")
    return last, packets, ("its last page is not marked as the end; perhaps it was cut short",)
