"""Readings of LIDC-IDRI as its XML has them."""

from __future__ import annotations

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<LidcReadMessage xmlns="http://www.nih.gov">'


def outline(instance: str, points: list[tuple[int, int]], inclusion: str = "TRUE") -> str:
    edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
    place = f"<imageZposition>-1.5</imageZposition><imageSOP_UID>{instance}</imageSOP_UID>"
    return f"<roi>{place}<inclusion>{inclusion}</inclusion>{edges}</roi>"


def nodule(*outlines: str) -> str:
    return f"<unblindedReadNodule><noduleID>N</noduleID>{''.join(outlines)}</unblindedReadNodule>"


def message(series: str, *sessions: str) -> bytes:
    read = "".join(
        f"<readingSession><annotationVersion>3.12</annotationVersion>{session}</readingSession>" for session in sessions
    )
    head = f"<ResponseHeader><SeriesInstanceUid>{series}</SeriesInstanceUid></ResponseHeader>"
    return f"{HEAD}{head}{read}</LidcReadMessage>".encode()
