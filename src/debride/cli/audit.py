"""``debride audit``: which labels are wrong, where and how."""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debride.audit import AuditConfig
from debride.cli.audit_classes import audit_classes_verb
from debride.cli.audit_training import cross_validation_job
from debride.cli.dataset_options import add_dataset_options, open_from
from debride.cli.options import Verbs, add_jobs, add_settings, add_trust, add_verify, given_settings, trust_of
from debride.escapes import unshielded
from debride.training.config import TrainConfig
from debride.types import DataError
from debride.words import some

if TYPE_CHECKING:
    from debride.types import Case, Dataset

SHOWN = 10
"""Cases that the terminal shows."""


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser(
        "audit",
        help="which labels are wrong, where and how, with a report to look at",
        epilog="Without --predictions or --run networks are trained. Each judges the cases that it was not trained on.",
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True, metavar="AUDIT", help="folder for the report and what belongs to it")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--predictions",
        type=Path,
        metavar="DIR",
        help="masks or probability maps by case (NIfTI, PNG, npy, npz), or nnU-Net's folder; of classes a csv, npz or npy file",
    )
    source.add_argument(
        "--without-predictions",
        action="store_true",
        help="a first look in seconds: by labels and images alone, no network, nothing that repair could apply",
    )
    source.add_argument(
        "--run", type=Path, metavar="RUN", dest="run_folder", help="what `debride train` wrote, to predict with"
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        default=["train", "val"],
        choices=["train", "val", "test"],
        help="splits whose labels are audited (default: train val)",
    )
    parser.add_argument("--partial", action="store_true", help="leave out cases without a prediction")
    parser.add_argument(
        "--fail-on",
        type=float,
        metavar="SHARE",
        help="exit with 1 if more than this share of the labels that are not trusted is flagged",
    )
    parser.add_argument(
        "--identities", action="store_true", help="a rater's name is the same person throughout: rank the raters too"
    )
    parser.add_argument(
        "--consensus",
        choices=["majority", "staple"],
        help="where there are several raters, also write a data set with their consensus",
    )
    add_jobs(parser)
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument(
        "--shard",
        type=_part,
        metavar="K/N",
        help="do only the K-th of N parts, on any machine that has the disk; the same command with --merge ends the audit",
    )
    parts.add_argument("--merge", action="store_true", help="end an audit whose parts were done with --shard")
    parser.add_argument(
        "--since",
        type=Path,
        metavar="AUDIT",
        help="an earlier audit of this data set: predict and score only new and changed cases, and say what changed",
    )
    add_settings(parser, AuditConfig, "audit")
    cross = parser.add_argument_group("cross-validation, without predictions")
    cross.add_argument(
        "--folds", type=int, default=5, metavar="N", help="parts that the patients are divided into (default: 5)"
    )
    cross.add_argument("--method", default="ce", help="the method that trains the networks (default: ce)")
    cross.add_argument("--config", type=Path, metavar="FILE", help="YAML with the sections training, augmentation, method")
    cross.add_argument("--cache", type=Path, metavar="DIR", help="prepared cases (default: $DEBRIDE_CACHE or ~/.cache/debride)")
    add_verify(cross)
    add_dataset_options(parser)
    add_trust(parser)
    add_settings(parser, TrainConfig, "training", dest="train_", leave_out=("seed",))
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Audits a data set, and says what was found; 1 if more cases are flagged than ``--fail-on`` allows."""
    if arguments.fail_on is not None and not 0 <= arguments.fail_on <= 1:
        raise DataError("--fail-on", f"is {arguments.fail_on}", "Give a share of the cases from 0 to 1.")
    dataset = open_from(arguments)
    return AUDITS[dataset.task](dataset, arguments)


def _audit_masks(dataset: Dataset, arguments: argparse.Namespace) -> int:
    """Audits masks."""
    from debride.audit.audit_folder import Part, check_output, held
    from debride.audit.passes import audit_dataset, audit_part
    from debride.data.rater_choice import image_id

    config = AuditConfig(**given_settings(arguments, AuditConfig))
    cases = [case for case in dataset.of(*arguments.splits) if case.label is not None]
    if not cases:
        raise DataError(dataset.root, "has no labelled case to audit", "Check --splits.")
    several = len({image_id(case) for case in cases}) < len(cases)
    if (arguments.identities or arguments.consensus) and not several:
        flag = "--identities" if arguments.identities else "--consensus"
        raise DataError(flag, "is for images with the labels of several raters, which this data set has not", "Leave it out.")
    check_output(dataset, arguments.out, arguments.predictions or arguments.run_folder, arguments.since)
    _use_networks_since(arguments)
    part = Part(*arguments.shard) if arguments.shard else None
    how = {"jobs": arguments.jobs, "since": arguments.since}
    with held(dataset, arguments.out, part):
        predictions, predicted = _predictions(arguments, dataset, cases, config)
        if part:
            _say_progress(arguments.out, audit_part(dataset, predicted, predictions, arguments.out, config, part, **how))
            return 0
        if several:  # before the audit, whose report says that all is done
            _compare_raters(arguments, replace(dataset, cases=tuple(cases)), config)
        summary = audit_dataset(dataset, predicted, predictions, arguments.out, config, **how, merge=arguments.merge)
    _say(arguments.dataset, arguments.out, summary, arguments.without_predictions)
    share = summary["flagged"] / max(1, summary["cases"] - summary["trusted"])
    return int(arguments.fail_on is not None and share > arguments.fail_on)


def _part(text: str) -> tuple[int, int]:
    number, of, rest = (*text.split("/"), "", "")[:3]
    if rest or not number.isdecimal() or not of.isdecimal() or not 1 <= int(number) <= int(of):
        raise argparse.ArgumentTypeError(f"{text!r} is no part such as 1/8, 2/8 to 8/8")
    return int(number), int(of)


def _use_networks_since(arguments: argparse.Namespace) -> None:
    """Lets an audit since an earlier one be by the networks of that one, if it had any, where nothing else is given."""
    if arguments.since is None or arguments.predictions or arguments.run_folder or arguments.without_predictions:
        return
    from debride.audit.findings import read_record

    runs = [Path(run) for run in read_record(arguments.since).about.get("predictions", {}).get("runs", [])]
    if not runs:
        raise DataError("--since", f"{arguments.since} is by predictions of a folder", "Give --predictions too.")
    arguments.run_folder = runs[0].parent if len(runs) > 1 else runs[0]


def _compare_raters(arguments: argparse.Namespace, dataset: Dataset, config: AuditConfig) -> None:
    """Writes raters/ in the folder of the audit, anew if an audit was cut off."""
    from debride.audit.raters import audit_raters
    from debride.progress import track

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
    from debride.audit.predictions import FolderPredictions, NoPredictions, RunPredictions, open_predictions

    if arguments.without_predictions:
        return NoPredictions(), cases
    source = arguments.predictions or arguments.run_folder
    given = given_settings(arguments, TrainConfig, dest="train_")
    device = given.get("device", "auto")
    if source is None:
        if arguments.shard or arguments.merge:
            flag = "--shard" if arguments.shard else "--merge"
            remedy = "Give --predictions, or --run with the folder cross-validation/ of an audit."
            raise DataError(flag, "is for predictions or networks that there are already", remedy)
        from debride.audit.predictions import cross_validate

        job = cross_validation_job(arguments, dataset, config)
        runs = cross_validate(job, cases, arguments.folds)
        import torch

        from debride.training.launch import choose_device

        predictions: Any = RunPredictions(runs, dataset, torch.device(choose_device(device)), trust=job.trust)
    else:
        if arguments.run_folder and not list(source.glob("run.json")) + list(source.glob("fold-*/run.json")):
            raise DataError(
                source, "holds no training", "Give what `debride train --out` wrote, or a folder with --predictions."
            )
        trust = trust_of(arguments, arguments.method, given.get("network"))
        predictions = open_predictions(source, dataset, cases, device=device, missing_ok=arguments.partial, trust=trust)
    if isinstance(predictions, FolderPredictions):
        missing = set(predictions.missing)
        return predictions, [case for case in cases if case.id not in missing]
    return predictions, cases


def _say_progress(out: Path, progress: Any) -> None:
    """What is done of an audit in parts, and what comes next."""
    print(f"{progress.looked} of {progress.cases} labels were looked at, {progress.judged} of {progress.cases} judged")
    if progress.looked < progress.cases:
        print("When all parts are done, give their commands again, or one with --merge in place of --shard.")
    elif progress.judged < progress.cases:
        print("When all parts are done, give the same command with --merge in place of --shard.")
    else:
        print(f"Give the same command with --merge in place of --shard: it writes {out / 'report.html'}.")


def _say(root: Path, out: Path, summary: dict[str, Any], without: bool) -> None:
    """What was found, and where to look."""
    trusted = f" and {summary['trusted']} trusted ones" if summary["trusted"] else ""
    counted = summary["cases"] - summary["trusted"]
    print(f"{counted} labels{trusted}, {summary['share_in_words']}, {summary['flagged']} flagged")
    for line in summary["noise"]:
        print(f"  {line}")
    if since := summary.get("since"):
        new, changed, gone = (len(since[name]) for name in ("new", "changed", "gone"))
        print(f"  since {since['audit']}: {new} new, {changed} changed, {gone} gone, {since['unchanged']} unchanged")
        if since["newly_flagged"]:
            print(f"  newly flagged: {some([unshielded(id) for id in since['newly_flagged']], SHOWN)}")
    for line in summary["warnings"]:
        print(f"  Warning: {line}")
    with (out / "cases.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in [row for row in rows if row["flagged"] == "1"][:SHOWN]:
        said = f"  {unshielded(row['case'])}: {row['kind'] or 'unclear'}, wrong with probability {float(row['wrong']):.2f}"
        print(said + (f"; {unshielded(row['doubts'])}" if row["doubts"] else ""))
    print(summary["suggestion"])
    if without:
        print(f"The column doubts of {out / 'cases.csv'} says what stands out. The ranking is in {out / 'report.html'}.")
        return
    if any(summary.get("verified_bias", {}).get("moves", {}).get("shifts", ())):
        print(f"debride repair {root} {out} --out NEW --unbias")
    if not any(int(row["findings"]) for row in rows):
        print(f"There is nothing to repair. The ranking is in {out / 'report.html'}.")
        return
    print(f"Open {out / 'report.html'} in a browser, and decide. Then:")
    print(f"debride repair {root} {out} --out NEW --decisions decisions.csv")


AUDITS = {"segmentation": _audit_masks, "classification": audit_classes_verb}
"""How labels are audited, by task."""
