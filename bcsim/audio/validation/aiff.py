"""The header of AIFF; source: Apple's AIFF-C draft of 1991."""

import struct

from bcsim.audio.validation.base import (
    CONVERT,
    COPY,
    AudioError,
    AudioInfo,
    FileBytes,
    check_size,
    chunks,
    quoted,
)

_CODECS = {
    **{(b"raw ", 8): "PCM_U8", (b"none", 8): "PCM_S8", (b"none", 16): "PCM_16"},
    **{(b"none", 24): "PCM_24", (b"none", 32): "PCM_32"},
}
_SIZED = {b"fl32": ("FLOAT", 4), b"fl64": ("DOUBLE", 8), b"ulaw": ("ULAW", 1)}
_SIZED |= {b"alaw": ("ALAW", 1), b"in24": ("PCM_24", 3), b"in32": ("PCM_32", 4)}
_SIZED |= {b"42n1": ("PCM_24", 3), b"23ni": ("PCM_32", 4)}  # little-endian


def read_aiff(data: FileBytes) -> AudioInfo:
    """Check the header of AIFF or AIFF-C."""
    form = data.at(8, 4)
    if form not in (b"AIFF", b"AIFC"):
        raise AudioError(f"holds IFF of the kind {quoted(form)}, not AIFF; {CONVERT}")
    common, sound = None, None
    for chunk, start, size in chunks(data, ">"):
        if chunk == b"COMM":
            if size < 22 if form == b"AIFC" else size != 18:
                raise AudioError(f"its 'COMM' chunk has {size} bytes; {COPY}")
            common = data.at(start, 22 if form == b"AIFC" else 18)
        elif chunk == b"SSND":
            check_size(size, data.size - start)
            if size < 8:
                raise AudioError("holds 0 samples; leave the file out")
            sound = size - 8 - int.from_bytes(data.at(start, 4), "big")
        if common is not None and sound is not None:
            break
    else:
        raise AudioError(f"lacks 'COMM' or 'SSND': damaged or cut short; {COPY}")
    channels, frames, bits, exponent, mantissa = struct.unpack(">HIHHQ", common[:18])
    # 80 bits: sign, exponent with an offset of 16383, 64 bits of which the first is the integer
    shift = 16383 + 63 - exponent
    rate = mantissa >> shift if 0 <= shift < 64 else 0
    kind = common[18:22].lower() or b"none"
    kind = b"none" if kind in (b"sowt", b"twos") else kind  # little-endian, big-endian
    codec, width = _SIZED.get(kind, (_CODECS.get((kind, bits)), bits // 8))
    if codec is None:
        raise AudioError(f"AIFF with {bits}-bit {quoted(kind)} inside; {CONVERT}")
    there = max(0, sound) // max(1, width * channels)
    check_size(frames, there, "samples")
    odd = f"its header claims {frames} samples, {there} are there"
    return AudioInfo("AIFF", codec, channels, rate, there, (odd,) * (frames != there))
