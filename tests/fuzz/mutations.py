"""What is done to one file of an input: bytes of any file, and the file itself. What depends on the kind of file stands beside
its reader."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

Structural = Callable[[random.Random, bytes], tuple[str, bytes]]
"""A change that knows what the bytes mean: what it did, and the new bytes."""

_SECONDS = count(1_500_000_000)
"""A new date for every file that is written: what remembers a file by its date sees each change."""


@dataclass(frozen=True)
class Mutation:
    """A file and what is done to it, repeatable by its ``seed``. ``content`` None: the file's name or nature changes."""

    subject: str
    seed: int
    file: Path
    what: str
    content: bytes | None = None
    nature: str = ""

    def __str__(self) -> str:
        return f"DEBRIDE_FUZZ={self.subject}:{self.seed}  {self.file.name}: {self.what}"


def flip(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    changed = bytearray(content)
    places = [rng.randrange(8 * len(content)) for _ in range(rng.choice((1, 1, 1, 2, 8)))]
    for place in places:
        changed[place // 8] ^= 1 << place % 8
    return f"bits {places} flipped", bytes(changed)


def set_byte(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    place, value = rng.randrange(len(content)), rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return f"byte {place} set to {value}", content[:place] + bytes([value]) + content[place + 1 :]


def truncate(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    end = rng.choice((rng.randrange(len(content)), len(content) - 1 - rng.randrange(min(16, len(content)))))
    return f"cut off at {end}", content[:end]


def zero(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    start, length = _block(rng, content)
    return f"{length} bytes from {start} zeroed", content[:start] + bytes(length) + content[start + length :]


def append(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    added = rng.choice((b"\0", b"\n", bytes(64), rng.randbytes(rng.randrange(1, 100)), content))
    return f"{len(added)} bytes appended ({added[:8]!r})", content + added


def insert(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    place = rng.randrange(len(content))
    added = rng.choice((b"\0", b" ", b"\xff", b"\n", rng.randbytes(rng.randrange(1, 20))))
    return f"{added!r} inserted at {place}", content[:place] + added + content[place:]


def delete(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    start, length = _block(rng, content)
    return f"{length} bytes from {start} taken out", content[:start] + content[start + length :]


def swap(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    a, length = _block(rng, content)
    b = rng.randrange(len(content))
    a, b = min(a, b), max(a, b)
    length = min(length, b - a, len(content) - b)
    first, second = content[a : a + length], content[b : b + length]
    changed = content[:a] + second + content[a + length : b] + first + content[b + length :]
    return f"{length} bytes at {a} and {b} exchanged", changed


def overwrite(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    start, length = _block(rng, content)
    return f"{length} bytes from {start} random", content[:start] + rng.randbytes(length) + content[start + length :]


BYTES: tuple[Structural, ...] = (flip, flip, set_byte, truncate, zero, append, insert, delete, swap, overwrite)

NATURES = ("taken away", "dangling link", "folder in its place", "empty", "link in a circle", "a copy beside it")


def _block(rng: random.Random, content: bytes) -> tuple[int, int]:
    start = rng.randrange(len(content))
    longest = len(content) - start
    return start, min(longest, rng.choice((1, 4, 16, 64, 512, longest)))


def drawn(subject: str, seed: int, files: list[Path], structural: Callable[[Path], tuple[Structural, ...]]) -> Mutation:
    """The mutation of a subject that a seed stands for: by bytes, by structure, or of the file itself."""
    rng = random.Random(f"{subject}:{seed}")
    file = rng.choice(files)
    content = file.read_bytes()
    chance = rng.random()
    if chance < 0.06 or not content:
        nature = rng.choice(NATURES)
        return Mutation(subject, seed, file, nature, nature=nature)
    known = structural(file)
    change = rng.choice(known) if known and chance < 0.6 else rng.choice(BYTES)
    what, changed = change(rng, content)
    return Mutation(subject, seed, file, what, changed)


@contextmanager
def applied(mutation: Mutation) -> Iterator[None]:
    """Changes the file for as long as the block lasts, and then puts it back as it was."""
    file, content = mutation.file, mutation.file.read_bytes()
    beside = file.with_name(f"copy-{file.name}")
    try:
        if mutation.content is not None:
            _write(file, mutation.content)
        elif mutation.nature == "a copy beside it":
            _write(beside, content)
        elif mutation.nature == "empty":
            _write(file, b"")
        else:
            file.unlink()
            if mutation.nature == "dangling link":
                file.symlink_to("nowhere")
            elif mutation.nature == "link in a circle":
                file.symlink_to(file.name)
            elif mutation.nature == "folder in its place":
                file.mkdir()
        yield
    finally:
        for path in (file, beside):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        _write(file, content)


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    second = next(_SECONDS)
    os.utime(file, (second, second))
