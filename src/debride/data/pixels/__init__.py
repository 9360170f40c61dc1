"""Kinds of image files: what each one's endings are, how it is read as stored, and how it is written.

Nothing outside this room names an ending or a decoder. ``PIXELS`` lists the kinds; ``images`` reads and writes with them.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import islice
from pathlib import Path

from debride.data.pixels.content import WORDS, content_of
from debride.data.pixels.kind import Header, Pixels
from debride.data.unseen import is_hidden
from debride.notes import note
from debride.plugins import Registry, lacks_of
from debride.types import DataError

__all__ = [
    "PIXELS",
    "Header",
    "Pixels",
    "add_pixels",
    "endings",
    "find_pixels",
    "is_hidden",
    "is_image",
    "outside_pixels",
    "pixels_of",
    "stem",
    "suffix",
    "unread_endings",
    "use_pixels",
]


PIXELS: Registry[Pixels] = Registry(
    "kind of file",
    "debride.pixels",
    lacks_of(Pixels),
    {
        "picture": "debride.data.pixels.pictures:Pictures",
        "jpeg": "debride.data.pixels.pictures:Jpeg",
        "nifti": "debride.data.pixels.nifti:Nifti",
        "nrrd": "debride.data.pixels.nrrd:Nrrd",
        "metaimage": "debride.data.pixels.metaimage:MetaImage",
        "dicom": "debride.data.pixels.dicom:Dicom",
    },
    page="pixels",
    made=True,
)
"""All kinds of image files by name."""

MANY = 10_000
"""So many files are looked at to say what kinds a folder holds."""

NOTES = frozenset({".csv", ".html", ".json", ".md", ".py", ".txt", ".yaml", ".yml", ".zip"})
"""Endings of files that stand beside images and are none."""

_outside: dict[str, Pixels] = {}


def find_pixels(path: Path) -> Pixels:
    """The kind of a file by its ending; DataError if no kind has it."""
    ending = suffix(path)
    for kind in PIXELS.values():
        if ending in kind.endings:
            return kind
    raise DataError(path, "is of a kind that is not read", f"Convert it to one of {', '.join(endings())}.")


def pixels_of(path: Path) -> Pixels:
    """The kind that reads a file, by its ending and its first bytes; an absent or empty file has that of its ending.

    A picture or NIfTI file under another kind's ending is read as what it is, which is noted. Raises DataError for content
    that is no image, or cannot be read under this ending.
    """
    kind = find_pixels(path)
    content = content_of(path) if kind.contents else None
    if content is None or content in kind.contents:
        return kind
    for other in PIXELS.values():
        if content in other.contents and other.any_name:
            note(path, f"is {WORDS[content]} by its content, not what its ending says, and is read as such")
            return other
    raise DataError(path, f"is {WORDS[content]}, not what its ending says", "Give it its own ending.")


def use_pixels(name: str, where: object = "kind of file") -> None:
    """Read and write files of a kind from outside the package from now on in this process: what ``package.module:Class`` is, or
    what a package registers by the name. DataError, naming ``where`` the name stands, if there is no such kind."""
    if name not in PIXELS:
        kind = PIXELS.find(name, where)
        add_pixels(kind)
        _outside[name] = kind


def outside_pixels() -> tuple[str, ...]:
    """The names that ``use_pixels`` was asked for: what other processes that this one starts must ask for too."""
    return tuple(name for name, kind in _outside.items() if PIXELS.get(kind.name) is kind)


def add_pixels(kind: Pixels) -> None:
    """Add a kind from outside the package; DataError if it takes the name or an ending of another one."""
    for known in PIXELS.values():
        taken = sorted(set(known.endings) & set(kind.endings)) or [kind.name] * (known.name == kind.name)
        if taken and type(known) is not type(kind):
            remedy = f"Give it another name and other endings: {taken[0]} belongs to {known.name}."
            raise DataError(f"kind of file {kind.name}", f"claims {', '.join(taken)}, which is taken", remedy)
    PIXELS[kind.name] = kind


def endings() -> tuple[str, ...]:
    """All endings of files that are read, in lower case."""
    return _endings(*PIXELS.values())


@cache
def _endings(*kinds: Pixels) -> tuple[str, ...]:
    return tuple(ending for kind in kinds for ending in kind.endings)


def unread_endings(folder: Path) -> list[str]:
    """The endings of files in a folder and below that may be images of a kind that is not read, the most frequent first."""
    files = (path for path in islice(folder.rglob("*"), MANY) if not is_hidden(path))
    strange = (path for path in files if not is_image(path) and path.is_file())
    counts = Counter(path.suffix for path in strange if path.suffix and path.suffix.lower() not in NOTES)
    return sorted(counts, key=lambda ending: (-counts[ending], ending))


def is_image(path: Path) -> bool:
    """Whether a file has an ending that is read; hidden files do not count."""
    return suffix(path) in endings() and not is_hidden(path)


def suffix(path: Path) -> str:
    """The ending in lower case, also one of several dots (``.nii.gz``); of files of no known kind what follows the last dot."""
    name = path.name.lower()
    fitting = [ending for ending in endings() if name.endswith(ending) and len(name) > len(ending)]
    return max(fitting, key=len, default=path.suffix.lower())


def stem(path: Path) -> str:
    """The file name without ``suffix``."""
    return path.name[: len(path.name) - len(suffix(path))]
