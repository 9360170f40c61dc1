"""Arrays that were decoded a short time ago, up to a number of bytes; what several ask for at once is made once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class KeptArrays:
    """Arrays by their keys, for any thread. Those that were not asked for longest go first; one that is larger than ``most``
    bytes is not kept."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._arrays: OrderedDict[Hashable, Array] = OrderedDict()
        self._made: dict[Hashable, Future[Array]] = {}
        self._lock = Lock()

    def find(self, key: Hashable) -> Array | None:
        """The array of a key, if it is there."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def get(self, key: Hashable, make: Callable[[], Array]) -> Array:
        """The array of a key, made where it is not there; read-only. An error goes to all who wait for it."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
            waiting = self._made.get(key)
            own: Future[Array] = Future()
            if waiting is None:
                self._made[key] = own
        if waiting is not None:
            return waiting.result()
        try:
            array = make()
            if not isinstance(array, np.memmap):
                array = np.ascontiguousarray(array)
                array.flags.writeable = False
            self._keep(key, array)
            own.set_result(array)
            return array
        except BaseException as error:
            own.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._made[key]

    def _keep(self, key: Hashable, array: Array) -> None:
        size = 0 if isinstance(array, np.memmap) else array.nbytes
        if size > self.most:
            return
        with self._lock:
            self._arrays[key] = array
            self.held += size
            while self.held > self.most:
                _, old = self._arrays.popitem(last=False)
                self.held -= 0 if isinstance(old, np.memmap) else old.nbytes
