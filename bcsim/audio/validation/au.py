"""The header of AU, or `.snd`; source: Sun's audio_filehdr.h."""

import struct

from bcsim.audio.validation.base import (
    CONVERT,
    COPY,
    AudioError,
    AudioInfo,
    FileBytes,
    check_size,
)

_CODECS = {
    **{1: ("ULAW", 1), 2: ("PCM_S8", 1), 3: ("PCM_16", 2), 4: ("PCM_24", 3), 5: ("PCM_32", 4)},
    **{6: ("FLOAT", 4), 7: ("DOUBLE", 8), 27: ("ALAW", 1)},
}
_HEADER_BYTES = 24
_UNKNOWN = 0xFFFFFFFF


def read_au(data: FileBytes) -> AudioInfo:
    """Check the header of AU, which counts big-endian, or little-endian behind `dns.`."""
    order = ">" if data.at(0, 4) == b".snd" else "<"
    start, size, encoding, rate, channels = struct.unpack(f"{order}5I", data.at(4, 20))
    if start < _HEADER_BYTES or start > data.size:
        raise AudioError(f"AU whose samples begin at byte {start} of {data.size}; {COPY}")
    if encoding not in _CODECS:
        raise AudioError(f"AU with samples of encoding {encoding}; {CONVERT}")
    codec, width = _CODECS[encoding]
    there, warnings = data.size - start, []
    if size == _UNKNOWN:
        warnings.append("its header does not say how long it is (written to a pipe?)")
        size = there
    if size == 0 and there > 0:
        raise AudioError(f"its header claims no samples, and {there} bytes follow; {CONVERT}")
    check_size(size, there)
    align = width * max(1, channels)
    if size % align:
        warnings.append(f"ends within a sample; the last {size % align} bytes are left out")
    return AudioInfo("AU", codec, channels, rate, size // align, tuple(warnings))
