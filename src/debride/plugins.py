"""Things by name: built-in ones, those of installed packages, and a user's own as ``package.module:Class``.

Importing a module runs its code. So nothing is imported before it is asked for by name, and a name that stands in a file is
imported only where the user trusts it (``Trust``). Installed packages register names as entry points: the user installed them,
so a short name in a file is as good as one on the command line.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import reduce
from importlib.metadata import EntryPoint, entry_points
from inspect import get_annotations
from pathlib import PurePath
from typing import Generic, TypeVar, cast

from debride.types import DataError

T = TypeVar("T")

REMEDY = "Install the package, or put its folder on PYTHONPATH (PYTHONPATH=. for the current one)."


def load(path: str, where: object) -> object:
    """The object that ``package.module:name`` names; its module is searched where Python searches. DataError, naming ``where``
    the path stands, where it cannot be imported, and where the module has no such name."""
    module, _, name = path.partition(":")
    try:
        home = importlib.import_module(module)
    except Exception as error:  # whatever the user's module raises
        raise _not_imported(path, where, error) from error
    try:
        return reduce(getattr, name.split("."), home)
    except AttributeError as error:
        file = getattr(home, "__file__", None) or "a folder"
        problem = f"cannot import {path!r} ({module} has no {name})"
        raise DataError(where, problem, f"Correct the name; the module was read from {file}.") from error
    except Exception as error:  # a module may import its parts when they are asked for
        raise _not_imported(path, where, error) from error


def _not_imported(path: str, where: object, error: Exception) -> DataError:
    """What is wrong with a path whose module raised the error, or is none."""
    module, _, name = path.partition(":")
    if module.endswith(".py") or "/" in module or "\\" in module:
        own = f"{PurePath(module).stem}:{name}"
        remedy = f"Give a module, not a file: {own}, with its folder on PYTHONPATH (PYTHONPATH=. for the current one)."
        return DataError(where, f"cannot import {path!r}", remedy)
    kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
    return DataError(where, f"cannot import {path!r} ({kind}{error})", REMEDY)


def _resolve(path: str) -> object:
    """The object of a built-in path: a mistake there is the house's own."""
    module, _, name = path.partition(":")
    return reduce(getattr, name.split("."), importlib.import_module(module))


def registered(group: str) -> list[str]:
    """The names that installed packages register in a group of entry points; nothing is imported."""
    return sorted({entry.name for entry in entry_points(group=group)})


def load_registered(group: str, name: str, where: object) -> object | None:
    """The object that an installed package registers by a name; None where none does. DataError where several differ."""
    entries = {entry.value: entry for entry in entry_points(group=group, name=name)}
    if len(entries) > 1:
        packages = " and ".join(sorted(_package(entry) for entry in entries.values()))
        raise DataError(where, f"{name!r} is registered by {packages}", "Name one of them as package.module:Class.")
    return load(next(iter(entries)), where) if entries else None


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def find_outside(
    name: str,
    kind: str,
    group: str,
    built_in: Iterable[str],
    lacks: Callable[[object], str],
    where: object = None,
    page: str = "",
) -> object:
    """What a name from outside stands for: ``package.module:name``, or what an installed package registers in ``group``.

    ``kind`` is what messages call such a thing, ``page`` the how-to on it where that has another name; ``lacks`` says what it
    lacks to be one, empty where nothing. DataError, naming ``where`` the name stands, for a name that does not exist, and for
    what is no such thing.
    """
    place = f"{kind} {name}" if where is None else where
    thing = load(name, place) if ":" in name else load_registered(group, name, place)
    if thing is None:
        others = registered(group)
        installed = f"; installed: {', '.join(others)}" if others else ""
        remedy = f"Choose one of {', '.join(built_in)}{installed}; or name your own as package.module:name."
        raise DataError(place, "does not exist" if where is None else f"{name!r} is no {kind}", remedy)
    if lack := lacks(thing):
        remedy = f"See the documentation, page how-to/{page or kind}, for what a {kind} is made of."
        raise DataError(place, lack if where is None else f"{name} {lack}", remedy)
    return thing


def lacks_of(base: type) -> Callable[[object], str]:
    """What an object, or a class to make one of, lacks to be a ``base``: a function that says it, empty where nothing."""

    def lacks(thing: object) -> str:
        cls = thing if isinstance(thing, type) else type(thing)
        if not issubclass(cls, base):
            return f"is no {base.__name__}: derive it from {base.__module__}.{base.__name__}"
        missing = [
            *getattr(cls, "__abstractmethods__", ()),
            *(name for name in get_annotations(base) if not hasattr(thing, name)),
        ]
        return f"lacks {', '.join(sorted(missing))}" if missing else ""

    return lacks


class Registry(MutableMapping[str, T], Generic[T]):
    """The built-in things of one kind by name, each imported when it is first asked for.

    ``kind`` is what messages call one of them, ``group`` the entry points that bring others, ``paths`` where each is, as
    ``package.module:name``. ``lacks`` says what something from outside lacks to be one of the kind, empty where nothing. Names
    from outside are found by ``find`` alone, never in place of a built-in one. ``page`` is the how-to on the kind, where it has
    another name. With ``made`` the things are objects: a class that a path names is made into one.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        lacks: Callable[[object], str],
        paths: Mapping[str, str],
        *,
        page: str = "",
        made: bool = False,
    ) -> None:
        self.kind, self.group, self.lacks, self._paths = kind, group, lacks, dict(paths)
        self._page, self._made = page, made
        self._loaded: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._loaded:
            self._loaded[name] = self._thing(_resolve(self._paths[name]))
        return self._loaded[name]

    def __setitem__(self, name: str, thing: T) -> None:
        self._paths.setdefault(name, "")
        self._loaded[name] = thing

    def __delitem__(self, name: str) -> None:
        del self._paths[name]
        self._loaded.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, name: object) -> bool:
        return name in self._paths  # without importing it

    def find(self, name: str, where: object = None) -> T:
        """The thing of a name: a built-in one, else what ``package.module:Class`` is, else what a package registers.

        DataError, naming ``where`` the name stands, for a name that does not exist and for what is no such thing.
        """
        if name in self:
            return self[name]
        outside = find_outside(name, self.kind, self.group, self, self.lacks, where, self._page)
        try:
            return self._thing(outside)
        except Exception as error:  # whatever the user's class raises
            place = f"{self.kind} {name}" if where is None else where
            raise DataError(place, f"{name} cannot be made ({type(error).__name__}: {error})", "Correct that class.") from error

    def _thing(self, thing: object) -> T:
        return cast(T, thing() if self._made and isinstance(thing, type) else thing)

    def name_of(self, thing: object) -> str:
        """The name by which a class is found again: a built-in one's own, else its path."""
        path = f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', '')}"
        return next((name for name in self if self._paths[name] == path or self._loaded.get(name) is thing), path)

    def known(self, name: str) -> bool:
        """Whether a word is, or looks like, the name of such a thing; nothing is imported."""
        return name in self or is_path(name) or name in registered(self.group)


def is_path(word: str) -> bool:
    """Whether a word has the form ``package.module:name``."""
    module, colon, name = word.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))


@dataclass(frozen=True)
class Trust:
    """Which modules that files name may be imported: all (``everything``), or those that the user ``named`` again."""

    everything: bool = False
    named: frozenset[str] = frozenset()

    def admit(self, name: object, where: object, again: str = "") -> None:
        """DataError where a ``name`` in the file ``where`` asks to import a module that is not trusted.

        ``again`` is the option by which a user may name it again. Other names pass, whether they exist or not.
        """
        if not isinstance(name, str) or ":" not in name or self.everything or name in self.named:
            return
        remedy = "Read that module's code. If you trust it, add --trust-code"
        option = f", or name it again: {again} {name}" if again else ""
        problem = f"names {name}, a module that would be imported and run"
        raise DataError(where, problem, f"{remedy}{option}.")


NOTHING = Trust()
"""No module that a file names is imported."""
