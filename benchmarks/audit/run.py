"""Makes the cells of the benchmark: plants errors, trains networks, audits, and writes a row of each to ``rows.jsonl``.

    DEBRIDE_DATA=... python -m benchmarks.audit.run --out OUT [--sets acdc] [--seeds 0] [--shares 0.15] [--train-only]

OUT keeps the sets with errors and their predictions. What is there is not made again. A row that the present code of the audit
made with the same settings stands; any other is made anew, from the predictions that are kept, and takes the place of the old.
Several processes may work in one OUT: each leaves out the cells that another is making.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from benchmarks.audit.errors import write_errors
from benchmarks.audit.measure import row_of
from benchmarks.audit.networks import MEAN, predict
from benchmarks.audit.raters import rejected
from benchmarks.audit.sets import MEMBERS, SEEDS, SETS, SHARES, TRAINED_ON, drawn, open_set
from filelock import FileLock, Timeout

import debride
from debride.audit import AuditConfig
from debride.audit.passes import audit_dataset
from debride.audit.predictions import NoPredictions, open_predictions
from debride.data.open import open_dataset
from debride.files import atomic_path, content_hash, write_json
from debride.types import Dataset

ROWS = Path(__file__).with_name("rows.jsonl")
MADE = "made.json"


def code_hash() -> str:
    """A hash of the code that a row depends on, beside the predictions."""
    own, package = Path(__file__).parent, Path(debride.__file__).parent
    files = [own / f"{name}.py" for name in ("measure", "rivals")]
    files += sorted(file for room in ("audit", "noise") for file in (package / room).rglob("*.py"))
    return content_hash(files)[:12]


def settings_of(name: str) -> dict[str, Any]:
    """What the predictions of a set depend on."""
    return json.loads(json.dumps({**asdict(SETS[name]), "shared": TRAINED_ON, "members": MEMBERS}))


def made(name: str, seed: int, share: float, cell: Path) -> Dataset:
    """Sees to it that the errors and predictions of a cell are there; returns the set without errors."""
    settings = settings_of(name)
    if (cell / MADE).exists() and json.loads((cell / MADE).read_text())["settings"] != settings:
        raise SystemExit(f"{cell} was made with other settings: give another folder to --out")
    clean = drawn(open_set(name), SETS[name].cases, seed)
    if not (cell / MADE).exists():
        shutil.rmtree(cell, ignore_errors=True)
        cell.mkdir(parents=True)
        started = time.process_time()
        write_errors(clean, cell / "given", share, seed)
        given = opened(name, cell)
        predict(given, given.cases, SETS[name], seed, cell)
        write_json(cell / MADE, {"settings": settings, "seconds": round(time.process_time() - started)})
    return clean


def opened(name: str, cell: Path) -> Dataset:
    """The set with errors of a cell."""
    return open_dataset(cell / "given", **SETS[name].options)


def measured(name: str, seed: int, share: float, cell: Path, planted: int) -> dict[str, Any]:
    """The row of a cell whose predictions are there."""
    clean, given = drawn(open_set(name), SETS[name].cases, seed), opened(name, cell)
    config = AuditConfig(planted=planted, pictures=0, seed=seed)
    predictions = {"audit": open_predictions(cell / MEAN, given, given.cases), "alone": NoPredictions()}
    seconds = _seconds(cell)
    for folder, by in predictions.items():
        shutil.rmtree(cell / folder, ignore_errors=True)
        started = time.process_time()
        audit_dataset(given, given.cases, by, cell / folder, config)
        seconds[folder] = round(time.process_time() - started)
    errors = json.loads((cell / "given" / "errors.json").read_text())
    kind = [errors.get(case.id, {}).get("kind", "") for case in given.cases]
    row = row_of(clean, given, given.cases, kind, cell, seed)
    if SETS[name].rater and share == 0:
        row["rejected"] = rejected(name, given.cases, row["ranks"])
    return {"planted": planted, "seconds": seconds, **row}


def _seconds(cell: Path) -> dict[str, int]:
    return {"errors_and_networks": json.loads((cell / MADE).read_text())["seconds"]}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, none where there is none."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def put_row(path: Path, row: dict[str, Any]) -> None:
    """Writes a row in the place of the one of its cell, or after all others."""
    with FileLock(Path(tempfile.gettempdir()) / f"{content_hash([], str(path.resolve()))}.lock"):
        rows = {cell_of(each): each for each in read_rows(path)} | {cell_of(row): row}
        with atomic_path(path) as temporary:
            temporary.write_text("".join(json.dumps(each) + "\n" for _, each in sorted(rows.items(), key=itemgetter(0))))


def cell_of(row: dict[str, Any]) -> tuple[str, int, float]:
    """The cell of a row."""
    return row["set"], row["seed"], row["share"]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder that keeps sets with errors and predictions")
    parser.add_argument("--sets", nargs="+", default=["acdc", "kvasir", "atrium"], choices=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    parser.add_argument("--planted", type=int, default=AuditConfig().planted, help="as of `debride audit`")
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--train-only", action="store_true", help="make the predictions, and no row")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    for seed, name, share in product(arguments.seeds, arguments.sets, arguments.shares):
        cell = arguments.out / name / f"seed-{seed}" / f"share-{share}"
        cell.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(f"{cell}.lock", timeout=0):
                done = make_cell(name, seed, share, cell, None if arguments.train_only else arguments.rows, arguments.planted)
        except Timeout:
            done = "is being made by another process"
        if done:
            print(f"{name}, seed {seed}, share {share}: {done}", flush=True)


def make_cell(name: str, seed: int, share: float, cell: Path, rows: Path | None, planted: int) -> str:
    """Makes what a cell lacks: predictions, and its row where there is a file for ``rows``; says what was made."""
    about = {"set": name, "seed": seed, "share": share, "settings": settings_of(name), "planted": planted}
    about |= {"version": debride.__version__, "code": code_hash()}
    if rows is None:
        made(name, seed, share, cell)
        return "has predictions"
    row: dict[str, Any] = next((row for row in read_rows(rows) if cell_of(row) == (name, seed, share)), {})
    if all(row.get(key) == value for key, value in about.items()):
        return ""
    made(name, seed, share, cell)
    command = f"python -m benchmarks.audit.run --out OUT --sets {name} --seeds {seed} --shares {share}"
    put_row(rows, {**about, "command": command, **measured(name, seed, share, cell, planted)})
    return "has its row"


if __name__ == "__main__":
    main()
