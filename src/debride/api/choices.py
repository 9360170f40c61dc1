"""Which few cases to verify."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from debride.api.datasets import Folder, opened, processes
from debride.api.result import Result, Row
from debride.types import DataError, Dataset

if TYPE_CHECKING:
    from debride.audit.choosing import Choice


@dataclass(frozen=True, repr=False)
class ChooseResult(Result):
    """The cases to verify: their ``ids``, which ``out`` lists where a file was asked for, and ``reasons`` for each.

    ``costs`` are lines on what a bias would cost, where that was asked for.
    """

    ids: tuple[str, ...]
    reasons: tuple[str, ...]
    costs: tuple[str, ...] = ()

    def said(self) -> Sequence[str]:
        """Why each was chosen."""
        return [*self.reasons, *self.costs]

    def rows(self) -> Sequence[Row]:
        """A row for each case."""
        return [{"case": id, "reason": reason} for id, reason in zip(self.ids, self.reasons, strict=False)]


def choose_cases(
    dataset: Dataset | Folder,
    *,
    count: int = 6,
    out: Folder | None = None,
    what_if: bool = False,
    jobs: int | None = None,
) -> ChooseResult:
    """Chooses the ``count`` training cases to verify that are the most ordinary ones, each of another patient.

    Their ids are written to the file ``out`` where it is given. ``what_if`` also says what a bias of all labels would cost.
    ``jobs`` processes look at images (None: one for each core). Raises DataError where there are too few cases.
    """
    jobs = processes(jobs)
    dataset = opened(dataset, jobs)
    choice = CHOICES[dataset.task](dataset, count, what_if, jobs)
    ids = tuple(each.id for each, _ in choice.chosen)
    if out is not None:
        from debride.files import write_text

        write_text(Path(out), "".join(f"{id}\n" for id in ids))
    costs = _costs(dataset, count, jobs) if what_if else ()
    return ChooseResult(Path() if out is None else Path(out), ids, _reasons(choice, dataset), costs)


def _choose_masks(dataset: Dataset, count: int, what_if: bool, jobs: int) -> Choice:
    """Chooses by images, for masks."""
    from debride.audit.choosing import choose_masks
    from debride.data.label_regions import refuse_regions

    if what_if:
        refuse_regions(dataset, "`what_if`")
    return choose_masks(dataset, count, jobs)


def _choose_classes(dataset: Dataset, count: int, what_if: bool, jobs: int) -> Choice:
    """Chooses by images, of each class."""
    from debride.audit.choosing import choose_classes

    if what_if:
        raise DataError("`what_if`", "is for masks, and these are images with one class each", "Leave it out.")
    return choose_classes(dataset, count, jobs)


def _costs(dataset: Dataset, count: int, jobs: int) -> tuple[str, ...]:
    """What a bias would cost."""
    from debride.audit.choosing import candidates, cost_of_bias
    from debride.calibration.moved_labels import dice_of_sizes

    costs = cost_of_bias(dataset, candidates(dataset, count), jobs)
    small, large = (100 * (1 - dice_of_sizes(share)) for share in (-0.1, 0.1))
    return (
        "If all labels lay like this, a network that copies them would lose so many points of Dice on right ones:",
        *(
            f"  {abs(shift):g} {unit} too far {'outside' if shift > 0 else 'inside'}: {100 * (1 - dice):.1f}"
            for shift, unit, dice in costs
        ),
        f"  10 % too small or too large, whatever their shape: {small:.1f} or {large:.1f}",
        "Whether they do cannot be known without a verified case.",
    )


def _reasons(choice: Choice, dataset: Dataset) -> tuple[str, ...]:
    """A line for each chosen case: why it was chosen; and one where patients are chosen twice."""
    many, lines = Counter(seen.described.kind for seen in choice.seen), []
    for each, seen in choice.chosen:
        kind, patient = seen.described.kind, seen.described.patient
        parts = [f"patient {patient}"] if patient != each.id else []
        like = f"class {dataset.classes[kind]}, " if not seen.sizes else ""
        parts.append(f"{like}number {each.rank} of {many[kind]} by how ordinary it is")
        parts += [f"{name} {size:.3g} {seen.unit}" for name, size in zip(dataset.classes[1:], seen.sizes, strict=False)]
        lines.append(f"{each.id}: {'; '.join(parts)}")
    patients = len({seen.described.patient for _, seen in choice.chosen})
    if patients < len(choice.chosen):
        lines.append(f"They are of {patients} patient{'s' if patients > 1 else ''}: what they have in common counts once.")
    return tuple(lines)


CHOICES: dict[str, Callable[[Dataset, int, bool, int], Choice]] = {
    "segmentation": _choose_masks,
    "classification": _choose_classes,
}
"""What chooses, by task."""
