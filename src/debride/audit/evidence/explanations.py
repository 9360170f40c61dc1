"""Which entries of the evidence speak of which kind of error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

EXPLANATIONS: dict[str, tuple[str, ...]] = {
    "missing": ("piece", "lacks", "lost", "small", "fewer", "wanting"),
    "extra": ("window", "rare", "added", "elsewhere", "large", "more"),
    "boundary": ("grow/u", "shrink/u", "outward", "inward", "size", "small", "large", "off-edge"),
    "ragged": ("ragged", "smooth/u", "grow/u", "shrink/u", "wavy"),
    "swap": ("swap", "exchanged"),
    "flip": ("flip/u", "turned", "mirrored"),
    "shift": ("shift", "moved", "off-edge"),
    "gap": ("gap", "gaps", "jump"),
    "stray": ("stray", "gaps", "jump"),
    "other": ("piece", "shift", "copied", "unlike", "off-edge"),
    "any": ("self-confidence", "unlike"),
}
"""The entries of the evidence that speak of each kind of error; "/u": divided by the root of the uncertainty, with which a
boundary's gain grows."""

TOGETHER = {"ragged": "boundary"}
"""Kinds of planted errors that are reported as another: a ragged outline is an outline that lies off."""


def reported(kind: str) -> str:
    """The kind that findings have for a planted one."""
    return TOGETHER.get(kind, kind)


def entries_for(kind: str, evidence: Sequence[Mapping[str, float]]) -> list[str]:
    """The entries that speak of a kind, of those that all N cases have."""
    return [name for name in EXPLANATIONS[kind] if all(name.partition("/")[0] in numbers for numbers in evidence)]
