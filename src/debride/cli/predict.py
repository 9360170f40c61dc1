"""``debride predict``: masks or classes by a training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from debride.cli.dataset_options import add_dataset_options, dataset_options
from debride.cli.options import (
    Verbs,
    add_cluster,
    add_jobs,
    add_keep_going,
    add_trust,
    all_flags,
    cluster_options,
    tell_left_out,
)


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("predict", help="masks in the format of the images, or a table of classes")
    parser.add_argument(
        "run_folder", type=Path, metavar="RUN", help="a run, or a folder with the runs fold-1, fold-2 and so on"
    )
    parser.add_argument("input", type=Path, metavar="INPUT", help="a data set, or a folder of images")
    parser.add_argument(
        "--with",
        dest="others",
        nargs="+",
        default=[],
        type=Path,
        metavar="RUN",
        help="more runs, which predict together with the first: the mean of their probabilities is taken",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--splits",
        nargs="+",
        default=[],
        choices=["train", "val", "test"],
        help="splits of a data set to predict (default: test, or all)",
    )
    parser.add_argument(
        "--checkpoint", metavar="WHICH", help="best, last or an epoch's number (default: the one that was calibrated, or best)"
    )
    parser.add_argument("--raw", action="store_true", help="do not apply the calibration of the run (RUN/calibration.json)")
    parser.add_argument(
        "--probabilities", action="store_true", help="write class probabilities (K, *S) as .npy beside the masks"
    )
    parser.add_argument(
        "--largest-component", action="store_true", help="keep the largest connected piece of every foreground class alone"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the predictions in --out; what is whole is kept")
    add_keep_going(parser)
    add_jobs(parser)
    add_cluster(parser)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    add_dataset_options(parser)
    add_trust(parser, named=True)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Predicts all images of a folder or data set."""
    from debride.api.predicting import predict

    predicted = predict(
        [arguments.run_folder, *arguments.others],
        arguments.input,
        arguments.out,
        splits=arguments.splits,
        checkpoint=arguments.checkpoint,
        raw=arguments.raw,
        probabilities=arguments.probabilities,
        largest_component=arguments.largest_component,
        resume=arguments.resume,
        keep_going=arguments.keep_going,
        jobs=arguments.jobs,
        device=arguments.device,
        method=arguments.method,
        network=arguments.network,
        trust_code=arguments.trust_code,
        **cluster_options(arguments),
        **dataset_options(arguments),
    )
    if predicted.calibrated:
        print(all_flags(predicted.calibrated))
    print(f"{predicted.out}: {predicted.count} {predicted.kind}")
    return tell_left_out(predicted.left_out, predicted.out, "Mend the cause and use --resume.")
