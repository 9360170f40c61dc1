"""The verbs on data sets: check, corrupt."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debride.types import DataError

if TYPE_CHECKING:
    from debride.types import Dataset

Verbs = Any  # argparse's type of a set of sub-parsers is private


def add_verbs(verbs: Verbs) -> None:
    """Adds the parsers of this module's verbs."""
    check = verbs.add_parser("check", help="what is wrong with the files, each with the file and the remedy")
    check.add_argument("dataset", type=Path)
    add_dataset_options(check)
    check.set_defaults(run=run_check)

    corrupt = verbs.add_parser("corrupt", help="a copy with simulated label noise, its parameters and Dice per case")
    corrupt.add_argument("dataset", type=Path)
    corrupt.add_argument("out", type=Path)
    corrupt.add_argument("--noise", required=True, help="name of the simulator; `debride methods` lists them")
    corrupt.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="parameters of the simulator, as steps=90 preference=0.2"
    )
    corrupt.add_argument("--dice", type=float, metavar="X", help="choose the strength that gives this mean label Dice instead")
    corrupt.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (default: 0)")
    corrupt.add_argument("--share", type=float, default=1.0, metavar="X", help="share of the cases to corrupt (default: 1)")
    corrupt.add_argument(
        "--splits", nargs="+", default=["train", "val"], choices=["train", "val", "test"], help="default: train val"
    )
    add_dataset_options(corrupt)
    corrupt.set_defaults(run=run_corrupt)


def add_dataset_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how a data set is read."""
    group = parser.add_argument_group("data set")
    group.add_argument(
        "--format", choices=["folder", "nnunet", "manifest", "npz", "classes", "table"], help="default: recognised by its files"
    )
    group.add_argument(
        "--patient-pattern", metavar="REGEX", help="its first group, found in a case's id, is the patient: '^(patient[0-9]+)'"
    )
    group.add_argument("--trusted", type=Path, metavar="FILE", help="ids of cases whose labels were verified, one per line")
    group.add_argument("--fold", type=int, default=0, metavar="N", help="of splits_final.json (default: 0)")
    group.add_argument("--test-fraction", type=float, default=0.0, metavar="X", help="of patients, where there is no split")
    group.add_argument("--split-seed", type=int, default=0, metavar="N", help="where the data set brings no split (default: 0)")


def open_from(arguments: argparse.Namespace) -> Dataset:
    """The data set that the arguments name."""
    from debride.data.open import open_dataset

    return open_dataset(arguments.dataset, **dataset_options(arguments))


def dataset_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of ``open_dataset`` that the options give."""
    return {
        "format": arguments.format,
        "patient_pattern": arguments.patient_pattern,
        "trusted": arguments.trusted,
        "fold": arguments.fold,
        "seed": arguments.split_seed,
        "test_fraction": arguments.test_fraction,
    }


def run_check(arguments: argparse.Namespace) -> int:
    """Prints every problem of a data set; 1 if there are any."""
    from debride.data.check import Problem, find_problems
    from debride.data.classes.check_classes import class_counts, size_note
    from debride.data.open import open_dataset, unused_trusted
    from debride.progress import track

    options = dataset_options(arguments)
    with track("checking", None) as show:
        problems = find_problems(arguments.dataset, **options, progress=lambda done, _: show(done))
    dataset, note = None, None
    try:
        dataset = open_dataset(arguments.dataset, **options, report=lambda problem: None)
        note = size_note(dataset)
        if arguments.trusted is not None and (unused := unused_trusted(arguments.trusted, dataset)):
            problems.append(Problem(unused.where, unused.problem, unused.remedy))
    except DataError:
        if not problems:
            raise
    for problem in problems:
        print(f"{problem.file}: {problem.problem}. {problem.remedy}")
    if note:
        print(f"Note: {note}")
    if problems:
        print(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found.", file=sys.stderr)
        return 1
    assert dataset is not None
    patients = len({case.patient for case in dataset.cases})
    if dataset.task == "classification":
        kind, counts = "images with a class each", class_counts(dataset)
    else:
        kind = f"{dataset.ndim}D"
        counts = "cases: " + ", ".join(f"{len(dataset.of(split))} {split}" for split in ("train", "val", "test"))
    classes = ", ".join(dataset.classes)
    print(f"{arguments.dataset}: no problems. {dataset.format}, {kind}, classes {classes}; {counts}; {patients} patients.")
    return 0


def run_corrupt(arguments: argparse.Namespace) -> int:
    """Writes a noisy copy and says how noisy it is."""
    import yaml

    from debride.data.masks.corrupt import corrupt_dataset
    from debride.noise import make_noise
    from debride.progress import track

    parameters = {}
    for word in arguments.set:
        name, equals, value = word.partition("=")
        if not equals:
            raise DataError("--set", f"{word!r} is not NAME=VALUE", "Write it as steps=90.")
        try:
            parameters[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise DataError("--set", f"{word!r} has a value that cannot be read", "Write it as steps=90.") from error
    dataset = open_from(arguments)
    if dataset.task == "classification":
        return _corrupt_classes(dataset, arguments, parameters)
    noise = make_noise(arguments.noise, **parameters)
    with track("corrupting", len(dataset.cases)) as show:
        report = corrupt_dataset(
            dataset,
            arguments.out,
            noise,
            seed=arguments.seed,
            share=arguments.share,
            splits=arguments.splits,
            target_dice=arguments.dice,
            progress=lambda done, _: show(done),
        )
    dice = "undefined" if report["mean_dice"] is None else f"{report['mean_dice']:.3f}"
    print(
        f"{arguments.out}: {len(report['cases'])} labels corrupted by {report['noise']} {report['parameters']}; "
        f"label Dice {dice}, {100 * report['mean_changed']:.2f} % of pixels changed, {report['emptied']} labels became empty, "
        f"{len(report['trusted'])} trusted cases spared. Details: noise.json"
    )
    return 0


def _corrupt_classes(dataset: Dataset, arguments: argparse.Namespace, parameters: dict[str, Any]) -> int:
    """The same for classes."""
    from debride.data.classes.class_cache import flat_images
    from debride.data.classes.corrupt_classes import corrupt_classes
    from debride.noise.class_noises import make_class_noise
    from debride.progress import track

    if arguments.dice is not None or arguments.share != 1:
        flag = "--dice" if arguments.dice is not None else "--share"
        raise DataError(flag, "is for segmentation", "Leave it out; --set rate=0.4 says how many classes are wrong.")
    noise = make_class_noise(arguments.noise, **parameters)
    with track("corrupting", None) as show:
        report = corrupt_classes(
            dataset,
            arguments.out,
            noise,
            seed=arguments.seed,
            splits=arguments.splits,
            features=lambda: flat_images(dataset, arguments.splits),
            progress=lambda done, _: show(done),
        )
    print(
        f"{arguments.out}: {len(report['cases'])} of {report['candidates']} classes changed by {report['noise']} "
        f"{report['parameters']}; {len(report['trusted'])} trusted cases spared. Details: noise.json"
    )
    return 0
