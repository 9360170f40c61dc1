"""What speaks against each label of a set beside the others, without any network: entries of the evidence, also against the
copies with planted errors, and what there is to doubt in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.peers import alike
from debride.audit.peers.measures import CELLS, Measured, Sight, unpacked
from debride.audit.peers.typical import Doubles, Flags, Peers, middles, peers_of, shares
from debride.data.rater_choice import image_id
from debride.types import Case

LEAST = 0.05, 0.5
"""Deviations of logarithms of volumes, and of roots of numbers, that are added to those found: smaller ones say nothing."""

NOWHERE = 0.01
"""A class lies where no other does if fewer of the others have it in the same or a touching cell."""


@dataclass(frozen=True)
class Beside:
    """N labels beside each other, and M copies with planted errors after them; rows are all N + M.

    ``own`` (N + M,) is the place of the case that each row is of. By class, (N + M, K - 1): the ``volume`` in mm, mm2, mm3 or
    shares of the image, NaN where there is none, and its ``deviation`` from the others; how many others are ``having`` the
    class, ``of`` those in which it was drawn. ``drawn`` (N, K - 1) are the classes that were drawn. ``cells`` are coarse
    pictures of the labels, ``near`` the neighbours by image, ``as_row`` the place of a case with the same label of another
    image, or -1. ``turn`` is the place in ``TURNS`` of the way to mirror the label that fits best to the labels of similar
    images, and ``edges`` how unusual it is how well the turned label fits to the image's own edges. ``entries`` are numbers by
    row; the larger, the more doubtful.
    """

    own: npt.NDArray[np.intp]
    peers: Peers
    drawn: Flags
    volume: Doubles
    in_mm: bool
    deviation: Doubles
    having: Doubles
    of: Doubles
    cells: npt.NDArray[np.uint8]
    near: alike.Neighbours
    as_row: npt.NDArray[np.intp]
    turn: Doubles
    edges: Doubles
    entries: Mapping[str, Doubles]

    def given(self, evidence: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
        """The evidence against each of the N given labels, with the entries."""
        return [{**known, **self._of(row)} for row, known in enumerate(evidence)]

    def planted(self, evidence: Sequence[Mapping[str, Mapping[str, float]]]) -> list[dict[str, dict[str, float]]]:
        """The evidence against the copies by case and kind, in the order of what ``compare`` was given, with the entries."""
        rows = iter(range(len(self.drawn), len(self.own)))
        return [{kind: {**known, **self._of(next(rows))} for kind, known in errors.items()} for errors in evidence]

    def _of(self, row: int) -> dict[str, float]:
        return {name: float(values[row]) for name, values in self.entries.items()}


def compare(cases: Sequence[Case], classes: int, sights: Sequence[Sight], planted: Sequence[Mapping[str, Measured]]) -> Beside:
    """N cases beside each other, and the copies with ``planted`` errors of some of them (N, by kind, empty elsewhere)."""
    copies = [(row, measured) for row, errors in enumerate(planted) for measured in errors.values()]
    own = np.array([*range(len(cases)), *(row for row, _ in copies)], np.intp)
    rows = [*(sight.measured for sight in sights), *(measured for _, measured in copies)]
    drawn = np.array([[case.drew(value) for value in range(1, classes)] for case in cases], bool).reshape(len(cases), -1)
    in_mm = all(sight.voxel is not None for sight in sights)
    unit = np.array([sight.voxel if in_mm else 1 / sight.size for sight in sights], np.float64)[own, None]
    voxels = np.array([measured.voxels for measured in rows], np.float64)
    pieces = np.array([measured.pieces for measured in rows], np.float64)
    gaps = np.array([measured.gaps for measured in rows], np.float64)
    jump, mirrored, off_edge, ragged = (
        np.array([getattr(measured, name) for measured in rows]) for name in ("jump", "mirrored", "off_edge", "ragged")
    )
    peers = peers_of(cases)
    has = voxels > 0
    volume = np.where(has & drawn[own], voxels * unit, np.nan)
    deviation = _deviation(np.log(volume), peers, own, LEAST[0])
    number = _deviation(np.where(has & drawn[own], np.sqrt(pieces), np.nan), peers, own, LEAST[1])
    having, of = (values[own] for values in shares(has[: len(cases)] & drawn, drawn, peers))
    absent, present = drawn[own] & ~has, drawn[own] & has
    changes = np.stack([jump, mirrored, off_edge, ragged], axis=1)
    unusual = _deviation(changes, peers, own, 1e-6)
    cells = np.stack([unpacked(measured.cells) for measured in rows])
    images = {name: at for at, name in enumerate(dict.fromkeys(image_id(case) for case in cases))}
    image = np.array([images[image_id(case)] for case in cases], np.intp)
    near = alike.neighbours(np.stack([unpacked(sight.fingerprint, np.int8) for sight in sights]), image)
    as_row = _copied(rows, own, image, near)
    nearby = alike.having(near, has[: len(cases)], drawn)[own]
    entries = {
        "wanting": _most(-np.log(1 - nearby), absent),
        "lacks": _most(-np.log((of - having + 0.5) / (of + 1)), absent),
        "rare": _most(-np.log((having + 0.5) / (of + 1)), present),
        "small": _most(-deviation, present),
        "large": _most(deviation, present),
        "fewer": _most(-number, present),
        "more": _most(number, present),
        "gaps": gaps.max(axis=1),
        "jump": unusual[:, 0],
        "mirrored": mirrored,
        "off-edge": unusual[:, 2],
        "wavy": unusual[:, 3],
        "elsewhere": _elsewhere(cells, own, peers, classes, len(cases)),
        **_voted(cells, own, near, classes, drawn),
    }
    turn = entries.pop("turn")
    unlike = entries["unlike"]
    entries["copied"] = ((as_row >= 0) & (unlike > unlike[as_row])).astype(np.float64)  # of two the one that fits less
    entries["unlike"] = np.maximum(unlike, _same(cells, own, near, classes))
    entries = {name: np.nan_to_num(values) for name, values in entries.items()}
    return Beside(own, peers, drawn, volume, in_mm, deviation, having, of, cells, near, as_row, turn, unusual[:, 1], entries)


def _deviation(values: Doubles, peers: Peers, own: npt.NDArray[np.intp], least: float) -> Doubles:
    """How many deviations values (N + M, F) lie above the median of the given ones (N, F) of the case's peers; NaN where there
    is none."""
    median, deviation = middles(values[: len(peers.group)], peers)
    found: Doubles = (values - median[own]) / (deviation[own] + least)
    return found


def _most(values: Doubles, where: Flags) -> Doubles:
    """The largest value of each row (n, F) where there is one, at least 0."""
    most: Doubles = np.where(where & ~np.isnan(values), values, 0.0).max(axis=1, initial=0)
    return most


def _elsewhere(cells: Any, own: npt.NDArray[np.intp], peers: Peers, classes: int, given: int) -> Doubles:
    """The root of the cells in which a label has a class where hardly any other has it, or near to."""
    grid, found = _grid(cells), np.zeros(len(cells))
    for value in range(1, classes):
        has = cells == value
        wide = alike.surrounded(has[:given], grid)
        for number, members in enumerate(peers.members):
            others = wide[members].sum(axis=0)
            rows = np.flatnonzero(peers.group[own] == number)
            itself = wide[own[rows]] & np.isin(own[rows], members)[:, None]
            found[rows] += (has[rows] & (others - itself <= NOWHERE * len(members))).sum(axis=1)
    return np.sqrt(found)


def _voted(cells: Any, own: npt.NDArray[np.intp], near: alike.Neighbours, classes: int, drawn: Flags) -> dict[str, Doubles]:
    """What the labels of the most similar images say against each row."""
    grid, told = _grid(cells), defaultdict(list)
    known = np.pad(drawn, [(0, 0), (1, 0)], constant_values=True)
    for part in alike.blocks(len(cells), 4 * classes * cells.shape[1]):
        said = alike.votes(near, cells[: len(drawn)], classes, own[part])
        for name, values in alike.against_votes(cells[part], said, grid, known[own[part]]).items():
            told[name].append(values)
    return {name: np.concatenate(values) for name, values in told.items()}


def _same(cells: Any, own: npt.NDArray[np.intp], near: alike.Neighbours, classes: int) -> Doubles:
    """One less the Dice with the labels of the same image, the least alike of them; 0 where there is none."""
    found = np.zeros(len(cells))
    for voter in range(near.rows.shape[1]):
        rows = np.flatnonzero(near.similar[own, voter] >= alike.SAME)
        found[rows] = np.maximum(found[rows], 1 - alike.common(cells[rows], cells[near.rows[own[rows], voter]], classes))
    return found


def _copied(rows: Sequence[Measured], own: npt.NDArray[np.intp], image: alike.Rows, near: alike.Neighbours) -> alike.Rows:
    """A case with the same label of another image that looks otherwise, -1 without one."""
    by: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    given = len(image)
    keys = [(measured.cells, measured.voxels) for measured in rows]
    for row in range(given):
        if any(rows[row].voxels):
            by[keys[row]].append(row)
    found = np.full(len(rows), -1, np.intp)
    for row, case in enumerate(own.tolist()):
        alikes = {int(at) for at, like in zip(near.rows[case], near.similar[case], strict=True) if like >= alike.SAME}
        others = [at for at in by.get(keys[row], ()) if image[at] != image[case] and at not in alikes]
        found[row] = others[0] if others else -1
    return found


def _grid(cells: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    return next(grid for grid in CELLS.values() if np.prod(grid) == cells.shape[1])
