"""Processes that multiprocessing starts, and the script that starts them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def not_run_again(*names: str) -> Iterator[None]:
    """While the block lasts, processes that are spawned do not run the script that started this one: they find what they do by
    its module. So a script of a user needs no ``if __name__ == "__main__"``.

    It is run where one of the ``names`` they are to find, as ``module:name``, is in the script itself.
    """
    main = vars(sys.modules["__main__"])
    if any(name.startswith("__main__:") for name in names):
        yield
        return
    before: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.pop("__file__", None)
    main["__spec__"] = None
    try:
        yield
    finally:
        main.pop("__spec__")
        main.update(before)
