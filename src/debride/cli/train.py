"""``debride train``: a network by a method."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from debride.cli.dataset_options import add_dataset_options, open_from
from debride.cli.options import Verbs, add_jobs, add_settings, add_trust, add_verify, setting_values
from debride.types import DataError


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
    parser.add_argument("method", help="its name, or your own as package.module:Class")
    parser.add_argument("dataset", type=Path, help="the folder of the data set")
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
    parser.add_argument(
        "--unlabelled",
        type=Path,
        metavar="DIR",
        help="a folder of images, or a data set whose labels are not read: training images without a label, for methods that "
        "take them (mean-teacher, mtcl, alc)",
    )
    parser.add_argument(
        "--init",
        type=Path,
        metavar="RUN_OR_WEIGHTS",
        help="begin with the weights of a run, of a .safetensors file or of nnU-Net, where names and shapes agree",
    )
    parser.add_argument(
        "--plans",
        type=Path,
        metavar="FILE",
        help="nnUNetPlans.json: take patch, batch, spacing, intensities and the network from a --configuration of it; options "
        "go before it",
    )
    parser.add_argument("--configuration", metavar="NAME", help="which of --plans: 2d, 3d_fullres, 3d_lowres")
    add_jobs(parser)
    add_dataset_options(parser)
    add_trust(parser)
    add_settings(parser, TrainConfig, "training", leave_out=("architecture",))
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
    from debride.api.trainings import train

    trained = train(
        arguments.method,
        open_from(arguments),
        arguments.out,
        preset=arguments.preset,
        resume=arguments.resume,
        cleansed=arguments.cleansed,
        calibrate=arguments.calibrate,
        hold_out_trusted=arguments.hold_out_trusted,
        config=arguments.config,
        cache=arguments.cache,
        verify=arguments.verify,
        raters=arguments.raters,
        unlabelled=arguments.unlabelled,
        init=arguments.init,
        plans=arguments.plans,
        configuration=arguments.configuration,
        jobs=arguments.jobs,
        trust_code=arguments.trust_code,
        **_settings(arguments),
    )
    if trained.calibration:
        print("\n".join(trained.calibration.said()))
    return 0


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given, by name."""
    from debride.data.augmentation import AUGMENTATIONS
    from debride.methods import find_method
    from debride.training.config import TrainConfig

    settings = setting_values(arguments, TrainConfig)
    for task, augmentation in AUGMENTATIONS.items():
        settings |= setting_values(arguments, augmentation, prefix="augment_", dest=f"{task}_")
    return settings | setting_values(arguments, find_method(arguments.method).Config, dest="method_")


def _named_method(parser: argparse.ArgumentParser, words: Sequence[str]) -> str | None:
    """The first word after ``train`` that names a method and is no value of an option of the parser; None, without importing
    any method, where there is none to find."""
    from debride.methods import METHODS

    if list(words[:1]) != ["train"]:
        return None
    taking = {flag for flag, option in parser._option_string_actions.items() if option.nargs != 0}
    candidates = [word for before, word in pairwise(words) if before not in taking and not word.startswith("-")]
    return next((word for word in candidates if METHODS.known(word)), None)
