"""``debride choose``: which cases to verify."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from debride.cli.dataset_options import add_dataset_options, open_from
from debride.cli.options import Verbs, add_jobs
from debride.types import DataError

if TYPE_CHECKING:
    from debride.audit.choosing import Choice
    from debride.types import Dataset


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser(
        "choose",
        help="which few cases to verify, for what takes --trusted",
        epilog="Chosen are training cases that are not trusted yet: the most ordinary ones, each of another patient.",
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--count", type=int, default=6, metavar="N", help="how many cases (default: 6)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the ids here, one a line, for --trusted")
    parser.add_argument(
        "--what-if", action="store_true", help="also say what a bias would cost: the given labels are moved, and compared"
    )
    add_jobs(parser)
    add_dataset_options(parser)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Chooses cases, says what they are, and writes their ids."""
    dataset = open_from(arguments)
    _say(CHOICES[dataset.task](dataset, arguments), dataset, arguments.out)
    if arguments.what_if:
        _say_costs(dataset, arguments)
    return 0


def _choose_masks(dataset: Dataset, arguments: argparse.Namespace) -> Choice:
    """Chooses by images, for masks."""
    from debride.audit.choosing import choose_masks

    return choose_masks(dataset, arguments.count, arguments.jobs)


def _choose_classes(dataset: Dataset, arguments: argparse.Namespace) -> Choice:
    """Chooses by images, of each class."""
    from debride.audit.choosing import choose_classes

    if arguments.what_if:
        raise DataError("--what-if", "is for masks, and these are images with one class each", "Leave it out.")
    return choose_classes(dataset, arguments.count, arguments.jobs)


def _say_costs(dataset: Dataset, arguments: argparse.Namespace) -> None:
    """What a bias would cost."""
    from debride.audit.choosing import candidates, cost_of_bias
    from debride.calibration.moved_labels import dice_of_sizes

    costs = cost_of_bias(dataset, candidates(dataset, arguments.count), arguments.jobs)
    print("If all labels lay like this, a network that copies them would lose so many points of Dice on right ones:")
    for shift, unit, dice in costs:
        print(f"  {abs(shift):g} {unit} too far {'outside' if shift > 0 else 'inside'}: {100 * (1 - dice):.1f}")
    small, large = (100 * (1 - dice_of_sizes(share)) for share in (-0.1, 0.1))
    print(f"  10 % too small or too large, whatever their shape: {small:.1f} or {large:.1f}")
    print("Whether they do cannot be known without a verified case.")


def _say(choice: Choice, dataset: Dataset, out: Path | None) -> None:
    """A line for each chosen case: why it was chosen. Their ids in a file."""
    many = Counter(seen.described.kind for seen in choice.seen)
    for each, seen in choice.chosen:
        kind, patient = seen.described.kind, seen.described.patient
        parts = [f"patient {patient}"] if patient != each.id else []
        like = f"class {dataset.classes[kind]}, " if not seen.sizes else ""
        parts.append(f"{like}number {each.rank} of {many[kind]} by how ordinary it is")
        parts += [f"{name} {size:.3g} {seen.unit}" for name, size in zip(dataset.classes[1:], seen.sizes, strict=False)]
        print(f"{each.id}: {'; '.join(parts)}")
    patients = len({seen.described.patient for _, seen in choice.chosen})
    if patients < len(choice.chosen):
        print(f"They are of {patients} patient{'s' if patients > 1 else ''}: what they have in common counts once.")
    if out:
        from debride.files import write_text

        write_text(out, "".join(f"{each.id}\n" for each, _ in choice.chosen))
        print(f"{out}: written. Correct these labels, then give it with --trusted.")


CHOICES = {"segmentation": _choose_masks, "classification": _choose_classes}
"""What chooses, by task."""
