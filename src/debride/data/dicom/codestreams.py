"""What a compressed frame says of its own size: compared with the header before a decoder takes memory for it."""

from __future__ import annotations

from dataclasses import dataclass

_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers of JPEG without a length: TEM, RST and SOI (ITU-T T.81 table B.1)."""

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Markers of JPEG that begin a frame: SOF0 to SOF15 (ITU-T T.81 table B.1), and SOF55 of JPEG-LS (T.87 C.1.1)."""

_SIZE = b"\xff\x4f\xff\x51"
"""How a codestream of JPEG 2000 begins, also inside the boxes of a file: SOC and SIZ (ITU-T T.800 A.4.1 and A.5.1)."""


@dataclass(frozen=True)
class StreamSize:
    """Rows, columns, samples of a pixel, and bits of a sample."""

    rows: int
    columns: int
    samples: int
    bits: int


def stream_size(frame: bytes) -> StreamSize | None:
    """The size that a frame in JPEG, JPEG-LS or JPEG 2000 claims; None for what is none of them, or ends before it says."""
    if frame.startswith(b"\xff\xd8"):
        return _jpeg(frame)
    at = 0 if frame.startswith(_SIZE) else frame.find(_SIZE, 0, 4096)
    return _jpeg_2000(frame, at) if at >= 0 else None


def _jpeg(frame: bytes) -> StreamSize | None:
    at = 2
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _BARE:
            at += 2
        elif marker in _FRAMES:
            said = frame[at + 4 : at + 10]
            if len(said) < 6:
                return None
            return StreamSize(int.from_bytes(said[1:3], "big"), int.from_bytes(said[3:5], "big"), said[5], said[0])
        else:
            at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _jpeg_2000(frame: bytes, at: int) -> StreamSize | None:
    said = frame[at + 8 : at + 43]
    if len(said) < 35:
        return None
    width, height, left, top = (int.from_bytes(said[start : start + 4], "big") for start in (0, 4, 8, 12))
    return StreamSize(height - top, width - left, int.from_bytes(said[32:34], "big"), (said[34] & 0x7F) + 1)
