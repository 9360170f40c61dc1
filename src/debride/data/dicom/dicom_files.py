"""Files of DICOM opened: nothing that they claim takes the memory, and nothing that is raised quotes them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from debride.data.claims import WRITING, refuse_claim
from debride.data.dicom.bounded import HEADER, Bounded
from debride.data.dicom.quiet import quiet
from debride.types import DataError

REOPEN = "Open the data set again: its files are then looked through anew."
RESTORE = "Restore the series from the archive, or take it out."
EXPORT = "Export the series from the archive without compression."

IMPLICIT, EXPLICIT, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
"""Transfer syntaxes (PS3.5 A)."""

_HEADER = 64 << 20
"""Bytes of a deflated file that are inflated for its header."""

_INFLATED = 1 << 31
"""Bytes that a deflated file may inflate to."""


def opened(path: Path, where: Path) -> Any:
    """The data set of a file, whose transfer syntax is known. Raises DataError, naming ``where``, for what cannot be read."""
    with quiet(), refusing(where):
        dataset = read_dicom(path, where)
        if not hasattr(dataset, "file_meta") or not dataset.file_meta.get("TransferSyntaxUID"):  # of old files, and of messages
            dataset.ensure_file_meta()
            implicit, little = dataset.original_encoding
            dataset.file_meta.TransferSyntaxUID = IMPLICIT if implicit else EXPLICIT if little else _BIG
        return dataset


def read_dicom(path: Path, where: object, **options: Any) -> Any:
    """What pydicom's ``dcmread`` gives with these options, also of a file without its preamble.

    Raises DataError for a deflated file that inflates to too much, and for a header that claims too much, before memory is
    taken; and all that pydicom raises.
    """
    refuse_inflated(path, where)
    most = HEADER if options.get("stop_before_pixels") else None
    with path.open("rb") as file, Bounded(file, where, most) as bounded:
        return _read(bounded, **options)


def read_header(path: Path, where: object, tags: Any) -> Any:
    """What ``read_dicom`` gives of ``tags`` before the pixels. A deflated file is inflated no further than that."""
    from pydicom.filereader import read_dataset, read_preamble

    with path.open("rb") as file, Bounded(file, where) as bounded:
        deflated = _DEFLATED.encode() in file.read(1 << 14)
        file.seek(0)
        if deflated:
            read_preamble(bounded, True)
            meta = read_dataset(bounded, False, True, stop_when=lambda tag, *_: tag.group != 2)
            deflated = str(meta.get("TransferSyntaxUID", "")) == _DEFLATED
        if not deflated:
            file.seek(0)
            return _read(bounded, stop_before_pixels=True, specific_tags=tags)
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(_HEADER), _HEADER)
    with Bounded(BytesIO(inflated), where) as whole:
        dataset = read_dataset(whole, False, True, stop_when=_pixels, specific_tags=tags)
    if whole.tell() >= _HEADER:
        raise DataError(where, f"has a header of more than {_HEADER >> 20} MB, deflated", RESTORE)
    dataset.file_meta = meta
    return dataset


def _read(file: Any, **options: Any) -> Any:
    from pydicom import dcmread

    return dcmread(file, force=True, **options)


def _pixels(tag: Any, *_: Any) -> bool:
    """Whether an element holds pixels: as floats, doubles or integers (PS3.3 C.7.6.3, C.7.6.24)."""
    return int(tag) in (0x7FE00008, 0x7FE00009, 0x7FE00010)


def refuse_inflated(path: Path, where: object) -> None:
    """DataError for a deflated file that inflates to more than memory holds, before any is taken."""
    from pydicom.filereader import read_dataset, read_preamble

    with path.open("rb") as whole, Bounded(whole, where, None) as file:
        read_preamble(file, True)
        meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
        if str(meta.get("TransferSyntaxUID", "")) != _DEFLATED:
            return
        stream, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not stream.eof and (piece := stream.unconsumed_tail or file.read(1 << 16)):
            size += len(stream.decompress(piece, 1 << 24))
            if size > _INFLATED:
                problem = f"has a deflated file, which inflates to more than {_INFLATED >> 30} GB"
                raise DataError(where, problem, EXPORT)
    refuse_claim(where, 4 * size, 4 * size)


def stamp_of(file: Path, where: Path) -> tuple[int, int, int]:
    """Size, date and number of a file, by which what was read of it is kept. DataError, naming ``where``, if it is gone."""
    try:
        stat = file.stat()
    except OSError as error:
        raise DataError(where, f"has its file no more ({error.strerror})", "Restore it, or open the data set again.") from None
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


@contextmanager
def refusing(where: object) -> Iterator[None]:
    """Turns what pydicom and codecs raise into DataError without their words, which may quote the file."""
    try:
        yield
    except DataError:
        raise
    except MemoryError:
        raise DataError(where, "needs more memory than there is", "Use a machine with more, or a smaller image.") from None
    except FileNotFoundError:
        raise DataError(where, "has a file that is not there any more", REOPEN) from None
    except OSError as error:
        if error.errno in WRITING:
            raise
        said = error.strerror or type(error).__name__
        raise DataError(where, f"has a file that cannot be read ({said})", RESTORE) from None
    except Exception as error:
        raise DataError(where, f"has a file that cannot be decoded ({type(error).__name__})", RESTORE) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of codecs in Rust, which is no Exception
            raise
        raise DataError(where, "has a file that cannot be decoded (its codec gave up)", RESTORE) from None
