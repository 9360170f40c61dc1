"""The verbs on networks: train, predict, evaluate, methods."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from debride.cli.data import Verbs, add_dataset_options, dataset_options, open_from
from debride.cli.options import add_settings, given_settings
from debride.settings import from_mapping
from debride.types import DataError, Task


def add_verbs(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the parsers of this module's verbs. Where ``words`` name a method to train, its options are options of ``train``."""
    from debride.data.augmentation import Augmentation, ClassAugmentation
    from debride.training.config import TrainConfig

    train = verbs.add_parser(
        "train",
        help="train a network by a method",
        epilog="Every hyper-parameter of the method is an option too: see `debride methods METHOD`. For classification other "
        "defaults hold: batches of 64, learning rate 0.02, weight decay 5e-4, no clipping, preact-resnet18.",
    )
    train.add_argument("method")
    train.add_argument("dataset", type=Path)
    train.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for weights, metrics and run.json")
    train.add_argument("--resume", action="store_true", help="go on with the training in --out")
    train.add_argument(
        "--cleansed", action="store_true", help="write the labels that the method takes for right to RUN/cleansed"
    )
    train.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML with the sections training, augmentation, method; options go before it",
    )
    train.add_argument("--cache", type=Path, metavar="DIR", help="prepared cases (default: $DEBRIDE_CACHE or ~/.cache/debride)")
    train.add_argument(
        "--raters",
        default="all",
        metavar="WHICH",
        help="where images have several raters: all, sample (one for each image, drawn by --seed) or a name (default: all)",
    )
    add_dataset_options(train)
    add_settings(train, TrainConfig, "training")
    add_settings(train, Augmentation, "augmentation", prefix="augment_")
    add_settings(train, ClassAugmentation, "augmentation for classification", prefix="augment_", dest="class_")
    if method := _named_method(words):
        add_settings(train, _method(method).Config, f"options of {method}", dest="method_")
    train.set_defaults(run=run_train)

    predict = verbs.add_parser("predict", help="masks in the input's own format and geometry, or a table of classes")
    predict.add_argument("run_folder", type=Path, metavar="RUN")
    predict.add_argument("input", type=Path, metavar="INPUT", help="a data set, or a folder of images")
    predict.add_argument("--out", type=Path, required=True, metavar="DIR")
    predict.add_argument(
        "--splits", nargs="+", default=[], choices=["train", "val", "test"], help="of a data set (default: test, or all)"
    )
    predict.add_argument(
        "--checkpoint", default="best", metavar="WHICH", help="best, last or an epoch's number (default: best)"
    )
    predict.add_argument(
        "--probabilities", action="store_true", help="write class probabilities (K, *S) as .npy beside the masks"
    )
    predict.add_argument(
        "--largest-component", action="store_true", help="keep the largest connected piece of every foreground class alone"
    )
    predict.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    add_dataset_options(predict)
    predict.set_defaults(run=run_predict)

    evaluate = verbs.add_parser("evaluate", help="Dice, IoU and distances of masks; accuracy, AUROC and calibration of classes")
    evaluate.add_argument("predictions", type=Path)
    evaluate.add_argument("dataset", type=Path, metavar="REFERENCE", help="the data set with the reference labels")
    evaluate.add_argument("--out", type=Path, required=True, metavar="DIR")
    evaluate.add_argument("--splits", nargs="+", default=["test"], choices=["train", "val", "test"], help="default: test")
    add_dataset_options(evaluate)
    evaluate.set_defaults(run=run_evaluate)

    methods = verbs.add_parser("methods", help="what there is; one method's defaults and where each comes from")
    methods.add_argument("method", nargs="?")
    methods.add_argument("--markdown", action="store_true", help="all methods as the page of the documentation")
    methods.set_defaults(run=run_methods)


def run_train(arguments: argparse.Namespace) -> int:
    """Trains a method: defaults, then the configuration file, then the options."""
    from debride.data.rater_choice import choose_raters
    from debride.training.config import config_class
    from debride.training.fit import Job, fit

    method = _method(arguments.method)
    sections = read_config(arguments.config)
    dataset = open_from(arguments)
    config = config_class(dataset.task)
    given = {
        "training": (config, given_settings(arguments, config)),
        "augmentation": _augmentation(arguments, dataset.task),
        "method": (method.Config, given_settings(arguments, method.Config, dest="method_")),
    }
    settings = {
        name: from_mapping(cls, {**sections.get(name, {}), **values}, f"{arguments.config}: {name}")
        for name, (cls, values) in given.items()
    }
    if "noise_rate" in method.paper.needs and "noise_rate" not in {**sections.get("method", {}), **given["method"][1]}:
        rate = settings["method"].noise_rate
        print(
            f"debride: --noise-rate is not given; {rate} is used. It is the share of wrong labels (of pixels, or of images).",
            file=sys.stderr,
        )
    fit(
        Job(
            dataset=choose_raters(dataset, arguments.raters, settings["training"].seed),
            method=arguments.method,
            method_config=settings["method"],
            config=settings["training"],
            augmentation=settings["augmentation"],
            out=arguments.out,
            cache=arguments.cache,
            resume=arguments.resume,
            cleansed=arguments.cleansed,
        )
    )
    return 0


def run_predict(arguments: argparse.Namespace) -> int:
    """Predicts all images of a folder or data set."""
    from debride.training.predict import predict_folder

    count = predict_folder(
        arguments.run_folder,
        arguments.input,
        arguments.out,
        checkpoint=arguments.checkpoint,
        probabilities=arguments.probabilities,
        largest_component=arguments.largest_component,
        splits=tuple(arguments.splits),
        open_options=dataset_options(arguments),
        device=arguments.device,
    )
    predicted = "predictions" if (arguments.out / "predictions.csv").exists() else "masks"
    print(f"{arguments.out}: {count} {predicted}")
    return 0


def run_evaluate(arguments: argparse.Namespace) -> int:
    """Evaluates a folder of masks against the labels of a data set."""
    from debride.evaluation.class_metrics import evaluate_classes
    from debride.evaluation.evaluate import evaluate_folder

    dataset = open_from(arguments)
    measure = evaluate_classes if dataset.task == "classification" else evaluate_folder
    measure(arguments.predictions, dataset, arguments.out, splits=tuple(arguments.splits))
    print((arguments.out / "summary.md").read_text())
    return 0


def run_methods(arguments: argparse.Namespace) -> int:
    """Lists methods, networks and noise simulators, or describes one method."""
    from debride.methods import METHODS
    from debride.noise import NOISES
    from debride.noise.class_noises import CLASS_NOISES

    if arguments.markdown:
        from debride.methods.page import page

        print(page(), end="")
        return 0
    if arguments.method:
        _describe(arguments.method)
        return 0
    print("Methods (`debride methods METHOD` for one of them)")
    for name, cls in METHODS.items():
        print(f"  {name:14} {cls.paper.title} ({cls.paper.authors}, {cls.paper.year})")
    for title, noises in (("", NOISES), (" for classification", CLASS_NOISES)):
        print(f"\nLabel noise{title} (`debride corrupt --noise NAME --set PARAMETER=VALUE`)")
        for name, noise in noises.items():
            print(f"  {name:14} {', '.join(f'{f.name}={_default(f)}' for f in dataclasses.fields(noise))}")
    return 0


def _default(field: dataclasses.Field[Any]) -> object:
    return "(required)" if field.default is dataclasses.MISSING else field.default


def _describe(name: str) -> None:
    method = _method(name)
    paper = method.paper
    print(f"{name}: {paper.title}\n{paper.authors}, {paper.year}. {paper.reference}\nImplements: {paper.sections}")
    print(f"For {' and '.join(sorted(method.tasks, reverse=True))}.")
    print(f"Needs: {', '.join(sorted(paper.needs)) or 'images and labels only'}. Trusted cases are {paper.trusted}.")
    print("\nOptions")
    for field in dataclasses.fields(method.Config):
        print(f"  --{field.name.replace('_', '-'):16} {field.default!s:8} {field.metadata.get('about', '')}")
    print(
        "\nDepartures from the paper, and choices where it is silent" if paper.deviations else "\nNo departures from the paper."
    )
    for deviation in paper.deviations:
        print(f"  - {deviation}")


def _named_method(words: Sequence[str]) -> str | None:
    """The first word after ``train`` that is a method; None, without importing any method, where there is none to find."""
    if list(words[:1]) != ["train"] or all(word.startswith("-") for word in words[1:]):
        return None
    from debride.methods import METHODS

    return next((word for word in words[1:] if word in METHODS), None)


def _method(name: str) -> Any:
    from debride.methods import METHODS

    if name not in METHODS:
        raise DataError(f"method {name}", "does not exist", f"Choose one of {', '.join(METHODS)}.")
    return METHODS[name]


def _augmentation(arguments: argparse.Namespace, task: Task) -> tuple[type[Any], dict[str, Any]]:
    """The settings of a task's augmentation, and those given; options of the other task's are refused."""
    from debride.data.augmentation import Augmentation, ClassAugmentation

    given = {
        "segmentation": (Augmentation, given_settings(arguments, Augmentation, prefix="augment_")),
        "classification": (ClassAugmentation, given_settings(arguments, ClassAugmentation, prefix="augment_", dest="class_")),
    }
    for other, (_, values) in given.items():
        if other != task and values:
            flag = f"--augment-{next(iter(values)).replace('_', '-')}"
            raise DataError(flag, f"is for {other}, and the data set is for {task}", "Leave it out.")
    return given[task]


def read_config(file: Path | None) -> dict[str, dict[str, Any]]:
    """The sections training, augmentation and method of a configuration file, those that it has; none without a file."""
    if file is None:
        return {}
    from debride.files import read_yaml

    sections = read_yaml(file)
    if not isinstance(sections, dict) or not all(isinstance(section, dict) for section in sections.values()):
        raise DataError(
            file, "is not a YAML mapping of sections", "Write training:, augmentation:, method:, each with its settings below."
        )
    unknown = set(sections) - {"training", "augmentation", "method"}
    if unknown:
        names = ", ".join(sorted(map(str, unknown)))
        raise DataError(file, f"has the unknown section {names}", "Use training, augmentation and method.")
    return sections
