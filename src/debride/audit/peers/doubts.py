"""What there is to doubt in a label, in words: only what stands out so far that a person should look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from debride.audit.peers import alike
from debride.audit.peers.beside import Beside
from debride.audit.peers.measures import TRANSPOSED, TURNS, Sight
from debride.audit.peers.typical import Doubles, ranges, reached
from debride.types import Case, Dataset

FEWEST = 10
"""Among fewer others nothing is called unusual."""

NEARLY_ALL, HARDLY_ANY = 0.95, 0.03
"""Shares of the others."""

FAR = 6.0
"""Robust deviations from the others."""

TURNED, EXCHANGED, MOVED, OTHERWISE = 0.3, 0.3, 0.15, 0.1
"""Gains in Dice with the labels of similar images by turning a label, or exchanging its classes; lengths of the image that
separate it from them; and one less the Dice with the label of the same image."""

SLACK = 0.2
"""A label that is put right agrees with those of similar images by this Dice less than others do, at most."""


class _Usual(NamedTuple):
    """The ranges of the peers' volumes and pieces, and how many of them reach a case's pieces and gaps, (N, K - 1) each; and
    how well labels ``fit`` to those of similar images, as a median Dice."""

    volumes: tuple[Doubles, Doubles]
    pieces: tuple[Doubles, Doubles]
    pieces_reached: Doubles
    gaps_reached: Doubles
    fit: float


def doubts(cases: Sequence[Case], dataset: Dataset, sights: Sequence[Sight], beside: Beside) -> list[tuple[str, ...]]:
    """What there is to doubt in each of N labels, the plainest first."""
    many = len(cases)
    pieces = np.array([sight.measured.pieces for sight in sights], np.float64)
    gaps = np.array([sight.measured.gaps for sight in sights], np.float64)
    has = beside.drawn & ~np.isnan(beside.volume[:many])
    usual = _Usual(
        ranges(beside.volume[:many], beside.peers),
        ranges(np.where(has, pieces, np.nan), beside.peers),
        reached(pieces, beside.drawn, beside.peers),
        reached(gaps, beside.drawn, beside.peers),
        1 - float(np.median(beside.entries["unlike"][:many])),
    )
    return [
        (
            *_of_others(row, cases, beside),
            *_of_classes(row, dataset, sights, beside, usual),
            *_as_a_whole(row, sights, beside, usual),
        )
        for row in range(many)
    ]


def _of_others(row: int, cases: Sequence[Case], beside: Beside) -> list[str]:
    """Labels that are another case's, and other labels of the same image."""
    said = []
    if (other := int(beside.as_row[row])) >= 0:
        said.append(f"same label as {cases[other].id}, whose image is another")
    for other, likeness in zip(beside.near.rows[row].tolist(), beside.near.similar[row].tolist(), strict=True):
        if likeness >= alike.SAME:
            (dice,) = alike.common(beside.cells[[row]], beside.cells[[other]], beside.drawn.shape[1] + 1)
            if 1 - dice > OTHERWISE:
                said.append(f"same image as {cases[other].id}, other label (Dice {dice:.2f})")
    return said


def _of_classes(row: int, dataset: Dataset, sights: Sequence[Sight], beside: Beside, usual: _Usual) -> list[str]:
    """Classes that it lacks or has alone, their volumes, pieces and gaps."""
    said, measured = [], sights[row].measured
    for at, name in enumerate(dataset.classes[1:]):
        having, of = int(beside.having[row, at]), int(beside.of[row, at])
        if not beside.drawn[row, at] or of < FEWEST:
            continue
        few = HARDLY_ANY * of
        if not measured.voxels[at]:
            if having >= NEARLY_ALL * of:
                said.append(f"lacks {name}, which {having} of {of} others have")
            continue
        if having <= few:
            said.append(f"has {name}, which {having} of {of} others have")
            continue
        if having >= FEWEST and abs(beside.deviation[row, at]) > FAR:
            low, high = (float(limit[row, at]) for limit in usual.volumes)
            said.append(_sizes(name, float(beside.volume[row, at]), low, high, dataset.ndim, beside.in_mm))
        if usual.pieces_reached[row, at] <= few and measured.pieces[at] > usual.pieces[1][row, at]:
            said.append(f"{measured.pieces[at]} pieces of {name}, others {_range(*(limit[row, at] for limit in usual.pieces))}")
        if measured.gaps[at] and usual.gaps_reached[row, at] <= few:
            slices = "1 slice" if measured.gaps[at] == 1 else f"{measured.gaps[at]} slices"
            said.append(f"{slices} without {name} between slices that have it")
    return said


def _as_a_whole(row: int, sights: Sequence[Sight], beside: Beside, usual: _Usual) -> list[str]:
    """Turned, exchanged or elsewhere, beside what labels of similar images let expect; jumps."""
    if len(sights) <= FEWEST:
        return []
    said, measured = [], sights[row].measured
    values = {name: float(entry[row]) for name, entry in beside.entries.items()}
    fits = 1 - values["unlike"] >= usual.fit - SLACK
    if values["turned"] > TURNED and 1 - values["unlike"] + values["turned"] >= usual.fit - SLACK:
        said.append(f"looks mirrored {TURNS[int(beside.turn[row])]}")
    elif measured.turn and beside.edges[row] > FAR:  # without an outline there is nothing to turn
        said.append(f"looks {'' if measured.turn == TRANSPOSED else 'mirrored '}{measured.turn}, by the edges of the image")
    if values["exchanged"] > EXCHANGED and 1 - values["unlike"] + values["exchanged"] >= usual.fit - SLACK:
        said.append("looks as if classes were exchanged")
    if values["moved"] > MOVED and not fits:
        said.append("lies elsewhere than the labels of similar images")
    if values["jump"] > FAR:
        said.append(f"jumps after slice {measured.jump_at}")
    return said


def _range(low: float, high: float) -> str:
    return f"{low:.0f}" if round(low) == round(high) else f"{low:.0f} to {high:.0f}"


def _sizes(name: str, value: float, least: float, most: float, ndim: int, in_mm: bool) -> str:
    """A volume, or area, beside those of others."""
    what, unit, times = ("area", "mm2", 1.0) if ndim == 2 else ("volume", "ml", 0.001)
    if not in_mm:
        unit, times = "% of the image", 100.0
    own, low, high = (f"{times * size:,.0f}" if times * size >= 100 else f"{times * size:.3g}" for size in (value, least, most))
    return f"{what} of {name} {own} {unit}, others {low} to {high} {unit}"
