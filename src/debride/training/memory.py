"""An error that says that memory is full, turned into one that says which setting to change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from debride.escapes import one_line
from debride.training.config import TrainConfig
from debride.types import DataError
from debride.words import short

_WORDS = re.compile("can't allocate memory|not enough memory|out of memory|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)
_STEP = 16  # what shapes of patches stay multiples of, for networks that halve them four times


def is_memory(error: BaseException) -> bool:
    """Whether an error says that memory is full; PyTorch has no class of its own for that of the CPU."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _WORDS.search(str(error)) is not None)


@contextmanager
def naming_settings(config: TrainConfig) -> Iterator[None]:
    """Turns an error that memory is full into DataError, which names the settings of a training that it depends on."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_memory(error):
            raise
        reason = short(one_line(str(error)), 200) or "no reason is given"
        raise DataError("memory", f"is not enough for a step ({reason})", smaller(config)) from error


def smaller(config: TrainConfig) -> str:
    """Which settings a training needs less memory with, what they are, and what to try."""
    tries = []
    if config.batch_size > config.processes:
        tries.append(f"`batch_size` is {config.batch_size}: try {max(config.batch_size // 2, config.processes)}")
    if config.patch_size:
        tries += _shape("patch_size", config.patch_size)
    elif config.image_size:
        tries += _shape("image_size", config.image_size)
    else:
        tries.append("`patch_size` is not set: try patches, in place of whole images")
    if len(tries) < 2 and config.width > 1:
        tries.append(f"`width` is {config.width}: try {config.width // 2}")
    return f"{'; or '.join(tries)}."


def _shape(name: str, shape: tuple[int, ...]) -> list[str]:
    """Three quarters of each length, where that is less."""
    less = tuple(max(_STEP, length * 3 // 4 // _STEP * _STEP) if length > _STEP else length for length in shape)
    if less == shape:
        return []
    return [f"`{name}` is {' '.join(map(str, shape))}: try {' '.join(map(str, less))}"]
