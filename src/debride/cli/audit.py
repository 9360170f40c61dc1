"""``debride audit``: which labels are wrong, where and how."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from debride.audit import AuditConfig
from debride.cli.dataset_options import add_dataset_options, open_from
from debride.cli.options import (
    Verbs,
    add_cluster,
    add_jobs,
    add_settings,
    add_trust,
    add_verify,
    cluster_options,
    setting_values,
)
from debride.training.config import TrainConfig
from debride.types import DataError

if TYPE_CHECKING:
    from debride.api.audit_results import AuditResult


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser(
        "audit",
        help="which labels are wrong, where and how, with a report",
        epilog="Without --predictions or --run networks are trained. Each judges the cases that it was not trained on.",
    )
    parser.add_argument("dataset", type=Path, help="the folder of the data set whose labels are judged")
    parser.add_argument("--out", type=Path, required=True, metavar="AUDIT", help="folder for the report and what belongs to it")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--predictions",
        type=Path,
        metavar="DIR",
        help="masks or probability maps by case (NIfTI, PNG, npy, npz), or nnU-Net's: a folder of its results, or the number "
        "of the data set; of classes a csv, npz or npy file",
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
    add_cluster(parser)
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
    parser.add_argument(
        "--review",
        action="store_true",
        help="with --since: trust labels that its readers settled, and find nothing again that they decided",
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
    add_settings(parser, TrainConfig, "training", dest="train_", leave_out=("architecture", "seed"))
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Audits a data set, and says what was found; 1 if more cases are flagged than ``--fail-on`` allows."""
    from debride.api.auditing import audit_dataset

    if arguments.fail_on is not None and not 0 <= arguments.fail_on <= 1:
        raise DataError("--fail-on", f"is {arguments.fail_on}", "Give a share of the cases from 0 to 1.")
    audited = audit_dataset(
        open_from(arguments),
        arguments.out,
        predictions=arguments.predictions,
        run=arguments.run_folder,
        without_predictions=arguments.without_predictions,
        splits=arguments.splits,
        partial=arguments.partial,
        identities=arguments.identities,
        consensus=arguments.consensus,
        jobs=arguments.jobs,
        shard=arguments.shard,
        merge=arguments.merge,
        since=arguments.since,
        review=arguments.review,
        folds=arguments.folds,
        method=arguments.method,
        config=arguments.config,
        cache=arguments.cache,
        verify=arguments.verify,
        trust_code=arguments.trust_code,
        **cluster_options(arguments),
        **setting_values(arguments, AuditConfig),
        **setting_values(arguments, TrainConfig, dest="train_"),
    )
    print("\n".join(audited.said()))
    if audited.progress:
        _say_next(audited)
        return 0
    _say_where(arguments.dataset, audited, arguments.without_predictions)
    return int(arguments.fail_on is not None and audited.flagged_share > arguments.fail_on)


def _say_next(audited: AuditResult) -> None:
    """What comes next of an audit in parts."""
    progress = audited.progress
    assert progress is not None
    if progress.looked < progress.cases:
        print("When all parts are done, give their commands again, or one with --merge in place of --shard.")
    elif progress.judged < progress.cases:
        print("When all parts are done, give the same command with --merge in place of --shard.")
    else:
        print(f"Give the same command with --merge in place of --shard: it writes {audited.report}.")


def _say_where(root: Path, audited: AuditResult, without: bool) -> None:
    """Where to look, and the command that repairs."""
    out = audited.out
    if without:
        print(f"The column doubts of {audited.ranking_file} says what stands out. The ranking is in {audited.report}.")
        return
    if any(audited.summary.get("verified_bias", {}).get("moves", {}).get("shifts", ())):
        print(f"debride repair {root} {out} --out NEW --unbias")
    if not audited.findings:
        print(f"There is nothing to repair. The ranking is in {audited.report}.")
        return
    print(f"Open {audited.report} in a browser to see what was found. Then decide, and repair:")
    print(f"debride review {out} --reader NAME")
    print(f"debride repair {root} {out} --out NEW --decisions {audited.decisions}")


def _part(text: str) -> tuple[int, int]:
    number, of, rest = (*text.split("/"), "", "")[:3]
    if rest or not number.isdecimal() or not of.isdecimal() or not 1 <= int(number) <= int(of):
        raise argparse.ArgumentTypeError(f"{text!r} is no part such as 1/8, 2/8 to 8/8")
    return int(number), int(of)
