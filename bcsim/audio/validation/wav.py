"""The header of WAV and RF64.

Sources: Microsoft's "Multiple Channel Audio Data and WAVE Files"; EBU Tech 3306 (RF64).
"""

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


def read_wav(data: FileBytes) -> AudioInfo:
    """Check the header of WAV: RIFF, RIFX (which counts big-endian) or RF64."""
    magic = data.at(0, 4)
    order = ">" if magic == b"RIFX" else "<"
    name = "RF64" if magic == b"RF64" else "WAV"
    (form_size,) = struct.unpack(f"{order}I", data.at(4, 4))
    if (form := data.at(8, 4)) != b"WAVE":
        raise AudioError(f"holds RIFF of the kind {quoted(form)}, not WAV; {CONVERT}")
    sizes, layout, is_extensible = None, None, False
    for chunk, start, size in chunks(data, order):
        if chunk == b"ds64" and name == "RF64" and size >= 28:
            sizes = struct.unpack("<QQ", data.at(start, 16))
        elif chunk == b"fmt " and layout is None:
            layout = read_layout(data, start, size, order)
            is_extensible = data.at(start, 2) == b"\xfe\xff"
        elif chunk == b"data":
            break
    else:
        raise AudioError(f"has no chunk of samples ('data'): damaged or cut short; {COPY}")
    if layout is None:
        raise AudioError(f"does not say what its samples are ('fmt '); {CONVERT}")
    codec, channels, rate, align = layout
    there = data.size - start
    warnings = []
    if name == "RF64":
        if sizes is None or size not in (0xFFFFFFFF, sizes[1]):
            raise AudioError(f"RF64 without a size of its samples ('ds64'); {CONVERT}")
        size = sizes[1]
    elif there < size and size in (*_ENDLESS, _SOX_ENDLESS // align * align):
        warnings.append("its header does not say how long it is (written to a pipe?)")
        size = there
    elif form_size > data.size - 7 and form_size not in _ENDLESS:  # padding may be missing
        warnings.append(f"its header claims {form_size + 8} bytes, {data.size} are there")
    if size == 0 and there > 0:
        raise AudioError(
            f"its header claims no samples, and {there} bytes follow; have the recorder or "
            "ffmpeg mend it"
        )
    check_size(size, there)
    if size % align:
        warnings.append(f"ends within a sample; the last {size % align} bytes are left out")
    is_plain = magic == b"RIFF" and not is_extensible and form_size + 8 == data.size
    return AudioInfo(name, codec, channels, rate, size // align, tuple(warnings), is_plain)


def read_layout(data: FileBytes, start: int, size: int, order: str) -> tuple[str, int, int, int]:
    """Return codec, channels, rate and bytes of a frame."""
    if size < 16:
        raise AudioError(f"its 'fmt ' chunk is too short ({size} bytes); {COPY}")
    tag, channels, rate, _, align, bits = struct.unpack(f"{order}HHIIHH", data.at(start, 16))
    if tag == 0xFFFE and size >= 40:
        valid, guid = struct.unpack(f"{order}H4x16s", data.at(start + 18, 22))
        if guid[2:] != _GUID_TAIL or valid > bits:
            raise AudioError(f"WAV with samples of an unknown kind; {CONVERT}")
        tag = int.from_bytes(guid[:2], "little")
    codec = _WAV_CODECS.get((tag, bits))
    if codec is None:
        kind = _WAV_TAGS.get(tag, f"format {tag:#06x}")
        raise AudioError(f"WAV with {bits}-bit {kind} inside; {CONVERT}")
    if align == 0 or align != channels * bits // 8:
        raise AudioError(
            f"WAV whose {channels} channels of {bits} bits take {align} bytes; {CONVERT}"
        )
    return codec, channels, rate, align
