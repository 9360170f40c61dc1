"""Files of DICOM opened: nothing that they claim takes the memory, and nothing that is raised quotes them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from debride.data.claims import WRITING, refuse_claim
from debride.data.dicom.quiet import quiet
from debride.types import DataError

REOPEN = "Open the data set again: its files are then looked through anew."
RESTORE = "Restore the series from the archive, or take it out."
EXPORT = "Export the series from the archive without compression."

IMPLICIT, EXPLICIT, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
"""Transfer syntaxes (PS3.5 A)."""

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

    Raises DataError for a deflated file that inflates to too much, before it does, and all that pydicom raises.
    """
    from pydicom import dcmread

    refuse_inflated(path, where)
    return dcmread(path, force=True, **options)


def refuse_inflated(path: Path, where: object) -> None:
    """DataError for a deflated file that inflates to more than memory holds, before any is taken."""
    from pydicom.filereader import read_dataset, read_preamble

    with path.open("rb") as file:
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
