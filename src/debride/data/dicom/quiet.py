"""What packages that read DICOM would say of files goes nowhere: their words may name a person, or a file of the archive."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("pydicom", "highdicom", "openjpeg", "libjpeg", "pylibjpeg")


@contextmanager
def quiet() -> Iterator[None]:
    """While the block lasts, warnings and logs of pydicom, highdicom and codecs go nowhere."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:  # what the loggers below them say goes by their level
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
