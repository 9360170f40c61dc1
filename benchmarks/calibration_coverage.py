"""Does the interval of the gain hold the gain, and are clean labels left alone? 200 draws of 3, 6 and 12 verified cases.

    DEBRIDE_DATA=... python -m benchmarks.calibration_coverage --cache choosing-cache --rows coverage.jsonl

Networks and predictions are those of choosing.py, which keeps them in the cache, with clean labels too. A draw is so many cases
at random of those that were held out, each of another patient. The gain is measured on cases that were neither trained on nor
drawn.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.choosing import BIASED, PLACES, a_patient_each, add_sizes, dice_of, kept
from benchmarks.trials import SETS

from debride.calibration.calibration_config import CalibrationConfig
from debride.calibration.fitting import fit
from debride.calibration.refuted import unless_refuted
from debride.files import append_jsonl, read_jsonl
from debride.training.verified import Held

WORSE = 0.5
"""Points of Dice by which a change for the worse counts as one."""


def draw_of(name: str, noise: str, seed: int, many: int, draw: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """What a calibration on one draw promises, and what it gains, in points."""
    arrays = kept(name, noise, seed, arguments)
    pool, apart = (np.exp(arrays[f"{part}_log"].astype(np.float32)) for part in ("pool", "apart"))
    patients, rng = arrays["pool_patient"], np.random.default_rng([seed, many, draw])
    rows = a_patient_each(rng.permutation(len(pool)), patients, many)
    cases = [Held(str(row), str(patients[row]), pool[row], arrays["pool_truth"][row], None) for row in rows]
    fitted = unless_refuted(fit(cases, [str(number) for number in range(pool.shape[1])], CalibrationConfig(), "px"))
    gain = 0.0
    if fitted.kind != "none":
        after = dice_of(apart, arrays["apart_truth"], fitted.calibration)
        gain = float((after - dice_of(apart, arrays["apart_truth"])).mean())
    promised = [round(100 * value, 2) for value in (fitted.gain.mean, fitted.gain.low, fitted.gain.high)]
    place = {"set": name, "noise": noise, "seed": seed, "cases": many, "draw": draw}
    return {**place, "kind": fitted.kind, "promised": promised, "gain": round(100 * gain, 2)}


def table(rows: Sequence[Any]) -> Iterator[str]:
    """By set, wrong and clean labels apart, and number of verified cases."""
    yield "| set | labels | cases | changed | gain | promised | interval holds it | worse by half a point |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in dict.fromkeys(row["set"] for row in rows):
        for labels in ("wrong", "clean"):
            for many in sorted({row["cases"] for row in rows}):
                own = [row for row in rows if (row["set"], row["cases"]) == (name, many)]
                own = [row for row in own if (row["noise"] == "clean") == (labels == "clean")]
                if not own:
                    continue
                gain, promised = np.array([row["gain"] for row in own]), np.array([row["promised"] for row in own])
                held = (promised[:, 1] <= gain) & (gain <= promised[:, 2])
                changed = np.array([row["kind"] != "none" for row in own])
                numbers = (changed.mean(), held.mean(), (gain < -WORSE).mean())
                shares = [f"{100 * share:.0f} %" for share in numbers]
                means = f"{gain.mean():+.1f} | {promised[:, 0].mean():+.1f}"
                yield f"| {name} | {labels} | {many} | {shares[0]} | {means} | {shares[1]} | {shares[2]} |"


def main() -> None:
    """Makes the rows that are missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(PLACES), choices=PLACES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101])
    parser.add_argument("--verified", type=int, nargs="+", default=[3, 6, 12])
    parser.add_argument("--draws", type=int, default=200, help="of each set, shared out among its noises")
    add_sizes(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = read_jsonl(arguments.rows) if arguments.rows.exists() else []
    done = {(row["set"], row["noise"], row["seed"], row["cases"], row["draw"]) for row in rows}
    for seed in arguments.seeds:
        for name in arguments.sets:
            for noise in (*BIASED[name], *(("clean",) if name in SETS else ())):
                draws = arguments.draws if noise == "clean" else -(-arguments.draws // len(BIASED[name]))
                for many, draw in product(arguments.verified, range(draws)):
                    if (name, noise, seed, many, draw) not in done:
                        rows.append(draw_of(name, noise, seed, many, draw, arguments))
                        append_jsonl(arguments.rows, rows[-1])
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
