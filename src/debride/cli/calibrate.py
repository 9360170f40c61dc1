"""``debride calibrate``: the bias of predictions, measured on verified cases and taken out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from debride.cli.dataset_options import add_dataset_options, open_from
from debride.cli.options import (
    Verbs,
    add_jobs,
    add_keep_going,
    add_settings,
    add_trust,
    setting_values,
    tell_left_out,
)
from debride.types import GROUPS, DataError

FORMS = "Write `debride calibrate RUN DATASET`, or `debride calibrate DATASET --predictions DIR --out DIR`."


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    from debride.calibration.calibration_config import CalibrationConfig

    parser = verbs.add_parser(
        "calibrate",
        help="take out the bias of predictions that verified cases show",
        usage="debride calibrate RUN DATASET [OPTIONS]\n       debride calibrate DATASET --predictions DIR --out DIR [OPTIONS]",
    )
    parser.add_argument("run_folder", type=Path, nargs="?", metavar="RUN", help="what `debride train` wrote")
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="the data set that has the verified cases")
    group = parser.add_argument_group("a run")
    group.add_argument("--checkpoint", metavar="WHICH", help="best, last or an epoch's number (default: last)")
    about = "give groups of cases their own calibration where that is surely better"
    group.add_argument("--by", choices=GROUPS, help=about)
    group.add_argument("--device", choices=["auto", "cpu", "cuda"], help="where to compute (default: auto)")
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
    from debride.api.calibrating import calibrate
    from debride.calibration.calibration_config import CalibrationConfig

    _refuse_mixed_forms(arguments)
    calibrated = calibrate(
        arguments.run_folder,
        open_from(arguments),
        checkpoint=arguments.checkpoint,
        by=arguments.by,
        device=arguments.device,
        predictions=arguments.predictions,
        out=arguments.out,
        resume=arguments.resume,
        keep_going=arguments.keep_going,
        jobs=arguments.jobs,
        method=arguments.method,
        network=arguments.network,
        trust_code=arguments.trust_code,
        **setting_values(arguments, CalibrationConfig),
    )
    print("\n".join(calibrated.said()))
    if calibrated.count is not None:
        print(f"{calibrated.out}: {calibrated.count} masks")
    return tell_left_out(calibrated.left_out, calibrated.out, "Mend the cause and use --resume.")


def _refuse_mixed_forms(arguments: argparse.Namespace) -> None:
    """Raises DataError where folders stand in places of others, for each of which its place says what it is."""
    if arguments.predictions and arguments.run_folder:
        raise DataError("--predictions", f"is given beside the run {arguments.run_folder}", FORMS)
    if not arguments.predictions and not arguments.run_folder:
        missing = "no data set" if (arguments.dataset / "run.json").exists() else "neither a run nor --predictions"
        raise DataError(arguments.dataset, f"is given alone, with {missing}", FORMS)
    if arguments.run_folder and (arguments.dataset / "run.json").exists() and not (arguments.run_folder / "run.json").exists():
        raise DataError(arguments.dataset, "is a run, in the place of the data set", FORMS)
    if arguments.predictions and not arguments.out:
        raise DataError("--out", "is missing: masks are written there", FORMS)
