"""``debride corrupt``: a copy of a data set with simulated label noise."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from debride.cli.dataset_options import add_dataset_options, open_from
from debride.cli.options import Verbs, add_cluster, add_jobs, cluster_options, named_values
from debride.types import DataError


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("corrupt", help="a copy with simulated label noise, and the Dice of each case")
    parser.add_argument("dataset", type=Path, help="the folder of the data set")
    parser.add_argument("out", type=Path, help="a new folder for the copy")
    parser.add_argument("--noise", required=True, help="name of the simulator; `debride methods` lists them")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="parameters of the simulator, as steps=90 preference=0.2"
    )
    parser.add_argument("--dice", type=float, metavar="X", help="choose the strength that gives this mean label Dice instead")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the noise (default: 0)")
    parser.add_argument("--share", type=float, default=1.0, metavar="X", help="share of the cases to corrupt (default: 1)")
    parser.add_argument(
        "--splits",
        nargs="+",
        default=["train", "val"],
        choices=["train", "val", "test"],
        help="splits to corrupt (default: train val)",
    )
    add_jobs(parser)
    add_cluster(parser)
    add_dataset_options(parser)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Writes a noisy copy and says how noisy it is."""
    from debride.api.corrupting import corrupt_dataset
    from debride.strict_yaml import parse_yaml

    parameters: dict[str, Any] = {}
    for name, value in named_values("--set", arguments.set, "steps=90"):
        try:
            parameters[name] = parse_yaml(value, "the value")
        except DataError as error:
            problem = f"{f'{name}={value}'!r} cannot be read: the value {error.problem}"
            raise DataError("--set", problem, "Write it as steps=90.") from error
    corrupted = corrupt_dataset(
        open_from(arguments),
        arguments.out,
        arguments.noise,
        dice=arguments.dice,
        seed=arguments.seed,
        share=arguments.share,
        splits=arguments.splits,
        jobs=arguments.jobs,
        set=parameters,
        **cluster_options(arguments),
    )
    print(f"{corrupted.out}: {corrupted.said()[0]}")
    return 0
