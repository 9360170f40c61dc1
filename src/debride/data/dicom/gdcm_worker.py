"""Frames that GDCM alone decodes, in a process of their own: a damaged stream may end that process, and not this one.

Run as a script this file is that process. It is sent pixels without anything of whose they are, and what it says goes nowhere.
"""

from __future__ import annotations

import atexit
import io
import os
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_SECONDS = 120
"""How long one frame may take."""

_ENTRIES = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored"),
    *("HighBit", "PixelRepresentation"),
)

_workers: dict[int, _Worker] = {}
"""By the process that they work for: one that was forked must not write into its parent's pipe."""


def decoded(dataset: Any, stream: bytes, twelve: bool) -> Array:
    """The numbers (H, W) or (H, W, 3) of a frame in JPEG, or of ``twelve`` bits. Raises RuntimeError for a damaged one."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    one = Dataset()
    for name in _ENTRIES:
        if name in dataset:
            one[name] = dataset[name]
    one.PixelData = encapsulate([stream])
    one["PixelData"].VR, one["PixelData"].is_undefined_length = "OB", True
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    written = io.BytesIO()
    one.save_as(written, enforce_file_format=False)
    return _workers.setdefault(os.getpid(), _Worker()).ask(bytes([twelve]) + written.getvalue())


class _Worker:
    """The other process, which is started when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, told: bytes) -> Array:
        """The answer to a message. RuntimeError where there is none."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self.end()
                pipe = subprocess.PIPE
                command = [sys.executable, "-P", __file__]
                self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
            process = self._process
            assert process.stdin is not None and process.stdout is not None
            timer = threading.Timer(_SECONDS, process.kill)
            timer.start()
            try:
                _send(process.stdin, told)
                answer = _receive(process.stdout)
            except OSError:
                answer = None
            finally:
                timer.cancel()
            if answer is None:
                self.end()
                raise RuntimeError("the codec ended")
        if not answer:
            raise RuntimeError("the codec refused")
        array: Array = np.load(io.BytesIO(answer), allow_pickle=False)
        return array

    def end(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            with suppress(OSError), self._process:  # a pipe may be broken
                pass
            self._process = None


@atexit.register
def _end() -> None:
    if worker := _workers.pop(os.getpid(), None):
        worker.end()


def _send(pipe: BinaryIO | Any, told: bytes) -> None:
    pipe.write(struct.pack("<Q", len(told)) + told)
    pipe.flush()


def _receive(pipe: BinaryIO | Any) -> bytes | None:
    """A message; None where the other process ended."""
    length = pipe.read(8)
    if len(length) < 8:
        return None
    (size,) = struct.unpack("<Q", length)
    told: bytes = pipe.read(size)
    return told if len(told) == size else None


def _twelve_bits(dataset: Any) -> Array:
    """Grey values of 12 bits, which pydicom does not ask GDCM for."""
    import gdcm
    from pydicom.encaps import get_frame

    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(get_frame(dataset.PixelData, 0, number_of_frames=1))
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((dataset.Columns, dataset.Rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
    raw = image.GetBuffer().encode("utf-8", "surrogateescape")
    pixels = np.frombuffer(raw, "<u2").reshape(dataset.Rows, dataset.Columns)
    return pixels.astype(np.int16 if dataset.get("PixelRepresentation") else np.uint16)


def _answer(told: bytes) -> bytes:
    from pydicom import dcmread
    from pydicom.pixels import pixel_array

    try:
        dataset = dcmread(io.BytesIO(told[1:]), force=True)
        pixels = _twelve_bits(dataset) if told[0] else pixel_array(dataset, index=0, correct_unused_bits=False)
        written = io.BytesIO()
        np.save(written, pixels, allow_pickle=False)
        return written.getvalue()
    except Exception:
        return b""


def _work() -> None:
    """Answer messages until there are no more."""
    answers, sys.stdout = sys.stdout.buffer, sys.stderr  # nothing else may be written there
    while (told := _receive(sys.stdin.buffer)) is not None:
        _send(answers, _answer(told))


if __name__ == "__main__":
    _work()
