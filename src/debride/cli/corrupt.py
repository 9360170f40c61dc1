"""``debride corrupt``: a copy of a data set with simulated label noise."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debride.cli.dataset_options import add_dataset_options, open_from
from debride.cli.options import Verbs, add_jobs
from debride.types import DataError

if TYPE_CHECKING:
    from debride.types import Dataset


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("corrupt", help="a copy with simulated label noise, its parameters and Dice per case")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--noise", required=True, help="name of the simulator; `debride methods` lists them")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="parameters of the simulator, as steps=90 preference=0.2"
    )
    parser.add_argument("--dice", type=float, metavar="X", help="choose the strength that gives this mean label Dice instead")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the noise (default: 0)")
    parser.add_argument("--share", type=float, default=1.0, metavar="X", help="share of the cases to corrupt (default: 1)")
    parser.add_argument(
        "--splits",
        nargs="+",
        default=["train", "val"],
        choices=["train", "val", "test"],
        help="splits to corrupt (default: train val)",
    )
    add_jobs(parser)
    add_dataset_options(parser)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Writes a noisy copy and says how noisy it is."""
    from debride.strict_yaml import parse_yaml

    parameters: dict[str, Any] = {}
    for word in arguments.set:
        name, equals, value = word.partition("=")
        if not equals:
            raise DataError("--set", f"{word!r} is not NAME=VALUE", "Write it as steps=90.")
        if name in parameters:
            raise DataError("--set", f"gives {name} twice", "Keep one of the two.")
        try:
            parameters[name] = parse_yaml(value, "the value")
        except DataError as error:
            problem = f"{word!r} cannot be read: the value {error.problem}"
            raise DataError("--set", problem, "Write it as steps=90.") from error
    dataset = open_from(arguments)
    return CORRUPTIONS[dataset.task](dataset, arguments, parameters)


def _corrupt_masks(dataset: Dataset, arguments: argparse.Namespace, parameters: dict[str, Any]) -> int:
    """Corrupts masks."""
    from debride.data.masks.corrupt import corrupt_dataset
    from debride.noise import make_noise
    from debride.progress import track

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
            jobs=arguments.jobs,
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
    """Corrupts classes."""
    from debride.data.classes.class_cache import flat_images
    from debride.data.classes.corrupt_classes import corrupt_classes
    from debride.noise import make_class_noise
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
            jobs=arguments.jobs,
            progress=lambda done, _: show(done),
        )
    print(
        f"{arguments.out}: {len(report['cases'])} of {report['candidates']} classes changed by {report['noise']} "
        f"{report['parameters']}; {len(report['trusted'])} trusted cases spared. Details: noise.json"
    )
    return 0


CORRUPTIONS = {"segmentation": _corrupt_masks, "classification": _corrupt_classes}
"""How labels are corrupted, by task."""
