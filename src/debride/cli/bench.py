"""``debride bench``: a grid of data sets, noises, methods and seeds, or a table of a paper."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from debride.cli.options import Verbs, add_cluster, add_trust, add_verify, cluster_options
from debride.escapes import one_line
from debride.types import DataError

if TYPE_CHECKING:
    from debride.api.benching import BenchResult


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("bench", help="a grid of data sets, noises, methods and seeds, as tables")
    about = "a grid; with --paper a table or a figure of the paper, such as table-4 (none: lists them)"
    parser.add_argument("grid", nargs="?", metavar="GRID.yaml", help=about)
    parser.add_argument("--out", type=Path, metavar="DIR")
    parser.add_argument("--resume", action="store_true", help="go on with the grid in --out; finished cells are kept")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cells at a time (default: 1)")
    add_cluster(parser)
    group = parser.add_argument_group("tables of papers")
    group.add_argument("--paper", metavar="PAPER", help="meta-dcseg, gsd-net, alc, self-cleansing or dcd")
    sizes = "small: what a laptop can train; toy: in minutes, to see that it works (default: paper)"
    group.add_argument("--size", choices=("paper", "small", "toy"), help=sizes)
    group.add_argument(
        "--estimate",
        type=_part,
        nargs="?",
        const=0.35,
        metavar="PART",
        help="run nothing: say the hours on an NVIDIA RTX A6000 that reaches this part of its peak (default: 0.35)",
    )
    add_verify(parser)
    add_trust(parser)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Runs a grid or an item of a paper and writes its report; 1 if cells failed, which are named."""
    if arguments.paper is not None and (arguments.estimate is not None or arguments.grid is None):
        return _listed(arguments)
    if arguments.estimate is not None:
        raise DataError("`estimate`", "is for tables of papers", "Name the paper by `paper`.")
    from debride.api.benching import run_bench

    if arguments.out is None and arguments.grid is not None:
        raise DataError("`out`", "is not given", "Name the folder that results are written to.")
    done = run_bench(
        arguments.grid,
        arguments.out or Path(),
        resume=arguments.resume,
        jobs=arguments.jobs,
        paper=arguments.paper,
        size=arguments.size,
        verify=arguments.verify,
        trust_code=arguments.trust_code,
        **cluster_options(arguments),
    )
    for file in done.files:
        print(file)
    return _told(done)


def _listed(arguments: argparse.Namespace) -> int:
    """Lists the items of a paper, or estimates them."""
    if arguments.estimate is not None:
        from debride.bench.papers.listing import estimates

        for line in estimates(arguments.paper, arguments.grid, arguments.size or "paper", arguments.estimate):
            print(line, flush=True)
        return 0
    from debride.bench.papers.listing import listing

    if arguments.out is not None:
        raise DataError("`out`", "is given, and no table or figure", "Name one that `debride bench --paper` lists.")
    for line in listing(arguments.paper):
        print(line)
    return 0


def _part(text: str) -> float:
    try:
        part = float(text)
    except ValueError:
        part = 0.0
    if not 0 < part <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0 and at most 1")
    return part


def _told(done: BenchResult) -> int:
    """Names the cells that failed; the exit code."""
    for name, why in done.failed.items():
        print(one_line(f"failed: {name}: {why}"), file=sys.stderr)
    if done.failed:
        of_all = f"{len(done.failed)} of {len(done.cells)}"
        print(f"debride: {of_all} cells failed. Mend the cause and use --resume.", file=sys.stderr)
    return 1 if done.failed else 0
