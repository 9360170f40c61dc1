"""What packages that read DICOM would say of files goes nowhere: their words may name a person, or a file of the archive."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

from debride.mistakes import reads_of_persons

_LOGGERS = ("pydicom", "highdicom", "openjpeg", "libjpeg", "pylibjpeg")

_lock = Lock()
_blocks = [0]
"""How many blocks last in all threads together: warnings and loggers are those of the process."""
_restoring = ExitStack()


@contextmanager
def quiet() -> Iterator[None]:
    """While the block lasts, in any thread, warnings and logs of pydicom, highdicom and codecs go nowhere.

    pydicom warns of a value when it is first asked for: what reads values of a data set belongs inside. From then on the
    process says nothing of errors but their kinds.
    """
    reads_of_persons()
    with _lock:
        if not _blocks[0]:
            _silence()
        _blocks[0] += 1
    try:
        yield
    finally:
        with _lock:
            _blocks[0] -= 1
            if not _blocks[0]:
                _restoring.close()


def _silence() -> None:
    """Until ``_restoring`` is closed."""
    _restoring.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    for name in _LOGGERS:  # what the loggers below them say goes by their level
        logger = logging.getLogger(name)
        _restoring.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL + 1)
