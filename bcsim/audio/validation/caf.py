"""The header of CAF; source: Apple's Core Audio Format specification 1.0."""

import math
import struct

from bcsim.audio.validation.base import (
    CONVERT,
    COPY,
    MAX_CHUNKS,
    AudioError,
    AudioInfo,
    FileBytes,
    check_size,
    quoted,
)

_CODECS = {  # by format, whether it is floating point, and bits
    **{(b"lpcm", False, 8): "PCM_S8", (b"lpcm", False, 16): "PCM_16"},
    **{(b"lpcm", False, 24): "PCM_24", (b"lpcm", False, 32): "PCM_32"},
    **{(b"lpcm", True, 32): "FLOAT", (b"lpcm", True, 64): "DOUBLE"},
    **{(b"ulaw", False, 8): "ULAW", (b"alaw", False, 8): "ALAW"},
}
_IS_FLOAT = 1  # of the format's flags


def read_caf(data: FileBytes) -> AudioInfo:
    """Check the header of CAF; its description has to come first."""
    (version,) = struct.unpack(">H", data.at(4, 2))
    name, size = struct.unpack(">4sq", data.at(8, 12))
    if version != 1 or name != b"desc" or size != 32:
        raise AudioError(f"CAF of version {version} that begins with {quoted(name)}; {CONVERT}")
    rate, kind, flags, width, frames, channels, bits = struct.unpack(">d4s5I", data.at(20, 32))
    codec = _CODECS.get((kind, kind == b"lpcm" and bool(flags & _IS_FLOAT), bits))
    if codec is None:
        raise AudioError(f"CAF with {bits}-bit {quoted(kind)} inside; {CONVERT}")
    if width == 0 or frames != 1 or width != channels * bits // 8:
        raise AudioError(f"CAF whose {channels} channels of {bits} bits take {width} bytes; {COPY}")
    if not math.isfinite(rate) or not 0 <= rate < 1 << 31:
        raise AudioError(f"a sample rate of {rate} Hz is not audio; {CONVERT}")
    place, warnings = 52, []
    for _ in range(MAX_CHUNKS):
        name, size = struct.unpack(">4sq", data.at(place, 12))
        place += 12
        if name == b"data":
            break
        if size < 0 or place + size > data.size:
            raise AudioError(f"cut short: its chunk {quoted(name)} claims {size} bytes; {COPY}")
        place += size
    else:
        raise AudioError(f"has more than {MAX_CHUNKS} chunks; {CONVERT}")
    there = data.size - place
    if size < 0:  # -1 is allowed, and libsndfile does not read it
        raise AudioError(
            "its header does not say how long it is (written to a pipe?); have the recorder or "
            "ffmpeg mend it"
        )
    check_size(size, there)
    if size < 4:  # a number of edits comes before the samples
        raise AudioError("holds 0 samples; leave the file out")
    if (size - 4) % width:
        warnings.append(f"ends within a sample; the last {(size - 4) % width} bytes are left out")
    return AudioInfo("CAF", codec, channels, int(rate), (size - 4) // width, tuple(warnings))
