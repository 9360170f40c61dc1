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


def is_sound_jpeg(frame: bytes) -> bool:
    """Whether all segments of a JPEG stream before its first scan are as long as they say, and an end of the image follows.

    GDCM ends the whole process where tables of a damaged one contradict themselves.
    """
    at, framed = 2, False
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        body = frame[at + 4 : at + 2 + length]
        if length < 2 or len(body) != length - 2:
            return False
        if marker == 0xDA:  # SOS (T.81 B.2.3)
            return framed and bool(body) and len(body) == 4 + 2 * body[0] and b"\xff\xd9" in frame[at:]
        if marker == 0xC4 and not _are_codes(body):
            return False
        if marker in _FRAMES:
            if framed or len(body) < 6 or len(body) != 6 + 3 * body[5]:  # T.81 B.2.2
                return False
            framed = True
        at += 2 + length
    return False


def _are_codes(body: bytes) -> bool:
    """Whether the body of a DHT segment is whole tables, whose codes are no more than their lengths allow (T.81 B.2.4.2, C)."""
    at = 0
    while at < len(body):
        counts = body[at + 1 : at + 17]
        codes, used = sum(counts), sum(count << (15 - place) for place, count in enumerate(counts))
        if used > 1 << 16 or len(counts) < 16 or not 0 < codes <= 256 or body[at] & 0xEF > 3 or at + 17 + codes > len(body):
            return False
        at += 17 + codes
    return at > 0


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
