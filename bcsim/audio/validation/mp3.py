"""MP3: frames without a header of the whole; sources: ISO/IEC 11172-3 and 13818-3."""

import struct

from bcsim.audio.validation.base import CONVERT, AudioError, AudioInfo, FileBytes, check_size

_KBPS_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBPS_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = (44_100, 48_000, 32_000)
_SAME = 0xFFFE0C00  # bits of a header that all frames share: sync, version, layer, rate
_MIN_FRAME = 24  # bytes: 8 kbit/s at 24 kHz


def is_frame(begin: bytes) -> bool:
    """Tell whether four bytes begin with the 11 set bits that begin a frame."""
    return len(begin) == 4 and int.from_bytes(begin, "big") >> 21 == 0x7FF


def read_mp3(data: FileBytes) -> AudioInfo:
    """Check the first frames of MP3, which may stand behind a tag."""
    start = data.start
    header = int.from_bytes(data.at(start, 4), "big")
    is_mpeg1, channels, rate, frame = _frame(header)
    there = data.size - start
    check_size(frame, there, "bytes in its first frame")
    if there >= frame + 4:
        following = int.from_bytes(data.at(start + frame, 4), "big")
        if (header ^ following) & _SAME:
            raise AudioError(f"begins like MP3, and does not go on like it; {CONVERT}")
    # Behind the header lies side information; then the first frame may say how long all is.
    side = {(True, 1): 17, (True, 2): 32, (False, 1): 9, (False, 2): 17}[is_mpeg1, channels]
    info = data.upto(start + 4 + side, 16)
    if info[:4] in (b"Xing", b"Info") and len(info) == 16:
        has, *claims = struct.unpack(">3I", info[4:])
        frames = claims.pop(0) if has & 1 else 0
        claimed = claims.pop(0) if has & 2 else 0
        if 0.99 * claimed > there:
            check_size(claimed, there, "bytes")
        check_size(frames * _MIN_FRAME, there, "bytes or more")
    return AudioInfo("MP3", "MPEG_LAYER_III", channels, rate)


def _frame(header: int) -> tuple[bool, int, int, int]:
    """Return whether a frame is MPEG-1, its channels, its rate in Hz and its size in bytes."""
    version, layer = header >> 19 & 3, header >> 17 & 3  # 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
    kbps, rate = header >> 12 & 15, header >> 10 & 3
    if layer != 1:  # layer III
        raise AudioError(f"is MPEG, and not MP3; {CONVERT}")
    if version == 1 or kbps in (0, 15) or rate == 3:
        raise AudioError(f"begins like MP3, with a header that makes no sense; {CONVERT}")
    rate_hz = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    words, bit_rate = (144, _KBPS_1) if version == 3 else (72, _KBPS_2)
    length = words * bit_rate[kbps - 1] * 1000 // rate_hz + (header >> 9 & 1)
    return version == 3, 1 if header >> 6 & 3 == 3 else 2, rate_hz, length
