"""The verbs on labels: audit, repair."""

from __future__ import annotations

import argparse
import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debride.audit.audit_config import AuditConfig
from debride.cli.data import Verbs, add_dataset_options, open_from
from debride.cli.options import add_settings, given_settings
from debride.files import exclusive
from debride.progress import track
from debride.settings import from_mapping
from debride.training.config import TrainConfig
from debride.types import DataError

if TYPE_CHECKING:
    from debride.types import Case, Dataset

SHOWN = 10
"""Cases that the terminal shows."""


def add_verbs(verbs: Verbs) -> None:
    """Adds the parsers of this module's verbs."""
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
    source.add_argument(
        "--run", type=Path, metavar="RUN", dest="run_folder", help="what `debride train` wrote, to predict with"
    )
    audit.add_argument(
        "--splits",
        nargs="+",
        default=["train", "val"],
        choices=["train", "val", "test"],
        help="whose labels are audited (default: train val)",
    )
    audit.add_argument("--partial", action="store_true", help="leave out cases without a prediction")
    audit.add_argument(
        "--fail-on",
        type=float,
        metavar="SHARE",
        help="exit with 1 if more than this share of the labels that are not trusted is flagged",
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
    repair.add_argument(
        "--decisions", type=Path, metavar="FILE", help="CSV with case, number, decision, as the report saves it"
    )
    repair.add_argument("--allow-removal", action="store_true", help="objects and classes may disappear from a label")
    repair.add_argument("--trusted-too", action="store_true", help="change trusted cases too")
    repair.add_argument("--rare", type=int, metavar="N", help="a class in fewer cases than this is rare (default: 5, or 2 %%)")
    add_dataset_options(repair)
    repair.set_defaults(run=run_repair)


def run_audit(arguments: argparse.Namespace) -> int:
    """Audits a data set, and says what was found; 1 if more cases are flagged than ``--fail-on`` allows."""
    from debride.audit.passes import audit_dataset, check_output, claim_output
    from debride.data.rater_choice import image_id

    if arguments.fail_on is not None and not 0 <= arguments.fail_on <= 1:
        raise DataError("--fail-on", f"is {arguments.fail_on}", "Give a share of the cases from 0 to 1.")
    dataset = _open_masks(arguments)
    config = AuditConfig(**given_settings(arguments, AuditConfig))
    cases = [case for case in dataset.of(*arguments.splits) if case.label is not None]
    if not cases:
        raise DataError(dataset.root, "has no labelled case to audit", "Check --splits.")
    several = len({image_id(case) for case in cases}) < len(cases)
    if (arguments.identities or arguments.consensus) and not several:
        flag = "--identities" if arguments.identities else "--consensus"
        raise DataError(flag, "is for images with the labels of several raters, which this data set has not", "Leave it out.")
    check_output(dataset, arguments.out, arguments.predictions or arguments.run_folder)
    with exclusive(arguments.out):
        claim_output(dataset, arguments.out)
        predictions, predicted = _predictions(arguments, dataset, cases, config)
        if several:  # before the audit, whose report says that all is done
            _compare_raters(arguments, replace(dataset, cases=tuple(cases)), config)
        summary = audit_dataset(dataset, predicted, predictions, arguments.out, config)
    _say(arguments.dataset, arguments.out, summary)
    share = summary["flagged"] / max(1, summary["cases"] - summary["trusted"])
    return int(arguments.fail_on is not None and share > arguments.fail_on)


def run_repair(arguments: argparse.Namespace) -> int:
    """Repairs a data set, or brings its given labels back."""
    from debride.audit.repair.apply import repair, reverse
    from debride.audit.repair.decisions import parse_acceptance

    if arguments.reverse:
        if arguments.audit is not None or arguments.accept or arguments.decisions:
            raise DataError("--reverse", "takes all repairs back", "Give the repaired data set and --out alone.")
        with track("restoring", None) as show:
            counts = reverse(arguments.dataset, arguments.out, format=arguments.format, progress=lambda done, _: show(done))
        print(f"{arguments.out}: {', '.join(f'{value} {name}' for name, value in counts.items())}")
        return 0
    if arguments.audit is None:
        raise DataError("AUDIT", "is missing", "Give the folder that `debride audit --out` wrote after the data set.")
    dataset = _open_masks(arguments)
    accept = parse_acceptance(
        arguments.accept,
        dataset.classes,
        only=arguments.only,
        confidence=arguments.confidence,
        severity=arguments.severity,
        flagged=arguments.flagged,
        decisions=arguments.decisions,
        allow_removal=arguments.allow_removal,
        trusted=arguments.trusted_too,
        rare=arguments.rare,
    )
    with track("repairing", len(dataset.cases)) as show:
        summary = repair(dataset, arguments.audit, arguments.out, accept, progress=lambda done, _: show(done))
    print(_repaired(arguments.out, summary))
    return 0


def _open_masks(arguments: argparse.Namespace) -> Dataset:
    """The data set that the arguments name, which must be one of masks."""
    dataset = open_from(arguments)
    if dataset.task != "segmentation":
        problem = "is a data set for classification; audit and repair are for masks"
        raise DataError(dataset.root, problem, "Give one of images and masks.")
    return dataset


def _compare_raters(arguments: argparse.Namespace, dataset: Dataset, config: AuditConfig) -> None:
    """Writes raters/ in the folder of the audit, anew if an audit was cut off."""
    from debride.audit.raters.compare import audit_raters

    out = arguments.out / "raters"
    if out.exists():
        shutil.rmtree(out)
    with track("comparing raters", None) as show:
        audit_raters(
            dataset,
            out,
            identities=arguments.identities,
            consensus=arguments.consensus,
            progress=lambda done, _: show(done),
            seed=config.seed,
        )


def _predictions(
    arguments: argparse.Namespace, dataset: Dataset, cases: list[Case], config: AuditConfig
) -> tuple[Any, list[Case]]:
    """The predictions to audit by, and the cases that have one, in the order to look at them."""
    from debride.audit.predictions.cross_validation import cross_validate
    from debride.audit.predictions.kept import KeptPredictions
    from debride.audit.predictions.sources import FolderPredictions, RunPredictions, open_predictions

    source = arguments.predictions or arguments.run_folder
    device = given_settings(arguments, TrainConfig, dest="train_").get("device", "auto")
    if source is None:
        job = _job(arguments, dataset, config)
        runs = cross_validate(job, cases, arguments.folds)
        import torch

        from debride.training.fit import choose_device

        found: Any = RunPredictions(runs, dataset, torch.device(choose_device(device)))
    else:
        if arguments.run_folder and not list(source.glob("run.json")) + list(source.glob("fold-*/run.json")):
            raise DataError(
                source, "holds no training", "Give what `debride train --out` wrote, or a folder with --predictions."
            )
        found = open_predictions(source, dataset, cases, device=device, missing_ok=arguments.partial)
    if isinstance(found, FolderPredictions):
        missing = set(found.missing)
        return found, [case for case in cases if case.id not in missing]
    kept = KeptPredictions(found, arguments.out / "predictions", len(dataset.classes))
    return kept, kept.order(cases)


def _job(arguments: argparse.Namespace, dataset: Dataset, config: AuditConfig) -> Any:
    """The training of a cross-validation."""
    from debride.cli.train import read_config
    from debride.data.augmentation import Augmentation
    from debride.methods import METHODS
    from debride.training.fit import Job

    if arguments.method not in METHODS:
        raise DataError("--method", f"is {arguments.method!r}, which does not exist", f"Choose one of {', '.join(METHODS)}.")
    sections = read_config(arguments.config)
    given = given_settings(arguments, TrainConfig, dest="train_")
    method = METHODS[arguments.method]
    training = {"tensorboard": False, "keep_last": 1, **sections.get("training", {}), **given, "seed": config.seed}
    return Job(
        dataset=dataset,
        method=arguments.method,
        method_config=from_mapping(method.Config, sections.get("method", {}), f"{arguments.config}: method"),
        config=from_mapping(TrainConfig, training, f"{arguments.config}: training"),
        augmentation=from_mapping(Augmentation, sections.get("augmentation", {}), f"{arguments.config}: augmentation"),
        out=arguments.out / "cross-validation",
        cache=arguments.cache,
    )


def _say(root: Path, out: Path, summary: dict[str, Any]) -> None:
    """What was found, and where to look."""
    share, low, high = (f"{100 * value:.1f}" for value in (summary["share_wrong"], *summary["share_wrong_interval"]))
    trusted = f" and {summary['trusted']} trusted ones" if summary["trusted"] else ""
    counted = summary["cases"] - summary["trusted"]
    print(f"{counted} labels{trusted}, about {share} % wrong ({low} to {high} %), {summary['flagged']} flagged")
    for line in summary["noise"]:
        print(f"  {line}")
    for line in summary["warnings"]:
        print(f"  Warning: {line}")
    with (out / "cases.csv").open(encoding="utf-8", newline="") as file:
        for row in [row for row in csv.DictReader(file) if row["flagged"] == "1"][:SHOWN]:
            print(f"  {row['case']}: {row['kind'] or 'unclear'}, wrong with probability {float(row['wrong']):.2f}")
    print(f"{summary['suggestion']}\nOpen {out / 'report.html'} in a browser, and decide. Then:")
    print(f"debride repair {root} {out} --out NEW --decisions decisions.csv")


def _repaired(out: Path, summary: dict[str, Any]) -> str:
    """What was changed, and what the guards kept."""
    kinds = ", ".join(f"{kind} {number}" for kind, number in summary["kinds"].items())
    lines = [
        f"{out}: {summary['applied']} findings applied{f' ({kinds})' if kinds else ''}, {summary['declined']} declined, "
        f"{summary['guarded']} guarded; {summary['cases']} labels and {summary['voxels']} pixels or voxels changed",
        *(f"  guarded {number} times: {why}" for why, number in summary["guards"].items()),
    ]
    return "\n".join(lines)
