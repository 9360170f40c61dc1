"""Labels and probabilities as cleanlab's own tests of segmentation make them: how well `audit_labels` and cleanlab find errors.

    python benchmarks/audit_arrays.py [--seeds 5] [--images 60] [--side 32]

In those tests (cleanlab/cleanlab, tests/test_segmentation.py) a label is 1 in its upper half and 0 in its lower one. A
prediction is uniform at random for both classes, and that of the wrong class is a tenth of it. Of three images one has its
classes exchanged. Here probabilities are divided by their sum, and each image has predictions of its own.

"three images" are those of the tests, 10 x 10 pixels. "halves" are more and larger ones, of which a tenth is exchanged.
"objects" have an ellipse each in place of the half, and a fifth has an error of debride.noise: an object moved, lost or
doubled, or an outline that wanders. AUROC and average precision (AP) are those of the ranking of images. F1 is that of all
pixels together, of `error_mask` and `find_label_issues`. All are means over the seeds.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

import debride.noise
from debride.audit import audit_labels

Labels = npt.NDArray[np.uint8]
KINDS = ("shift", "missing", "extra", "markov")


def predicted(right: Labels, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Probabilities (2, H, W) as in cleanlab's tests of a right label (H, W)."""
    drawn = rng.random((2, *right.shape))
    drawn[1 - right, *np.indices(right.shape)] /= 10
    shares: npt.NDArray[np.float32] = (drawn / drawn.sum(axis=0)).astype(np.float32)
    return shares


def halves(number: int, side: int, share: float, rng: np.random.Generator) -> Iterator[tuple[Labels, Labels]]:
    """Right labels and given ones: halves, some exchanged."""
    right = np.zeros((side, side), np.uint8)
    right[: side // 2] = 1
    wrong = set(rng.permutation(number)[: max(1, round(share * number))].tolist())
    for at in range(number):
        yield right, 1 - right if at in wrong else right


def objects(number: int, side: int, share: float, rng: np.random.Generator) -> Iterator[tuple[Labels, Labels]]:
    """The same of ellipses, with errors of several kinds."""
    wrong = rng.permutation(number)[: round(share * number)].tolist()
    for at in range(number):
        middle, radii = side * rng.uniform(0.35, 0.65, 2), side * rng.uniform(0.15, 0.25, 2)
        axes = np.ix_(*(((np.arange(side) - c) / r) ** 2 for c, r in zip(middle, radii, strict=True)))
        right = (axes[0] + axes[1] <= 1).astype(np.uint8)
        given = right
        if at in wrong:
            kind = KINDS[wrong.index(at) % len(KINDS)]
            how: dict[str, Any] = {"shift": {"smallest": side // 8, "largest": side // 4}, "markov": {"dice": 0.7}}
            given = getattr(debride.noise, kind)(right, 2, seed=int(rng.integers(1 << 30)), **how.get(kind, {}))
        yield right, given


def scores(labels: Labels, maps: Any) -> dict[str, tuple[Any, Any]]:
    """By each way a score of images, the larger the more doubtful, and the pixels (N, H, W) thought wrong."""
    from cleanlab.segmentation.filter import find_label_issues
    from cleanlab.segmentation.rank import get_label_quality_scores

    found: Any = audit_labels(labels, maps, jobs=1)
    masks = np.stack([found.error_mask(at) for at in range(len(labels))])
    issues = find_label_issues(labels.astype(int), maps, verbose=False, n_jobs=1)
    softmin, _ = get_label_quality_scores(labels.astype(int), maps, verbose=False)
    return {
        "audit_labels": (found.score, masks),
        "cleanlab, soft minimum": (1 - softmin, issues),
        "cleanlab, number of issues": (issues.sum(axis=(1, 2)), issues),
    }


def measured(right: Labels, given: Labels, maps: Any) -> dict[str, tuple[float, float, float]]:
    """AUROC, AP and F1 of each way."""
    errors = right != given
    wrong = errors.any(axis=(1, 2))
    told = {}
    for name, (score, masks) in scores(given, maps).items():
        f1 = 2 * np.count_nonzero(masks & errors) / max(1, np.count_nonzero(masks) + np.count_nonzero(errors))
        told[name] = (float(roc_auc_score(wrong, score)), float(average_precision_score(wrong, score)), float(f1))
    return told


def main() -> None:
    """Prints a line for each set and way: means over the seeds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--side", type=int, default=32)
    options = parser.parse_args()
    make: dict[str, Callable[[np.random.Generator], Iterator[tuple[Labels, Labels]]]] = {
        "three images": lambda rng: halves(3, 10, 1 / 3, rng),
        "halves": lambda rng: halves(options.images, options.side, 0.1, rng),
        "objects": lambda rng: objects(options.images, options.side, 0.2, rng),
    }
    print("| arrays | ranking | AUROC | AP | F1 of pixels |\n|---|---|---|---|---|")
    for name, pairs in make.items():
        rows: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        for seed in range(options.seeds):
            rng = np.random.default_rng(seed)
            right, given = (np.stack(arrays) for arrays in zip(*pairs(rng), strict=True))
            maps = np.stack([predicted(label, rng) for label in right])
            for way, row in measured(right, given, maps).items():
                rows[way].append(row)
        for way, each in rows.items():
            print(f"| {name} | {way} | {' | '.join(f'{value:.3f}' for value in np.mean(each, axis=0))} |", flush=True)


if __name__ == "__main__":
    main()
