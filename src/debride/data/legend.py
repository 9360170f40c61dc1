"""What label values mean where nothing names them: classes inferred from the values that occur."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from debride.data.formats import Legend, Report
from debride.data.instances import Numbering, numbered
from debride.data.pixels.images import read_header, read_values
from debride.data.pixels.occurring import occurring
from debride.data.pixels.palettes import BLACK
from debride.data.plain import dataset_of, plain_dataset
from debride.execute import Work, spread
from debride.execute.work import Do
from debride.types import DataError, Dataset, Palette

MAX_INFERRED = 20
"""With more label values than this, classes are not inferred: such masks are more likely grey pictures."""

_DESCRIBE = (
    'Describe the labels in dataset.json: {"classes": ["background", "lesion"], "ignore": 255}, class ids being label values.'
)

_WHITE = (
    'Where both are white, write in dataset.json {"classes": ["background", "lesion"], "values": {"0": 0, "1": 1, "255": 1}}.'
)

_OBJECTS = (
    'If they are classes, name them in dataset.json: {"classes": ["background", "first", "second"]}. If they are objects of '
    'one class, give all values its id: {"classes": ["background", "cell"], "values": {"0": 0, "1": 1, "2": 1}}.'
)


def infer_legend(root: Path, labels: Sequence[Path], report: Report, palette: Palette | None = None, jobs: int = 1) -> Legend:
    """Classes and ``values`` from the values that occur in label files: 0 and 255, or 0 to K - 1 without a gap (K <= 20).

    White of one bit or of a palette (1) beside that of 8 bits (255) is the same; that of 16 bits is 65535. Anything else is
    reported, naming the file with the rarest value, and so are values that number objects. So many processes read, each one
    file at a time.
    """
    files: Counter[int] = Counter()
    first: dict[int, Path] = {}
    numbering, ones, together = Numbering(), list[Path](), False
    setup = plain_dataset(Dataset(root, "", (), (), 0, palette=palette))
    with spread(Work(looking_for_values, setup), map(str, labels), jobs=jobs) as outcomes:
        for path, outcome in zip(labels, outcomes, strict=True):
            try:
                present, objects = outcome.value()
            except DataError as problem:
                report(problem)
                continue
            numbering.add(objects)
            ones += [path] if 1 in present else []
            together |= {1, 255} <= set(present)
            files.update(present)
            first.update({value: path for value in present if value not in first})
    values = sorted(files)
    if palette and palette.colours.get(0) != BLACK and any(palette.colours.get(value) == BLACK for value in values):
        message = (
            f"is a palette picture with {palette.colours.get(0)} as index 0, and black as another: either may be the background"
        )
        report(DataError(palette.file, message, _DESCRIBE))
    if values in ([0, 1], [0, 255], [0, 65535]):
        return Legend(("background", "foreground"), values={} if 1 in values else {0: 0, values[1]: 1})
    if values == [0, 1, 255] and all(read_header(path).white_is_one for path in ones):
        return Legend(("background", "foreground"), values={0: 0, 1: 1, 255: 1})
    if len(values) == 1:
        report(DataError(root, f"has no label value but {values[0]}", _DESCRIBE))
    elif numbering.certain:
        message = f"numbers its objects: each of its values 1 to {values[-1]} is one object, and other labels have fewer"
        report(DataError(first[values[-1]], message, _OBJECTS))
    elif values != list(range(len(values))) or len(values) > MAX_INFERRED:
        rarest = min(reversed(values), key=files.__getitem__)
        shown = ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")
        message = f"holds the label value {rarest}; the values of all labels are {shown}, which does not tell the classes"
        report(DataError(first[rarest], message, _WHITE if values == [0, 1, 255] and not together else _DESCRIBE))
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
