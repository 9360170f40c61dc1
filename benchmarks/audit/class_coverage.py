"""Do the shares of wrong classes hold the truth, by pair too, and is what is flagged as sure as said? On generated predictions.

    python -m benchmarks.audit.class_coverage --out OUT [--audits 240] [--seed 1] [--sizes 300 600]

No network is trained. Each audit draws its number of classes and images, a noise, a share, and a network. What the network sees
in an image is a point of a Dirichlet distribution around a class and those that look alike; the true class is drawn from it.
Some images it takes for another class whatever they show, mostly for one that looks alike. Its probabilities are too sharp or
too soft. In half of the audits it has learnt the noise, as in a cross-validation. Rows are kept in OUT, so that the command
goes on. The table comes at the end.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from debride.audit.wrong_classes.class_shares import class_shares
from debride.files import append_jsonl, read_jsonl
from debride.progress import track
from debride.rng import generator

CLASSES, SIZES = (3, 4, 6, 8, 10), (300, 600, 1000, 2000, 5000)
NOISES, SHARES = ("symmetric", "asymmetric", "instance"), (0.0, 0.1, 0.2, 0.4)


@dataclass(frozen=True)
class Network:
    """The ``strength`` of the Dirichlet distributions (small ones are near a class), the part ``alike`` of it that goes to
    classes that look alike, and the share of images of which the network is sure whatever they show (``sure_mistakes``)."""

    strength: float
    alike: float
    sure_mistakes: float


NETWORKS = {"good": Network(0.5, 0.03, 0.002), "middling": Network(1.0, 0.15, 0.03), "poor": Network(3.0, 0.4, 0.15)}


def main(argv: Sequence[str] | None = None) -> None:
    """Makes the audits that are missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--audits", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="from which numbers of images are drawn")
    arguments = parser.parse_args(argv)
    file = arguments.out / f"seed-{arguments.seed}.jsonl"
    arguments.out.mkdir(parents=True, exist_ok=True)
    made = {row["audit"] for row in read_jsonl(file)}
    with track("simulated audits", arguments.audits) as show:
        for number in range(arguments.audits):
            if number not in made:
                append_jsonl(file, audited(number, arguments.seed, arguments.sizes))
            show(number + 1)
    rows = [row for row in read_jsonl(file) if row["audit"] < arguments.audits]
    print(table(rows))


def audited(number: int, seed: int, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """The row of an audit: what was drawn, and what came of it."""
    rng = generator(seed, "class coverage", str(number))
    classes, cases = int(rng.choice(CLASSES)), int(rng.choice(sizes))
    noise, name, share = str(rng.choice(NOISES)), str(rng.choice(list(NETWORKS))), SHARES[number % len(SHARES)]
    probability, true, given = predictions(NETWORKS[name], classes, cases, noise, share, rng)
    found = class_shares(probability, given, [str(at) for at in range(cases)], np.zeros(cases, bool), seed)
    wrong, flagged, off = given != true, found.flagged, ~np.eye(classes, dtype=bool)
    pairs = np.zeros((classes, classes))
    np.add.at(pairs, (given[wrong], true[wrong]), 1 / cases)
    held, there = ((found.low <= pairs + 1e-9) & (pairs <= found.high + 1e-9))[off], pairs[off] > 0
    order = probability[np.arange(cases), given]
    return {
        "audit": number,
        "classes": classes,
        "cases": cases,
        "noise": noise if share else "none",
        "share": share,
        "network": name,
        "accuracy": float((probability.argmax(axis=1) == true).mean()),
        "wrong": float(wrong.mean()),
        "estimate": found.share,
        "interval": list(found.interval),
        "pairs": int(off.sum()),
        "pairs_held": int(held.sum()),
        "pairs_there": int(there.sum()),
        "pairs_there_held": int(held[there].sum()),
        "pairs_width": float((found.high - found.low)[off].mean()),
        "flagged": int(flagged.sum()),
        "flagged_wrong": int(wrong[flagged].sum()),
        "flagged_stated": float(found.least[flagged].sum()),
        "precision": float(average_precision_score(wrong, found.score)) if wrong.any() else None,
        "self_confidence": float(average_precision_score(wrong, -order)) if wrong.any() else None,
    }


def predictions(
    network: Network, classes: int, cases: int, noise: str, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (N, K), true classes (N,) and the classes given (N,)."""
    looks = rng.dirichlet(np.full(classes, 0.5), classes) * (1 - np.eye(classes))
    looks = (1 - network.alike) * np.eye(classes) + network.alike * looks / looks.sum(axis=1, keepdims=True)
    centre = rng.choice(classes, cases, p=rng.dirichlet(np.full(classes, 5.0)))
    seen = np.maximum(rng.gamma(network.strength * looks[centre] + 0.01), 1e-6)
    seen /= seen.sum(axis=1, keepdims=True)
    true = drawn(seen, rng)
    mistaken = rng.random(cases) < network.sure_mistakes
    true = np.where(mistaken, drawn((looks[true] + 0.02) * (1 - np.eye(classes))[true], rng), true)
    flips = chances(noise, share, true, seen, rng)
    given = drawn(flips, rng)
    if rng.random() < 0.5:
        mean = np.stack(
            [flips[true == id].mean(axis=0) if (true == id).any() else np.eye(classes)[id] for id in range(classes)]
        )
        seen = seen @ mean
    logits = rng.uniform(0.6, 1.6) * np.log(np.maximum(seen, 1e-6)) + rng.normal(0, 0.3, seen.shape)
    probability = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (probability / probability.sum(axis=1, keepdims=True)).astype(np.float32), true, given


def chances(noise: str, share: float, true: np.ndarray, seen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The chance (N, K) that an image is given each class."""
    cases, classes = seen.shape
    own: np.ndarray = np.eye(classes)[true]
    if noise == "symmetric":
        rate, pull = np.full(cases, share), 1 - own
    elif noise == "asymmetric":
        rate, pull = np.full(cases, share), np.roll(own, 1, axis=1)
    else:
        rate = np.clip(rng.normal(share, 0.1, cases), 0, 1) if share else np.zeros(cases)
        pull = np.exp(np.log(seen) @ rng.normal(0, 0.3, (classes, classes))) * (1 - own)
    chance: np.ndarray = (1 - rate)[:, None] * own + rate[:, None] * pull / pull.sum(axis=1, keepdims=True)
    return chance


def drawn(chance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A class (N,) by what the chances (N, K) are proportional to."""
    chance = chance / chance.sum(axis=1, keepdims=True)
    classes: np.ndarray = np.minimum((chance.cumsum(axis=1) < rng.random((len(chance), 1))).sum(axis=1), chance.shape[1] - 1)
    return classes


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line for all audits, and for those of each network, noise, share and size."""
    lines = [
        "| audits | number | accuracy | interval held | width | pairs held | of pairs there | flag something "
        "| as sure as said | flagged | wrong | stated | precision | self-confidence |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups = [("all", list(rows))]
    for key in ("network", "noise", "share", "classes", "cases"):
        values = sorted({row[key] for row in rows})
        groups += [(f"{key} {value}", [row for row in rows if row[key] == value]) for value in values]
    lines += [f"| {name} | {' | '.join(_cells(own))} |" for name, own in groups]
    return "\n".join(lines)


def _cells(rows: Sequence[dict[str, Any]]) -> list[str]:
    def total(key: str) -> float:
        return float(sum(row[key] for row in rows))

    def mean(values: Sequence[float]) -> str:
        return f"{np.mean(values):.3f}" if len(values) else "–"

    def part(above: float, below: float) -> str:
        return f"{above / below:.3f}" if below else "–"

    flagging = [row for row in rows if row["flagged"]]
    noisy = [row for row in rows if row["precision"] is not None]
    return [
        str(len(rows)),
        mean([row["accuracy"] for row in rows]),
        mean([row["interval"][0] <= row["wrong"] <= row["interval"][1] for row in rows]),
        mean([row["interval"][1] - row["interval"][0] for row in rows]),
        part(total("pairs_held"), total("pairs")),
        part(total("pairs_there_held"), total("pairs_there")),
        f"{len(flagging)}",
        mean([row["flagged_wrong"] >= row["flagged_stated"] for row in flagging]),
        f"{total('flagged'):.0f}",
        part(total("flagged_wrong"), total("flagged")),
        part(total("flagged_stated"), total("flagged")),
        mean([row["precision"] for row in noisy]),
        mean([row["self_confidence"] for row in noisy]),
    ]


if __name__ == "__main__":
    main()
