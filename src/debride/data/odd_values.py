"""Label values that most files of a data set do not hold: which files hold them, and what to write where they are meant."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from debride.data.formats import Legend
from debride.data.pixels.images import MAX_VALUE
from debride.types import DataError
from debride.words import some

MAX_INFERRED = 20
"""With more label values than this, classes are not inferred: such masks are more likely grey pictures."""

WHITE = (255, 65535)
"""White of 8 and of 16 bits."""

MOST_KEPT = 1000
"""Of a file with more values the first ones and the last are kept: it is a picture, or numbers its objects."""


@dataclass(frozen=True)
class Occurring:
    """The files of a data set by the ascending values that they hold."""

    holding: Mapping[tuple[int, ...], list[Path]]

    @property
    def values(self) -> list[int]:
        """All values, ascending."""
        return sorted(set().union(*self.holding))

    def files_with(self, value: int) -> list[Path]:
        """The files that hold a value."""
        return [path for values, paths in self.holding.items() if value in values for path in paths]

    def usual(self) -> list[int]:
        """The values by which most files with a foreground tell their classes; empty where no values do."""
        first = next((i for i, value in enumerate(self.values) if i != value), len(self.values))
        counts = [first] if first <= MAX_INFERRED else range(2, MAX_INFERRED + 1)
        choices = [[*range(count)] for count in counts if count > 1] + [[0, white] for white in WHITE]
        told = {sum(len(paths) for held, paths in self._drawn() if {*held} <= {*few}): few for few in reversed(choices)}
        return told[max(told)] if 2 * max(told) > sum(len(paths) for _, paths in self._drawn()) else []

    def unusual(self, usual: Sequence[int]) -> Iterator[DataError]:
        """A problem for all files with the same values beside the usual ones."""
        odd: dict[tuple[int, ...], list[Path]] = {}
        for held, paths in self.holding.items():
            if others := tuple(value for value in held if value not in usual):
                odd.setdefault(others, []).extend(paths)
        for values, paths in odd.items():
            alone = all(len(self.files_with(value)) == 1 for value in values)
            plural, names = "s" if len(values) > 1 else "", [path.name for path in paths[1:]]
            so = f"{'alone ' * alone}holds the label value{plural} {_shown(values)}"
            as_do = f", as {'does' if len(names) == 1 else 'do'} {some(names)}," if names else ","
            problem = f"{so}{as_do} where most of the {self._number} labels hold {_shown(usual)}"
            yield DataError(paths[0], problem, self._remedy(values, usual))

    def undecided(self) -> DataError:
        """The problem where no values tell the classes of most files, named by the file with the rarest one."""
        rarest = min(reversed(self.values), key=lambda value: len(self.files_with(value)))
        message = f"holds the label value {rarest}; the values of all labels are {_shown(self.values)}"
        remedy = self._two_meanings() or (_as_white(self.values) if self._whites() else "") or self.description()
        return DataError(self.files_with(rarest)[0], f"{message}, which does not tell the classes", remedy)

    def description(self) -> str:
        """What to write where all values are meant, as a sentence."""
        return f"Describe the labels in dataset.json: {self._described(self.values)}"

    def legend(self, usual: Sequence[int]) -> Legend:
        """The usual classes. Values that were reported are background here, or the foreground where they are all of it, so that
        they are reported once."""
        names = ("foreground",) if len(usual) == 2 else tuple(f"class_{id}" for id in range(1, len(usual)))
        known = {value: id for id, value in enumerate(usual)}
        odd = {value: int(len(usual) == 2 and value in self._whites()) for value in self.values if 0 <= value <= MAX_VALUE}
        return Legend(("background", *names), values=odd | known)

    @property
    def _number(self) -> int:
        return sum(map(len, self.holding.values()))

    def _drawn(self) -> Iterator[tuple[tuple[int, ...], list[Path]]]:
        """The files in which something is drawn."""
        return ((held, paths) for held, paths in self.holding.items() if any(held))

    def _whites(self) -> set[int]:
        """1 and values of white that are all the foreground of a file: to ignore them would lose its label."""
        return {held[-1] for held, _ in self._drawn() if {*held} <= {0, held[-1]} and held[-1] in (1, *WHITE)}

    def _two_meanings(self) -> str:
        """A remedy where 255 is all the foreground of one file, and lies beside other classes in another."""
        alone = next((paths[0] for held, paths in self._drawn() if {*held} <= {0, 255}), None)
        beside = next((paths[0] for held, paths in self._drawn() if 255 in held and not {*held} <= {0, 255}), None)
        if not alone or not beside:
            return ""
        return f"Correct one of the two: 255 is all that {alone.name} marks, and lies beside other values in {beside.name}."

    def _remedy(self, values: Sequence[int], usual: Sequence[int]) -> str:
        """What to do about values beside the usual ones."""
        if 255 in values and (remedy := self._two_meanings()):
            return remedy
        if len(values) == 1 and values[0] in self._whites():
            own = f"{values[0]} is all its foreground"
            return _as_white([*usual, *values]) or f"Write the values of the classes that it marks: {own}."
        if len(self.values) > MAX_INFERRED:
            return "Restore the label from its source, or take the case out."
        meant = "255 marks pixels without a label" if list(values) == [255] else f"{_shown(values)} is meant"
        same = self._whites() if [*usual] == [0, 1] else ()
        return f"Correct the label. If {meant}, write in dataset.json {self._described(sorted({*usual, *values, *same}))}"

    def _described(self, values: Sequence[int]) -> str:
        """The entries of a dataset.json with these values, as the end of a sentence. 255 that lies beside other values is a
        guess at ``ignore``, and never where it is all that a file marks."""
        if len(values) > MAX_INFERRED or len(values) < 2:
            return '{"classes": ["background", "lesion"]}, class ids being label values.'
        ignored = 255 in values and len(values) > 2 and 255 not in self._whites()
        same = len(values) > 2 and {1, 255} <= self._whites() & {*values} and 2 not in values
        kept = [value for value in values if not (value == 255 and (ignored or same))]
        names = ["lesion"] if len(kept) == 2 else [f"class_{id}" for id in range(1, len(kept))]
        ids = {value: id for id, value in enumerate(kept)} | ({255: 1} if same else {})
        entries: dict[str, object] = {"classes": ["background", *names]}
        entries |= {"values": ids} if [*ids] != [*range(len(ids))] else {}
        return json.dumps(entries | ({"ignore": 255} if ignored else {})) + "."


def kept(values: Sequence[int]) -> tuple[int, ...]:
    """The values of a file that are kept of it."""
    return tuple(values if len(values) <= MOST_KEPT else [*values[:MOST_KEPT], values[-1]])


def _as_white(values: Sequence[int]) -> str:
    """A remedy where a foreground has several values that are white; empty for other values."""
    whites = sorted({*values} - {0})
    if len(whites) < 2 or not {*whites} <= {1, *WHITE}:
        return ""
    entries = {"classes": ["background", "lesion"], "values": {0: 0, **dict.fromkeys(whites, 1)}}
    return f"Where {' and '.join(map(str, whites))} are the same foreground, write in dataset.json {json.dumps(entries)}."


def _shown(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")
