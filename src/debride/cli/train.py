"""``debride train``: a network by a method."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from debride.cli.calibrate import tell_calibrated
from debride.cli.config_file import read_config
from debride.cli.dataset_options import add_dataset_options, open_from
from debride.cli.options import Verbs, add_jobs, add_settings, add_trust, add_verify, flag, given_settings, trust_of
from debride.settings import from_mapping, paper_values
from debride.types import DataError, TaskName


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    from debride.data.augmentation import AUGMENTATIONS
    from debride.training.config import TrainConfig

    parser = verbs.add_parser(
        "train",
        help="train a network by a method",
        epilog="Every hyper-parameter of the method is an option too: see `debride methods METHOD`. For classification other "
        "defaults hold: batches of 64, learning rate 0.02, weight decay 5e-4, no clipping, preact-resnet18.",
    )
    parser.add_argument("method")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for weights, metrics and run.json")
    parser.add_argument(
        "--preset",
        choices=("default", "paper"),
        default="default",
        help="settings of the method that are not given otherwise: those that work (default), or those of its paper",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the training in --out")
    parser.add_argument(
        "--cleansed", action="store_true", help="write the labels that the method takes for right to RUN/cleansed"
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="then take the bias out that the trusted cases show, as `debride calibrate` does",
    )
    parser.add_argument("--hold-out-trusted", action="store_true", help="do not train on the trusted cases")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML with the sections training, augmentation, method; options go before it",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="prepared cases (default: $DEBRIDE_CACHE or ~/.cache/debride)"
    )
    add_verify(parser)
    parser.add_argument(
        "--raters",
        default="all",
        metavar="WHICH",
        help="where images have several raters: all, sample (one for each image, drawn by --seed), smallest, largest (of each "
        "image's labels) or a name (default: all)",
    )
    add_jobs(parser)
    add_dataset_options(parser)
    add_trust(parser)
    add_settings(parser, TrainConfig, "training")
    for task, augmentation in AUGMENTATIONS.items():
        add_settings(parser, augmentation, f"augmentation for {task}", prefix="augment_", dest=f"{task}_")
    if method := _named_method(parser, words):
        from debride.methods import find_method

        try:
            add_settings(parser, find_method(method).Config, f"options of {method}", dest="method_")
        except argparse.ArgumentError as error:
            raise DataError(f"method {method}", f"has a setting of a name that is taken ({error})", "Rename it.") from error
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Trains a method: defaults, then the preset, then the configuration file, then the options."""
    from debride.data.cache import cache_folder
    from debride.data.rater_choice import choose_raters
    from debride.data.source_hashes import forget
    from debride.methods import find_method
    from debride.training.calibrate import calibrate_training, refuse_calibration, without_trusted
    from debride.training.fit import fit
    from debride.training.job import Job
    from debride.training.task import TASKS

    method = find_method(arguments.method)
    sections = read_config(arguments.config)
    dataset = open_from(arguments)
    config = TASKS[dataset.task].config
    given = {
        "training": (config, given_settings(arguments, config)),
        "augmentation": _augmentation(arguments, dataset.task),
        "method": (method.Config, given_settings(arguments, method.Config, dest="method_")),
    }
    preset = paper_values(method.Config) if arguments.preset == "paper" else {}
    settings = {
        name: from_mapping(
            cls,
            {**(preset if name == "method" else {}), **sections.get(name, {}), **values},
            f"{arguments.config}: {name}",
            {setting: flag(("augment_" if name == "augmentation" else "") + setting) for setting in values},
        )
        for name, (cls, values) in given.items()
    }
    trust = trust_of(arguments, given["training"][1].get("network"))
    trust.admit(settings["training"].network, f"{arguments.config}: training: network", "--network")
    if "noise_rate" in method.paper.needs and "noise_rate" not in {**sections.get("method", {}), **given["method"][1]}:
        rate = settings["method"].noise_rate
        print(
            f"debride: --noise-rate is not given; {rate} is used. It is the share of wrong labels (of pixels, or of images).",
            file=sys.stderr,
        )
    if arguments.verify:
        forget(cache_folder(dataset.root, arguments.cache), dataset.root)
    dataset = choose_raters(dataset, arguments.raters, settings["training"].seed)
    calibrates = arguments.calibrate or method.holds_out_trusted
    if calibrates or arguments.hold_out_trusted:
        refuse_calibration(dataset, arguments.method, hold_out=arguments.hold_out_trusted)
    job = Job(
        dataset=without_trusted(dataset) if arguments.hold_out_trusted else dataset,
        method=arguments.method,
        method_config=settings["method"],
        config=settings["training"],
        augmentation=settings["augmentation"],
        out=arguments.out,
        cache=arguments.cache,
        resume=arguments.resume,
        cleansed=arguments.cleansed,
        jobs=arguments.jobs,
    )
    fit(job)
    if calibrates:
        tell_calibrated(calibrate_training(job.out, dataset, job.config.device, job.trust), job.out)
    return 0


def _named_method(parser: argparse.ArgumentParser, words: Sequence[str]) -> str | None:
    """The first word after ``train`` that names a method and is no value of an option of the parser; None, without importing
    any method, where there is none to find."""
    from debride.methods import METHODS

    if list(words[:1]) != ["train"]:
        return None
    taking = {flag for flag, option in parser._option_string_actions.items() if option.nargs != 0}
    candidates = [word for before, word in pairwise(words) if before not in taking and not word.startswith("-")]
    return next((word for word in candidates if METHODS.known(word)), None)


def _augmentation(arguments: argparse.Namespace, task: TaskName) -> tuple[type[Any], dict[str, Any]]:
    """The settings of a task's augmentation, and those given; options of another task's are refused."""
    from debride.data.augmentation import AUGMENTATIONS

    given = {name: given_settings(arguments, cls, prefix="augment_", dest=f"{name}_") for name, cls in AUGMENTATIONS.items()}
    for name, values in given.items():
        if name != task and values:
            raise DataError(
                flag(f"augment_{next(iter(values))}"), f"is for {name}, and the data set is for {task}", "Leave it out."
            )
    return AUGMENTATIONS[task], given[task]
