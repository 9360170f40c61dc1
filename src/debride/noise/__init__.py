"""Label noise: simulators that take a clean label and give a wrong one.

A simulator is a frozen dataclass of its parameters. ``noise(label, classes, rng)`` takes a label (S) in ``uint8``, 2D or 3D,
the number of classes with the background, and a generator; it returns a new label and leaves ``IGNORE`` pixels as they are.
All that is random comes from the generator: with ``rng.generator(seed, "noise", case_id)`` the parameters, the seed and the
case replay a corruption. ``DilateErode`` takes a spacing too, which it needs where its distances are in millimetres.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from debride.noise.coarse import Coarse
from debride.noise.errors import Extra, Flip, Gaps, Missing, Shift, Stray, Swap
from debride.noise.markov import S_E, S_R, Markov
from debride.noise.morphology import S_DE, DilateErode, MissingOrBoundary
from debride.settings import from_mapping
from debride.types import DataError

__all__ = [
    "NOISES",
    "S_DE",
    "S_E",
    "S_R",
    "Coarse",
    "DilateErode",
    "Extra",
    "Flip",
    "Gaps",
    "Markov",
    "Missing",
    "MissingOrBoundary",
    "Noise",
    "Shift",
    "Stray",
    "Swap",
    "make_noise",
    "parameters",
]

Noise = Markov | DilateErode | MissingOrBoundary | Coarse | Missing | Extra | Swap | Flip | Gaps | Stray | Shift

NOISES: dict[str, type[Noise]] = {
    "markov": Markov,
    "dilate-erode": DilateErode,
    "missing-boundary": MissingOrBoundary,
    "coarse": Coarse,
    "missing": Missing,
    "extra": Extra,
    "swap": Swap,
    "flip": Flip,
    "gaps": Gaps,
    "stray": Stray,
    "shift": Shift,
}


def make_noise(name: str, **parameters: Any) -> Noise:
    """The simulator of a name in ``NOISES`` with the given parameters; DataError for an unknown name, parameter or a bad
    value."""
    if name not in NOISES:
        raise DataError(f"noise {name}", "does not exist", f"Choose one of {', '.join(NOISES)}.")
    return from_mapping(NOISES[name], parameters, f"noise {name}")


def parameters(noise: Noise) -> dict[str, Any]:
    """The parameters of a simulator, as ``make_noise`` takes them and JSON gives them back (sequences as lists)."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(noise).items()}
