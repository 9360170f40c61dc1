"""Does the interval of the share of wrong labels hold the truth? Audits of simulated cases, of which it is known.

    python -m benchmarks.audit.coverage --out OUT [--audits 200] [--seed 1]

Pools of cases are made first: labels of two objects that touch, and predictions that are these labels bent, softened and
disturbed, and that fail outright in some cases, by three qualities in 2D and two in 3D. Each case has the evidence against its
right label, against labels with one error of each kind, and against those that an audit plants. An audit draws cases from a
pool, gives a share of them an error, and asks `rank`. What labels say beside each other (`audit.peers`) takes no part. Errors
have ranges of their own (``wrong_label``). Rows are kept in OUT, so that the command goes on. The table comes at the end.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from debride.audit.evidence import Evidence, against_usual, agreement, plant, predicted_classes, rank, thin
from debride.noise.errors import Extra, Flip, Gaps, Missing, Shift, Stray, Swap
from debride.noise.markov_noise import Markov
from debride.noise.morphology import DilateErode
from debride.progress import track
from debride.rng import generator

CLASSES = 3
SHAPES = {2: (64, 64), 3: (14, 40, 40)}
CASES = {2: 300, 3: 120}
"""Of a pool, by the number of axes."""

SHARES, SIZES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5), (40, 80, 80, 150, 400, 2000)
"""From which an audit draws its share of wrong labels and its number of cases. A tenth of the audits of 2,000 is made."""

KINDS = {2: ("missing", "extra", "boundary", "ragged", "shift", "flip", "swap")}
KINDS[3] = ("missing", "extra", "boundary", "shift", "flip", "swap", "gap", "stray")


@dataclass(frozen=True)
class Quality:
    """How predictions differ from labels: the share that ``fail`` outright, how many pixels outlines are ``bent``, how ``soft``
    they are, how ``sharp`` and how ``noisy`` the logits."""

    fail: float
    bent: float
    soft: float
    sharp: float
    noisy: float


QUALITIES = {
    "good": Quality(0.005, 0.6, 0.7, 1.2, 0.3),
    "middling": Quality(0.05, 1.3, 1.2, 1.0, 0.8),
    "poor": Quality(0.1, 1.8, 1.6, 0.9, 1.1),
}
POOLS = ((2, "good"), (2, "middling"), (2, "poor"), (3, "good"), (3, "poor"))


def right_label(dims: int, rng: np.random.Generator) -> np.ndarray:
    """Two bent ellipses side by side."""
    shape = SHAPES[dims]
    label = np.zeros(shape, np.uint8)
    centre, size = np.array(shape) / 2 + rng.normal(0, 2, dims), rng.lognormal(0, 0.15)
    for value, (offset, radius) in enumerate((((0.0, -0.2), 9), ((0.05, 0.22), 7)), start=1):
        at = centre.copy()
        at[-2:] += np.array(offset) * shape[-1] + rng.normal(0, 1.5, 2)
        radii = radius * size * rng.lognormal(0, 0.1) * rng.lognormal(0, 0.12, dims)
        if dims == 3:
            radii[-2:] *= 0.7
            radii[0] = rng.uniform(3, 4.8)
        away = np.indices(shape) - at.reshape(-1, *[1] * dims)
        distance = np.square(away / radii.reshape(-1, *[1] * dims)).sum(axis=0)
        distance += 3 * ndimage.gaussian_filter(rng.normal(0, 1, shape), 4)
        label[(distance < 1) & (label == 0)] = value
    return label


def prediction(label: np.ndarray, quality: Quality, rng: np.random.Generator) -> np.ndarray:
    """Probabilities (K, *S) by a network of some quality."""
    shown = label
    if rng.random() < quality.fail:
        shown = (Missing(), Extra(), DilateErode(2, 5))[rng.integers(3)](label, CLASSES, rng)
    scale = 18 if label.ndim == 2 else 30
    bend = np.stack([ndimage.gaussian_filter(rng.normal(0, 1, label.shape), 5) for _ in label.shape]) * quality.bent * scale
    if label.ndim == 3:
        bend[0] *= 0.2
    places = np.indices(label.shape) + bend
    maps = [
        ndimage.map_coordinates((shown == value).astype(float), places, order=1, mode="nearest") for value in range(CLASSES)
    ]
    logits = np.log(np.stack([ndimage.gaussian_filter(each, quality.soft) for each in maps]) + 1e-3) * quality.sharp
    noise = np.stack([ndimage.gaussian_filter(rng.normal(0, 1, label.shape), 2) for _ in range(CLASSES)])
    logits += noise * quality.noisy * (7 if label.ndim == 2 else 18)
    odds = np.exp(logits - logits.max(axis=0))
    return (odds / odds.sum(axis=0)).astype(np.float32)


def wrong_label(kind: str, label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy with one error."""
    if kind == "boundary":
        distance = rng.uniform(1.5, 4)
        return DilateErode(distance, distance)(label, CLASSES, rng)
    noises = {
        "missing": Missing(),
        "extra": Extra(),
        "ragged": Markov(int(rng.integers(20, 60)), preference=0.5),
        "shift": Shift(4, 8),
        "flip": Flip(),
        "swap": Swap(),
        "gap": Gaps(0.3),
        "stray": Stray(int(rng.integers(1, 3))),
    }
    return noises[kind](label, CLASSES, rng)


def pool(dims: int, name: str, seed: int, out: Path) -> list[dict[str, Any]]:
    """The cases of a pool, made once."""
    path = out / f"pool-{dims}-{name}-{seed}.jsonl"
    if not path.exists():
        lines = []
        with track(f"cases in {dims}D, {name}", CASES[dims]) as show:
            for at in range(CASES[dims]):
                lines.append(json.dumps(case_of(dims, QUALITIES[name], generator(seed, "case", f"{dims} {name} {at}"))))
                show(at + 1)
        path.write_text("\n".join(lines))
    return [json.loads(line) for line in path.read_text().splitlines()]


def case_of(dims: int, quality: Quality, rng: np.random.Generator) -> dict[str, Any]:
    """The evidence against a right label, wrong ones and planted ones, and their agreement with the prediction."""
    label = right_label(dims, rng)
    probability = prediction(label, quality, rng)
    predicted = predicted_classes(probability)
    said = Evidence(thin(label, probability, predicted))
    wrong = {kind: wrong_label(kind, label, rng) for kind in KINDS[dims]}
    given = {"": label} | {kind: each for kind, each in wrong.items() if (each != label).any()}
    return {
        "given": {kind: said.against(each) for kind, each in given.items()},
        "agreement": {kind: agreement(each, probability, predicted) for kind, each in given.items()},
        "planted": {kind: said.against(each) for kind, each in plant(label, CLASSES, rng).items()},
    }


def audit(cases: list[dict[str, Any]], seed: int, number: int) -> dict[str, Any] | None:
    """One audit: what is true and what is said; None where its number of cases is left out."""
    rng = generator(seed, "audit", str(number))
    many, share = int(rng.choice(SIZES)), float(rng.choice(SHARES))
    if many == max(SIZES) and rng.random() > 0.1:
        many = 150
    kinds = sorted(cases[0]["planted"])
    chosen = kinds if rng.random() < 0.4 else [str(rng.choice(kinds))]
    drawn = [cases[row] for row in rng.choice(len(cases), many, replace=many > len(cases))]
    kind = np.array([str(rng.choice(chosen)) if at < round(share * many) else "" for at in range(many)])
    kind = np.array([own if own in case["given"] else "" for own, case in zip(kind, drawn, strict=True)])
    given, planted = against_usual(
        [case["given"][own] for case, own in zip(drawn, kind, strict=True)],
        [case["planted"] if at < 300 else {} for at, case in enumerate(drawn)],
    )
    typical = float(np.median([case["agreement"][own] for case, own in zip(drawn, kind, strict=True)]))
    ranking = rank(given, planted, [str(at) for at in range(many)], seed + number, None, typical)
    flagged, wrong = ranking.flagged, kind != ""
    low, high = ranking.interval
    together = np.where(kind == "ragged", "boundary", kind)
    return {
        "cases": many,
        "kinds": chosen,
        "true": float(wrong.mean()),
        "said": None if ranking.blind else ranking.share,
        "interval": [low, high],
        "flagged": int(flagged.sum()),
        "right": int((flagged & wrong).sum()),
        "stated": float(ranking.wrong[flagged].sum()),
        "typical": typical,
        "by_kind": {name: [float((together == name).mean()), *each[1:]] for name, each in ranking.kinds.items()},
    }


def audits(out: Path, many: int, seed: int) -> list[dict[str, Any]]:
    """The rows of all audits, those that are there and the others."""
    path = out / f"coverage-{seed}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {row["audit"] for row in rows}
    pools: dict[tuple[int, str], list[dict[str, Any]]] = {}
    with track("audits", many) as show, path.open("a") as file:
        for number in range(many):
            where = POOLS[number % len(POOLS)]
            if number not in done:
                pools = pools if where in pools else {**pools, where: pool(*where, seed, out)}
                row = {"audit": number, "dims": where[0], "quality": where[1], **audit(pools[where], seed, number)}
                rows.append(row)
                file.write(json.dumps(row) + "\n")
                file.flush()
            show(number + 1)
    return sorted(rows, key=lambda row: row["audit"])


def holds(interval: list[float], true: float) -> bool:
    return interval[0] - 1e-9 <= true <= interval[1] + 1e-9


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line of figures for each group of audits."""
    yield "| audits | number | interval holds the truth | median width | by kind | flagged | of them wrong | stated |"
    yield "| --- " * 8 + "|"
    groups = {"all": rows}
    groups |= {
        f"{dims}D, {name}": [row for row in rows if (row["dims"], row["quality"]) == (dims, name)] for dims, name in POOLS
    }
    groups |= {
        "no wrong label": [row for row in rows if row["true"] == 0],
        "one kind of error": [row for row in rows if row["true"] > 0 and len(row["kinds"]) == 1],
        "all kinds": [row for row in rows if row["true"] > 0 and len(row["kinds"]) > 1],
        "80 cases, good predictions": [row for row in rows if row["cases"] == 80 and row["quality"] == "good"],
        "400 cases or more": [row for row in rows if row["cases"] >= 400],
    }
    for name, group in groups.items():
        if not group:
            continue
        held = sum(holds(row["interval"], row["true"]) for row in group)
        width = np.median([row["interval"][1] - row["interval"][0] for row in group])
        kinds = [holds(each[1:], each[0]) for row in group for each in row["by_kind"].values()]
        flagged, right, stated = (sum(row[of] for row in group) for of in ("flagged", "right", "stated"))
        shares = [f"{100 * part / flagged:.0f} %" if flagged else "–" for part in (right, stated)]
        cells = [name, str(len(group)), f"{held} ({100 * held / len(group):.0f} %)", f"{100 * width:.0f} points"]
        cells += [f"{100 * np.mean(kinds):.0f} %", str(flagged), *shares]
        yield "| " + " | ".join(cells) + " |"
    clean = [row for row in rows if row["true"] == 0]
    if clean:
        yield f"\nOf {len(clean)} audits without a wrong label {sum(row['flagged'] > 0 for row in clean)} flag any."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--audits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    print("\n".join(table(audits(arguments.out, arguments.audits, arguments.seed))))


if __name__ == "__main__":
    main()
