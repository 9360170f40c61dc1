"""Other rankings of labels, from the same predictions: cleanlab's, losses, Dice, disagreement. Larger is more doubtful."""

import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from debride.noise.strength import label_dice
from debride.rng import derive

Label = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

ISSUES_ON = 20_000
"""Pixels of a case on which cleanlab seeks single issues: every n-th of each axis, as its `downsample` does."""

LEAST = 1 / 510
"""Half a step of the predictions: what a probability of 0 counts as in a loss."""

NAMES = {
    "cleanlab softmin": "cleanlab, soft minimum of the pixels' self-confidence",
    "cleanlab issues": "cleanlab, number of pixels with an issue",
    "loss": "cross-entropy, mean over the image",
    "loss on objects": "cross-entropy, mean over what label or prediction call an object",
    "dice": "one minus the Dice of label and prediction",
    "disagreement": "one minus the Dice of the two networks",
    "chance": "drawn at random",
}


def score_of_each(case: str, label: Label, probability: Floats, members: Sequence[Label], seed: int) -> dict[str, float]:
    """The scores of a case that need no other case: of its label (*S), the mean prediction (K, *S) and the classes (*S) that
    each network predicts."""
    from cleanlab.segmentation.rank import get_label_quality_scores

    classes, width = len(probability), label.shape[-1]
    flat = probability.reshape(1, classes, -1, width)
    softmin, _ = get_label_quality_scores(label.reshape(1, -1, width).astype(int), flat, verbose=False)
    own = np.take_along_axis(probability, label[None].astype(np.intp), 0)[0]
    loss = -np.log(np.maximum(own, LEAST))
    predicted = probability.argmax(0).astype(np.uint8)
    objects = (label > 0) | (predicted > 0)
    return {
        "cleanlab softmin": 1 - float(softmin[0]),
        "loss": float(loss.mean()),
        "loss on objects": float(loss[objects].mean()) if objects.any() else 0.0,
        "dice": 1 - (1.0 if (dice := label_dice(label, predicted, classes)) is None else dice),
        "disagreement": 1 - (1.0 if (dice := label_dice(*members, classes)) is None else dice),
        "chance": derive(seed, "chance", case) / 2**64,
    }


def thinned(label: Label, probability: Floats) -> tuple[Label, Floats]:
    """Every n-th pixel of each axis of a label (*S) and its prediction (K, *S), flat, so that few enough are left."""
    step = 1
    while label[(slice(None, None, step),) * label.ndim].size > ISSUES_ON:
        step += 1
    every = (slice(None, None, step),) * label.ndim
    return label[every].ravel(), probability[(slice(None), *every)].reshape(len(probability), -1)


def issues_of_all(cases: Iterable[tuple[Label, Floats]]) -> list[float]:
    """cleanlab's share of pixels with an issue of each case, by its ``thinned`` pixels: thresholds are those of all cases."""
    from cleanlab.segmentation.filter import find_label_issues

    labels, probabilities = zip(*cases, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        issues = find_label_issues(
            np.concatenate(labels)[None, None].astype(int),
            np.concatenate(probabilities, axis=1)[None, :, None],
            n_jobs=1,
            verbose=False,
        )[0, 0]
    return [float(each.mean()) for each in np.split(issues, np.cumsum([len(label) for label in labels])[:-1])]
