"""``debride audit`` for images with one class each."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

from debride.audit import AuditConfig
from debride.cli.audit_training import cross_validation_job
from debride.cli.options import flag, given_settings, trust_of
from debride.escapes import unshielded
from debride.types import Case, DataError, Dataset

SHOWN = 10
"""Cases that the terminal shows."""

MASKS_ONLY = ("shard", "merge", "since", "identities", "consensus", "planted", "without_predictions")
"""Options that mean nothing here."""


def audit_classes_verb(dataset: Dataset, arguments: argparse.Namespace) -> int:
    """Audits the classes of a data set, and says what was found; 1 if more are flagged than ``--fail-on`` allows."""
    from debride.audit.audit_folder import check_output, held
    from debride.audit.wrong_classes.class_audit import audit_classes

    for name in MASKS_ONLY:
        if getattr(arguments, name, None):
            raise DataError(flag(name), "is for masks", "Leave it out.")
    config = AuditConfig(**given_settings(arguments, AuditConfig))
    cases = [case for case in dataset.of(*arguments.splits) if case.target is not None]
    if not cases:
        raise DataError(dataset.root, "has no labelled case to audit", "Check --splits.")
    check_output(dataset, arguments.out, arguments.predictions or arguments.run_folder)
    with held(dataset, arguments.out):
        predictions = _predictions(arguments, dataset, cases, config)
        summary = audit_classes(dataset, predictions, arguments.out, config, jobs=arguments.jobs)
    from debride.audit.audit_folder import end_work

    end_work(arguments.out)
    _say(arguments.dataset, arguments.out, summary)
    share = summary["flagged"] / max(1, summary["cases"] - summary["trusted"])
    return int(arguments.fail_on is not None and share > arguments.fail_on)


def _predictions(arguments: argparse.Namespace, dataset: Dataset, cases: list[Case], config: AuditConfig) -> Any:
    """The predictions to audit by, of a file, of a run, or of a cross-validation."""
    from debride.audit.wrong_classes.class_sources import given_predictions, network_predictions, run_of_each
    from debride.training.config import ClassTrainConfig

    if arguments.predictions:
        return given_predictions(arguments.predictions, dataset, cases, missing_ok=arguments.partial)
    import torch

    from debride.training.launch import choose_device

    given = given_settings(arguments, ClassTrainConfig, dest="train_")
    device = torch.device(choose_device(given.get("device", "auto")))
    kept, cache = arguments.out / "predictions", arguments.cache
    if arguments.run_folder:
        trust = trust_of(arguments, arguments.method, given.get("network"))
        runs = run_of_each(arguments.run_folder, cases)
        return network_predictions(runs, dataset, cases, kept, device, cache=cache, trust=trust)
    from debride.audit.predictions import cross_validate

    job = cross_validation_job(arguments, dataset, config)
    runs = dict(cross_validate(job, cases, arguments.folds))
    return network_predictions(runs, dataset, cases, kept, device, cache=cache, trust=job.trust)


def _say(root: Path, out: Path, summary: dict[str, Any]) -> None:
    """What was found, and where to look."""
    from debride.audit.wrong_classes.class_record import read_class_record

    trusted = f" and {summary['trusted']} trusted ones" if summary["trusted"] else ""
    counted = summary["cases"] - summary["trusted"]
    print(f"{counted} labels{trusted}, {summary['share_in_words']}, {summary['flagged']} flagged")
    for line in summary["noise"]:
        print(f"  {line}")
    if summary["duplicates"]:
        print(f"  {summary['duplicates']} groups of like images have different classes, see {out / 'duplicates.csv'}")
    for line in summary["warnings"]:
        print(f"  Warning: {line}")
    with (out / "cases.csv").open(encoding="utf-8", newline="") as file:
        for row in [row for row in csv.DictReader(file) if row["flagged"] == "1"][:SHOWN]:
            case, given, proposed = (unshielded(row[name]) for name in ("case", "given", "proposed"))
            print(f"  {case}: {given}, probably {proposed}; wrong with probability {float(row['wrong']):.2f}")
    print(summary["suggestion"])
    if not read_class_record(out).findings:
        print(f"There is nothing to repair. The ranking is in {out / 'report.html'}.")
        return
    print(f"Open {out / 'report.html'} in a browser, and decide. Then:")
    print(f"debride repair {root} {out} --out NEW --decisions decisions.csv")
