"""``debride calibrate``: the bias of a run, measured on verified cases and taken out of what it predicts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from debride.cli.dataset_options import add_dataset_options, open_from
from debride.cli.options import Verbs, add_settings, add_trust, all_flags, given_settings, trust_of

if TYPE_CHECKING:
    from debride.training.calibrate import Calibrated


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    from debride.calibration.fit import CalibrationConfig

    parser = verbs.add_parser("calibrate", help="take the bias out of predictions that a few verified cases show")
    parser.add_argument("run_folder", type=Path, metavar="RUN")
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="the data set that has the verified cases")
    parser.add_argument("--checkpoint", default="last", metavar="WHICH", help="best, last or an epoch's number (default: last)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    add_dataset_options(parser)
    add_trust(parser, named=True)
    add_settings(parser, CalibrationConfig, "calibration")
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Calibrates a run, and says what was found."""
    from debride.calibration.fit import CalibrationConfig
    from debride.training.calibrate import calibrate_run

    done = calibrate_run(
        arguments.run_folder,
        open_from(arguments),
        config=CalibrationConfig(**given_settings(arguments, CalibrationConfig)),
        checkpoint=arguments.checkpoint,
        device=arguments.device,
        trust=trust_of(arguments, arguments.method, arguments.network),
    )
    tell_calibrated(done, arguments.run_folder)
    return 0


def tell_calibrated(done: Calibrated, folder: Path) -> None:
    """Says what a calibration found, and where it lies."""
    from debride.calibration.bias_record import FILE
    from debride.calibration.bias_words import bias_in_words, many_verified, table

    for warning in done.warnings:
        print(f"debride: warning: {all_flags(warning)}", file=sys.stderr)
    print("\n".join([*bias_in_words(done.record), "", *table(done.record), ""]))
    replaced = ", in place of an earlier one" if done.replaced else ""
    print(f"{folder / FILE}: {many_verified(done.record)}{replaced}")
