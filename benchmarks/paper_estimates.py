"""The hours that the papers' tables would take at their size on a named GPU, which their pages say.

    python benchmarks/paper_estimates.py [--only gsd-net]

Nothing of the tables is run: ``debride.bench.papers.estimate`` counts operations. A line for each table goes to the file
named by ``--out``, which has what was there for the others.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from debride.bench.papers.estimate import GPU, PART, estimate
from debride.bench.papers.paper_items import grid_of, paper_names, read_paper
from debride.files import write_text

FILE = Path(__file__).parent / "results" / "papers" / "estimates.jsonl"


def main(words: list[str] | None = None) -> None:
    """Estimates the tables one by one, and writes each as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(paper_names()), metavar="PAPER", choices=paper_names())
    parser.add_argument("--items", nargs="+", default=None, metavar="ITEM", help="these tables alone")
    parser.add_argument("--out", type=Path, default=FILE)
    arguments = parser.parse_args(words)
    known = {(row["paper"], row["item"]): row for row in read_estimates(arguments.out)}
    for name in arguments.only:
        for id, item in read_paper(name).items.items():
            if item.kind not in ("grid", "curve") or (arguments.items and id not in arguments.items):
                continue
            found = list(estimate(grid_of(item, f"{name}, {id}")))
            hours = [each.hours() for each in found]
            counted = [each for each in hours if each is not None]
            row = {
                "paper": name,
                "item": id,
                "trainings": sum(each.trainings for each in found),
                "hours": float(f"{sum(counted):.3g}") if counted else None,
                "whole": len(counted) == len(hours),
                "gpu": GPU,
                "part": PART,
            }
            print(json.dumps(row), flush=True)
            known[name, id] = row
            write_text(arguments.out, "".join(json.dumps(known[key], sort_keys=True) + "\n" for key in sorted(known)))


def read_estimates(file: Path = FILE) -> list[dict[str, Any]]:
    """The lines of a file; none where there is no file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


if __name__ == "__main__":
    main()
