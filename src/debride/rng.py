"""Random numbers that depend on what they are for, never on the order in which they are asked for.

Everything random derives from a seed and integer or string keys (epoch, step, case, purpose), so that order, number of
workers and number of processes do not matter and a resumed run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


def derive(seed: int, *keys: int | str) -> int:
    """A 63-bit seed from a seed and keys, the same on every machine and in every process."""
    text = "/".join([str(int(seed)), *(f"{type(key).__name__[0]}{key}" for key in keys)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *keys: int | str) -> np.random.Generator:
    """A NumPy generator seeded by ``derive``."""
    return np.random.default_rng(derive(seed, *keys))


def uniforms(seed: int, index: npt.ArrayLike, count: int) -> npt.NDArray[np.float64]:
    """For each index (a case's row) ``count`` numbers in [0, 1), as (len(index), count): SplitMix64 on (seed, index, position).

    A row depends on its own index and the seed only, so a batch is drawn at once and any order gives the same numbers.
    """
    rows = np.asarray(index, dtype=np.uint64)[:, None]
    with np.errstate(over="ignore"):
        state = _mix(np.uint64(seed) + _GOLDEN * (rows + np.uint64(1)))
        state = _mix(state + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64)[None])
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return z ^ (z >> np.uint64(31))
