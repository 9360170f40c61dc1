"""Copies of data sets with simulated label noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debride.api.checked import splits_of
from debride.api.clusters import cluster_of
from debride.api.datasets import Folder, opened, processes
from debride.api.result import Result, Row
from debride.execute.cluster import Cluster, on_cluster
from debride.types import DataError, Dataset, Split


@dataclass(frozen=True, repr=False)
class CorruptResult(Result):
    """A copy with wrong labels, ``out``; ``noise.json`` in it says what was done to which case."""

    @property
    def summary(self) -> dict[str, Any]:
        """What noise.json holds."""
        from debride.files import read_json

        read: dict[str, Any] = read_json(self.out / "noise.json")
        return read

    def said(self) -> Sequence[str]:
        """How many labels are wrong, and how wrong."""
        report = self.summary
        what, spared = f"{report['noise']} {report['parameters']}", f"{len(report['trusted'])} trusted cases spared"
        if "candidates" in report:
            return [
                f"{len(report['cases'])} of {report['candidates']} classes changed by {what}; {spared}. Details: noise.json"
            ]
        dice = "undefined" if report["mean_dice"] is None else f"{report['mean_dice']:.3f}"
        return [
            f"{len(report['cases'])} labels corrupted by {what}; label Dice {dice}, {100 * report['mean_changed']:.2f} % of "
            f"pixels changed, {report['emptied']} labels became empty, {spared}. Details: noise.json"
        ]

    def rows(self) -> Sequence[Row]:
        """A row for each corrupted case."""
        return [{"case": case, **(said if isinstance(said, dict) else {"class": said})} for case, said in self._cases()]

    def _cases(self) -> list[tuple[str, Any]]:
        cases = self.summary["cases"]
        return list(cases.items()) if isinstance(cases, dict) else [(case, {}) for case in cases]


def corrupt_dataset(
    dataset: Dataset | Folder,
    out: Folder,
    noise: str,
    *,
    dice: float | None = None,
    seed: int = 0,
    share: float = 1.0,
    splits: Split | Sequence[Split] = ("train", "val"),
    jobs: int | None = None,
    set: Mapping[str, Any] | None = None,
    cluster: str | None = None,
    cluster_option: Mapping[str, Any] | None = None,
) -> CorruptResult:
    """Writes a copy of a data set with simulated label noise to the folder ``out``.

    ``noise`` is the name of a simulator, and ``set`` has its parameters, as ``{"steps": 90}`` for "markov". ``dice`` chooses
    the strength that gives this mean label Dice instead. A ``share`` (0 to 1) of the cases of ``splits`` is corrupted, by the
    ``seed``; trusted cases are spared. ``jobs`` processes share the work (None: one for each core), or jobs of a ``cluster``,
    slurm or ray, of which ``cluster_option`` has what is asked. Raises DataError for what cannot be corrupted so, and for
    ``out`` where it has content.
    """
    chosen = cluster_of(cluster, cluster_option, noise)
    dataset, jobs = opened(dataset, jobs), processes(jobs)
    asked = _Asked(Path(out), noise, set or {}, dice, seed, share, splits_of(splits), jobs, chosen)
    CORRUPTIONS[dataset.task](dataset, asked)
    return CorruptResult(asked.out)


@dataclass(frozen=True)
class _Asked:
    """What is to be corrupted, and how."""

    out: Path
    noise: str
    parameters: Mapping[str, Any]
    dice: float | None
    seed: int
    share: float
    splits: tuple[Split, ...]
    jobs: int
    cluster: Cluster | None


def _corrupt_masks(dataset: Dataset, asked: _Asked) -> None:
    """Corrupts masks."""
    from debride.data.masks.corrupt import corrupt_dataset as corrupt
    from debride.noise import make_noise
    from debride.progress import track

    noise = make_noise(asked.noise, **asked.parameters)
    with track("corrupting", len(dataset.cases)) as show, on_cluster(asked.cluster, asked.out):
        corrupt(
            dataset,
            asked.out,
            noise,
            seed=asked.seed,
            share=asked.share,
            splits=asked.splits,
            target_dice=asked.dice,
            jobs=asked.jobs,
            progress=lambda done, _: show(done),
        )


def _corrupt_classes(dataset: Dataset, asked: _Asked) -> None:
    """Corrupts classes."""
    from debride.data.classes.class_cache import flat_images
    from debride.data.classes.corrupt_classes import corrupt_classes
    from debride.noise import make_class_noise
    from debride.progress import track

    if asked.dice is not None or asked.share != 1:
        name = "`dice`" if asked.dice is not None else "`share`"
        raise DataError(name, "is for segmentation", "Leave it out; the noise's rate says how many classes are wrong.")
    noise = make_class_noise(asked.noise, **asked.parameters)
    with track("corrupting", None) as show, on_cluster(asked.cluster, asked.out):
        corrupt_classes(
            dataset,
            asked.out,
            noise,
            seed=asked.seed,
            splits=asked.splits,
            features=lambda: flat_images(dataset, asked.splits),
            jobs=asked.jobs,
            progress=lambda done, _: show(done),
        )


CORRUPTIONS: dict[str, Callable[[Dataset, _Asked], None]] = {
    "segmentation": _corrupt_masks,
    "classification": _corrupt_classes,
}
"""How labels are corrupted, by task."""
