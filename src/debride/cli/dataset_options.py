"""Command-line options that say how a data set is read."""

from __future__ import annotations

import argparse
from pathlib import Path

from debride.api.datasets import DatasetOptions, open_dataset
from debride.types import GROUPS, Dataset


def add_dataset_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how a data set is read."""
    group = parser.add_argument_group("data set")
    group.add_argument(
        "--format",
        metavar="NAME",
        help="the layout of its files, by its name in the documentation, page data (default: recognised)",
    )
    group.add_argument(
        "--pixels",
        nargs="+",
        default=[],
        metavar="NAME",
        help="kinds of image files of your own: package.module:Class",
    )
    group.add_argument(
        "--image-pattern", metavar="PATTERN", help="where the images of a folder lie: 'imgs/{case}.png' (default: images/)"
    )
    group.add_argument("--mask-pattern", metavar="PATTERN", help="where its masks lie: '{case}_mask.png' (default: masks/)")
    group.add_argument(
        "--patient-pattern", metavar="REGEX", help="its first group, found in a case's id, is the patient: '^(patient[0-9]+)'"
    )
    group.add_argument("--trusted", type=Path, metavar="FILE", help="ids of cases whose labels were verified, one per line")
    group.add_argument("--fold", type=int, default=0, metavar="N", help="fold of splits_final.json (default: 0)")
    group.add_argument(
        "--test-fraction",
        type=float,
        default=0.0,
        metavar="X",
        help="share of the patients to test on, where the files name no split (default: 0)",
    )
    group.add_argument(
        "--split-by",
        choices=GROUPS,
        help="draw splits by this group in place of patients, who stay whole: all cases of a site, say, are in one split",
    )
    group.add_argument("--split-seed", type=int, default=0, metavar="N", help="seed of the splits that are drawn (default: 0)")


def open_from(arguments: argparse.Namespace) -> Dataset:
    """The data set that the arguments name."""
    return open_dataset(arguments.dataset, jobs=getattr(arguments, "jobs", 1), **dataset_options(arguments))


def dataset_options(arguments: argparse.Namespace) -> DatasetOptions:
    """The options on how a data set is read, as the functions of ``debride.api`` take them."""
    return {
        "format": arguments.format,
        "pixels": arguments.pixels,
        "patient_pattern": arguments.patient_pattern,
        "image_pattern": arguments.image_pattern,
        "mask_pattern": arguments.mask_pattern,
        "trusted": arguments.trusted,
        "fold": arguments.fold,
        "split_seed": arguments.split_seed,
        "test_fraction": arguments.test_fraction,
        "split_by": arguments.split_by,
    }
