"""What label values mean where nothing names them: classes inferred from the values that occur."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from debride.data.formats import Legend, Report
from debride.data.instances import Numbering, numbered
from debride.data.odd_values import MAX_INFERRED, Occurring, kept
from debride.data.pixels.images import read_header, read_values
from debride.data.pixels.occurring import occurring
from debride.data.pixels.palettes import BLACK
from debride.data.plain import dataset_of, plain_dataset
from debride.execute import Work, spread
from debride.execute.work import Do
from debride.types import DataError, Dataset, Palette

_OBJECTS = (
    'If they are classes, name them in dataset.json: {"classes": ["background", "first", "second"]}. If they are objects of '
    'one class, give all values its id: {"classes": ["background", "cell"], "values": {"0": 0, "1": 1, "2": 1}}.'
)


def infer_legend(root: Path, labels: Sequence[Path], report: Report, palette: Palette | None = None, jobs: int = 1) -> Legend:
    """Classes and ``values`` from the values that occur in label files: 0 and 255, or 0 to K - 1 without a gap (K <= 20).

    White of one bit or of a palette (1) beside that of 8 bits (255) is the same; that of 16 bits is 65535. Anything else is
    reported: each file that holds what most others do not, or else the file with the rarest value, and values that number
    objects. So many processes read, each one file at a time.
    """
    holding: dict[tuple[int, ...], list[Path]] = {}
    numbering = Numbering()
    setup = plain_dataset(Dataset(root, "", (), (), 0, palette=palette))
    with spread(Work(looking_for_values, setup), map(str, labels), jobs=jobs) as outcomes:
        for path, outcome in zip(labels, outcomes, strict=True):
            try:
                present, objects = outcome.value()
            except DataError as problem:
                report(problem)
                continue
            numbering.add(objects)
            holding.setdefault(kept(present), []).append(path)
    found = Occurring(holding)
    values = found.values
    if palette and palette.colours.get(0) != BLACK and any(palette.colours.get(value) == BLACK for value in values):
        message = (
            f"is a palette picture with {palette.colours.get(0)} as index 0, and black as another: either may be the background"
        )
        report(DataError(palette.file, message, found.description()))
    if values in ([0, 1], [0, 255], [0, 65535]):
        return Legend(("background", "foreground"), values={} if 1 in values else {0: 0, values[1]: 1})
    if values == [0, 1, 255] and all(read_header(path).white_is_one for path in found.files_with(1)):
        return Legend(("background", "foreground"), values={0: 0, 1: 1, 255: 1})
    if len(values) == 1:
        report(DataError(root, f"has no label value but {values[0]}", found.description()))
    elif numbering.certain:
        message = f"numbers its objects: each of its values 1 to {values[-1]} is one object, and other labels have fewer"
        report(DataError(found.files_with(values[-1])[0], message, _OBJECTS))
    elif values != list(range(len(values))) or len(values) > MAX_INFERRED:
        usual = found.usual()
        for odd in found.unusual(usual) if usual else [found.undecided()]:
            report(odd)
        if len(known := usual or values) <= MAX_INFERRED:
            return found.legend(known)
    return Legend(("background", *(f"class_{i}" for i in range(1, max(2, min(len(values), MAX_INFERRED))))))


def looking_for_values(setup: Any) -> Do:
    """The values that occur in a label file, and what ``numbered`` says of it. Once a label does not number its objects no
    other can, so that the rest is not looked at for it."""
    palette, may_number = dataset_of(setup).palette, True

    def look(path: Any) -> Any:
        nonlocal may_number
        label = read_values(Path(path), palette)[0]
        values = occurring(label)
        objects = numbered(label, values) if may_number else None
        may_number = objects is not None
        return values, objects

    return look
