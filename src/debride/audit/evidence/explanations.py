"""Which entries of the evidence speak of which kind of error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

EXPLANATIONS: dict[str, tuple[str, ...]] = {
    "missing": ("piece",),
    "extra": ("window",),
    "boundary": ("grow/u", "shrink/u"),
    "ragged": ("ragged", "grow/u", "shrink/u"),
    "swap": ("swap",),
    "flip": ("flip/u",),
    "shift": ("shift",),
    "gap": ("gap",),
    "stray": ("stray",),
    "any": ("self-confidence",),
}
"""The entries of the evidence that speak of each kind of error; "/u": divided by the root of the uncertainty, with which a
boundary's gain grows."""


def entries_for(kind: str, evidence: Sequence[Mapping[str, float]]) -> list[str]:
    """The entries that speak of a kind, of those that all N cases have."""
    return [name for name in EXPLANATIONS[kind] if all(name.partition("/")[0] in numbers for numbers in evidence)]
