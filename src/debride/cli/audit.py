"""The verbs on labels: audit, repair."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debride.cli.data import Verbs, add_dataset_options, open_from
from debride.cli.options import add_settings, given_settings
from debride.settings import from_mapping
from debride.types import DataError

if TYPE_CHECKING:
    from debride.audit.config import AuditConfig
    from debride.types import Case, Dataset

SHOWN = 10
"""Cases that the terminal shows."""


def add_verbs(verbs: Verbs) -> None:
    """Adds the parsers of this module's verbs."""
    from debride.audit.config import AuditConfig
    from debride.training.config import TrainConfig

    audit = verbs.add_parser(
        "audit",
        help="which labels are wrong, where and how, with a report to look at",
        epilog="Without --predictions or --run networks are trained, each on all cases but a part, which it then judges.",
    )
    audit.add_argument("dataset", type=Path)
    audit.add_argument("--out", type=Path, required=True, metavar="AUDIT", help="folder for the report and what belongs to it")
    source = audit.add_mutually_exclusive_group()
    source.add_argument(
        "--predictions",
        type=Path,
        metavar="DIR",
        help="masks or probability maps by case (NIfTI, PNG, npy, npz), or nnU-Net's folder of a cross-validation",
    )
    source.add_argument("--run", type=Path, metavar="RUN", dest="run_folder", help="what `debride train` wrote, to predict with")
    audit.add_argument(
        "--splits",
        nargs="+",
        default=["train", "val"],
        choices=["train", "val", "test"],
        help="whose labels are audited (default: train val)",
    )
    audit.add_argument("--partial", action="store_true", help="leave out cases without a prediction")
    audit.add_argument(
        "--fail-on", type=float, metavar="SHARE", help="exit with 1 if more than this share of the cases is flagged, 0 to 1"
    )
    audit.add_argument(
        "--identities", action="store_true", help="a rater's name is the same person throughout: rank the raters too"
    )
    audit.add_argument(
        "--consensus", choices=["majority", "staple"], help="of several raters, also write a data set with their consensus"
    )
    add_settings(audit, AuditConfig, "audit")
    cross = audit.add_argument_group("cross-validation, without predictions")
    cross.add_argument("--folds", type=int, default=5, metavar="N", help="parts of the patients (default: 5)")
    cross.add_argument("--method", default="ce", help="that trains the networks (default: ce)")
    cross.add_argument("--config", type=Path, metavar="FILE", help="YAML with the sections training, augmentation, method")
    cross.add_argument("--cache", type=Path, metavar="DIR", help="prepared cases (default: $DEBRIDE_CACHE or ~/.cache/debride)")
    add_dataset_options(audit)
    add_settings(audit, TrainConfig, "training", dest="train_", leave_out=("seed",))
    audit.set_defaults(run=run_audit)

    repair = verbs.add_parser(
        "repair",
        help="a new data set with the repairs that were accepted, or with --reverse the labels given before",
        epilog="Nothing disappears without being asked: see --allow-removal, --rare and --trusted-too.",
    )
    repair.add_argument("dataset", type=Path, help="the data set that was audited; with --reverse the repaired one")
    repair.add_argument("audit", type=Path, nargs="?", metavar="AUDIT", help="what `debride audit` wrote")
    repair.add_argument("--out", type=Path, required=True, metavar="DATASET2", help="a new folder")
    repair.add_argument("--reverse", action="store_true", help="write the labels that the data set had before its repair")
    repair.add_argument("--accept", nargs="+", default=[], metavar="KIND", help="all, or kinds: missing extra boundary ...")
    repair.add_argument("--class", nargs="+", default=[], dest="only", metavar="NAME", help="only findings of these classes")
    repair.add_argument("--confidence", type=float, default=0.0, metavar="X", help="only findings at least as sure, 0 to 1")
    repair.add_argument("--severity", type=float, default=0.0, metavar="X", help="only findings at least as severe, 0 to 1")
    repair.add_argument("--flagged", action="store_true", help="only in flagged cases")
    repair.add_argument("--decisions", type=Path, metavar="FILE", help="CSV with case, number, decision, as the report saves it")
    repair.add_argument("--allow-removal", action="store_true", help="objects and classes may disappear from a label")
    repair.add_argument("--trusted-too", action="store_true", help="change trusted cases too")
    repair.add_argument("--rare", type=int, metavar="N", help="a class in fewer cases than this is rare (default: 5, or 2 %%)")
    add_dataset_options(repair)
    repair.set_defaults(run=run_repair)


def run_audit(arguments: argparse.Namespace) -> int:
    """Audits a data set, and says which cases to look at first."""
    import csv
    import json

    from debride.audit.audit import audit_dataset
    from debride.audit.config import AuditConfig
    from debride.audit.raters import audit_raters
    from debride.progress import track

    if arguments.fail_on is not None and not 0 <= arguments.fail_on <= 1:
        raise DataError("--fail-on", f"is {arguments.fail_on}", "Give a share of the cases from 0 to 1.")
    dataset = open_from(arguments)
    if dataset.task != "segmentation":
        raise DataError(dataset.root, "is a data set for classification", "Give one of images and masks.")
    if (arguments.out / "audit.json").exists():
        raise DataError(arguments.out, "holds an audit already", "Choose another --out, or remove this folder.")
    config = AuditConfig(**given_settings(arguments, AuditConfig))
    cases = [case for case in dataset.of(*arguments.splits) if case.label is not None]
    several = any(case.rater for case in cases)
    if (arguments.identities or arguments.consensus) and not several:
        raise DataError("--identities and --consensus", "are for data sets with several raters", "Leave them out.")
    predictions, cases = _predictions(arguments, dataset, cases, config)
    shown: dict[str, Any] = {}

    def progress(name: str, done: int, total: int) -> None:
        if name not in shown:
            for bar in shown.values():
                bar.__exit__(None, None, None)
            shown[name] = track(name, total)
            shown[f"{name} show"] = shown[name].__enter__()
        shown[f"{name} show"](done)

    audit_dataset(dataset, cases, predictions, arguments.out, config, progress)
    return 0


def run_repair(arguments: argparse.Namespace) -> int:
    """Repairs a data set, or brings its given labels back."""
    return 0
