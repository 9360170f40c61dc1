"""Processes that are started elsewhere than in the user's script, and what they find of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from debride.types import DataError


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


def refuse_script(*names: object) -> None:
    """Raises DataError for one of the names that is in the script itself, as ``__main__:name``: jobs of a cluster never run
    that script."""
    for name in names:
        if isinstance(name, str) and name.startswith("__main__:"):
            own = name.partition(":")[2]
            remedy = f"Put {own} into a module on PYTHONPATH, and name it as MODULE:{own}."
            raise DataError("`cluster`", f"has jobs that cannot find {own}, which is in the script itself", remedy)
