"""The regions of nnU-Net: "labels" that are lists of values, and "regions_class_order" (documentation/region_based_training.md
there)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from debride.data.formats.dataset_json import MAX_CLASSES
from debride.data.formats.layout import Legend
from debride.data.label_regions import memberships, not_painted
from debride.types import DataError, Region
from debride.words import some

_FORM = '{"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}'


def are_regions(labels: Mapping[str, Any]) -> bool:
    """Whether labels are regions: as in nnU-Net, where one of them is a list of several values."""
    return any(isinstance(value, list) and len(value) > 1 for value in labels.values())


def read_regions(path: Path, labels: Mapping[str, Any], order: Any, values: Mapping[str, Sequence[int]]) -> Legend:
    """The classes and regions of ``labels``, whose ``values`` by name are read already, and of ``order``, the
    "regions_class_order".

    Each value is a class, named as the region that is this value alone. Regions stand in the order of ``labels``, in which
    nnU-Net paints them. Raises DataError where a mask of the regions could not give back every value.
    """
    ignore = _ignore(path, labels, values)
    held = {name: sorted(set(own)) for name, own in values.items() if name not in ("background", "ignore")}
    numbers = sorted({0, *(number for own in held.values() for number in own)})
    _refuse_values(path, held, numbers)
    if ignore is not None and ignore != numbers[-1] + 1:
        remedy = f"nnU-Net asks for the highest value and one more: {numbers[-1] + 1}."
        raise DataError(path, f'"ignore" is {ignore}, and the highest other value is {numbers[-1]}', remedy)
    _refuse_order(path, held, order)
    ids = {number: id for id, number in enumerate(numbers)}
    regions = tuple(
        Region(name, tuple(ids[number] for number in own), ids[painted])
        for (name, own), painted in zip(held.items(), order, strict=True)
    )
    _refuse_unpainted(path, regions, numbers)
    names = _class_names(held, numbers)
    return Legend(names, ignore, {} if numbers == list(range(len(numbers))) else ids, regions)


def _ignore(path: Path, labels: Mapping[str, Any], values: Mapping[str, Sequence[int]]) -> int | None:
    for name in ("background", "ignore"):
        if isinstance(labels.get(name), list):
            raise DataError(path, f'"labels" has a list of values for "{name}"', f"Give it one value, as in {_FORM}.")
    if list(values["background"]) != [0]:
        raise DataError(path, '"labels" has a background other than 0', f"Write it as in {_FORM}.")
    return values["ignore"][0] if "ignore" in values else None


def _refuse_values(path: Path, held: Mapping[str, Sequence[int]], numbers: Sequence[int]) -> None:
    if len(numbers) > MAX_CLASSES:
        raise DataError(path, f"names {len(numbers)} label values", f"Use at most {MAX_CLASSES}.")
    seen: dict[tuple[int, ...], str] = {}
    for name, own in held.items():
        if not own or 0 in own:
            what = "holds the background, 0" if own else "holds no value"
            raise DataError(path, f"the region {name!r} {what}", "List the values of its classes, or take it out.")
        first = seen.setdefault(tuple(own), name)
        if first != name:
            remedy = "Keep one of the two, and its entry of regions_class_order."
            raise DataError(path, f"the regions {first!r} and {name!r} hold the same values", remedy)


def _refuse_order(path: Path, held: Mapping[str, Sequence[int]], order: Any) -> None:
    if order is None:
        raise DataError(path, 'has regions, and no "regions_class_order"', f"Name a value for each region, as in {_FORM}.")
    if not isinstance(order, list) or not all(type(value) is int for value in order):
        raise DataError(path, '"regions_class_order" is not a list of whole numbers', f"Write it as in {_FORM}.")
    if len(order) != len(held):
        problem = f'"regions_class_order" has {len(order)} values, and there are {len(held)} regions'
        raise DataError(path, problem, f"Give one for each region, in the order of labels: {', '.join(held)}.")
    for (name, own), value in zip(held.items(), order, strict=True):
        if value not in own:
            problem = f'"regions_class_order" gives the region {name!r} the value {value}, which it does not hold'
            raise DataError(path, problem, f"Give one of its values, {', '.join(map(str, own))}.")


def _refuse_unpainted(path: Path, regions: Sequence[Region], numbers: Sequence[int]) -> None:
    """Refuses regions whose masks do not give back each value."""
    lost = next(not_painted(regions, len(numbers)), None)
    if lost is None:
        return
    value, painted = (numbers[id] for id in lost)
    table = memberships(regions, len(numbers))
    if (table[:, lost[0]] == table[:, lost[1]]).all():
        problem = f"has the values {value} and {painted} in the same regions: their masks cannot tell the two apart"
        raise DataError(path, problem, "Make one value of them, or add a region that holds one of them.")
    names = some([region.name for region in regions if lost[0] in region.classes])
    problem = f'"regions_class_order" paints pixels of the value {value}, in {names}, as {painted}'
    remedy = "Name larger regions before those inside them; the last region that holds a value must paint it."
    raise DataError(path, problem, remedy)


def _class_names(held: Mapping[str, Sequence[int]], numbers: Sequence[int]) -> tuple[str, ...]:
    """The name of each value: that of the region which is this value alone, else one made up."""
    alone = {own[0]: name for name, own in held.items() if len(own) == 1}
    names = ["background"]
    for number in numbers[1:]:
        name = alone.get(number, f"class_{number}")
        while name in held and number not in alone:
            name += "_alone"
        names.append(name)
    return tuple(names)
