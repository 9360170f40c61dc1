"""``debride calibrate``: the bias of predictions, measured on verified cases and taken out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from debride.api.training_results import CalibrationResult
from debride.cli.dataset_options import add_dataset_options, open_from
from debride.cli.options import (
    Verbs,
    add_jobs,
    add_keep_going,
    add_settings,
    add_trust,
    all_flags,
    flag,
    given_settings,
    tell_left_out,
    trust_of,
)
from debride.types import GROUPS, DataError

if TYPE_CHECKING:
    from debride.calibration.calibration_config import CalibrationConfig

FORMS = "Write `debride calibrate RUN DATASET`, or `debride calibrate DATASET --predictions DIR --out DIR`."

OF_A_RUN = ("by", "checkpoint", "device", "trust_code", "method", "network")
OF_A_FOLDER = ("out", "resume", "keep_going")
"""Options that one of the two forms has alone."""


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    from debride.calibration.calibration_config import CalibrationConfig

    parser = verbs.add_parser(
        "calibrate",
        help="take the bias out of predictions that a few verified cases show",
        usage="debride calibrate RUN DATASET [OPTIONS]\n       debride calibrate DATASET --predictions DIR --out DIR [OPTIONS]",
    )
    parser.add_argument("run_folder", type=Path, nargs="?", metavar="RUN", help="what `debride train` wrote")
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="the data set that has the verified cases")
    group = parser.add_argument_group("a run")
    group.add_argument("--checkpoint", metavar="WHICH", help="best, last or an epoch's number (default: last)")
    about = "give groups of cases their own calibration where that is surely better"
    group.add_argument("--by", choices=GROUPS, help=about)
    group.add_argument("--device", choices=["auto", "cpu", "cuda"], help="default: auto")
    group = parser.add_argument_group("predictions of any network")
    about = "masks or probabilities, named by case, as `debride audit` reads them"
    group.add_argument("--predictions", type=Path, metavar="DIR", help=about)
    group.add_argument("--out", type=Path, metavar="DIR", help="folder for the masks without the bias")
    group.add_argument("--resume", action="store_true", help="go on with the masks in --out; what is whole is kept")
    add_keep_going(parser)
    add_jobs(parser)
    add_dataset_options(parser)
    add_trust(parser, named=True)
    add_settings(parser, CalibrationConfig, "calibration")
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Calibrates a run or a folder of predictions, and says what was found."""
    from debride.calibration.calibration_config import CalibrationConfig

    _refuse_mixed_forms(arguments)
    config = CalibrationConfig(**given_settings(arguments, CalibrationConfig))
    if arguments.predictions:
        return _calibrate_folder(arguments, config)
    from debride.training.calibrate import calibrate_run

    done = calibrate_run(
        arguments.run_folder,
        open_from(arguments),
        config=config,
        by=arguments.by,
        checkpoint=arguments.checkpoint or "last",
        device=arguments.device or "auto",
        trust=trust_of(arguments, arguments.method, arguments.network),
    )
    tell_calibrated(CalibrationResult(arguments.run_folder, done))
    return 0


def _calibrate_folder(arguments: argparse.Namespace, config: CalibrationConfig) -> int:
    from debride.audit.calibrate_folder import calibrate_folder

    moved = calibrate_folder(
        open_from(arguments),
        arguments.predictions,
        arguments.out,
        config=config,
        resume=arguments.resume,
        keep_going=arguments.keep_going,
        jobs=arguments.jobs,
    )
    tell_calibrated(CalibrationResult(arguments.out, moved.calibrated))
    print(f"{arguments.out}: {moved.count} masks")
    return tell_left_out(moved.left_out, arguments.out, "Mend the cause and use --resume.")


def _refuse_mixed_forms(arguments: argparse.Namespace) -> None:
    """Raises DataError for what is neither a run nor a folder of predictions, or both, and for options of the other one."""
    if arguments.predictions and arguments.run_folder:
        raise DataError("--predictions", f"is given beside the run {arguments.run_folder}", FORMS)
    if not arguments.predictions and not arguments.run_folder:
        missing = "no data set" if (arguments.dataset / "run.json").exists() else "neither a run nor --predictions"
        raise DataError(arguments.dataset, f"is given alone, with {missing}", FORMS)
    if arguments.run_folder and (arguments.dataset / "run.json").exists() and not (arguments.run_folder / "run.json").exists():
        raise DataError(arguments.dataset, "is a run, in the place of the data set", FORMS)
    if arguments.predictions and not arguments.out:
        raise DataError("--out", "is missing: masks are written there", FORMS)
    form, others = ("a run", OF_A_RUN) if arguments.predictions else ("predictions in a folder", OF_A_FOLDER)
    if given := [name for name in others if getattr(arguments, name)]:
        raise DataError(flag(given[0]), f"is for {form}", "Leave it out.")


def tell_calibrated(result: CalibrationResult) -> None:
    """Says what a calibration found, and where it lies."""
    from debride.calibration.bias_record import FILE
    from debride.training.bias_kinds import in_words, verified_by

    done = result.calibrated
    for warning in done.warnings:
        print(f"debride: warning: {all_flags(warning)}", file=sys.stderr)
    print("\n".join([*in_words(done.record), "", *done.own_words]))
    replaced = ", in place of an earlier one" if done.replaced else ""
    print(f"{result.out / FILE}: {verified_by(done.record)}{replaced}")
