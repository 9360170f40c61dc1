"""``debride export``: a training as TorchScript, ONNX or a MONAI bundle."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from debride.cli.options import Verbs, add_trust, all_flags


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("export", help="a training as TorchScript, ONNX or a MONAI bundle")
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="what `debride train` wrote")
    parser.add_argument("--to", required=True, choices=["torchscript", "onnx", "monai-bundle"], help="what is written")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder for the model and its description")
    parser.add_argument(
        "--checkpoint", metavar="WHICH", help="best, last or an epoch's number (default: the one that was calibrated, or best)"
    )
    parser.add_argument("--raw", action="store_true", help="leave the calibration of the run (RUN/calibration.json) out")
    add_trust(parser, named=True)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Exports the run, and says what was written."""
    from debride.api.exporting import export_run

    exported = export_run(
        arguments.run_folder,
        arguments.out,
        to=arguments.to,
        checkpoint=arguments.checkpoint,
        raw=arguments.raw,
        method=arguments.method,
        network=arguments.network,
        trust_code=arguments.trust_code,
    )
    print(f"{exported.out}: {', '.join(exported.files)}")
    for note in exported.notes:
        print(all_flags(note))
    return 0
