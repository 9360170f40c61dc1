"""Masks or classes by a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

from debride.api.checked import DEVICES, one_of, splits_of
from debride.api.clusters import cluster_of
from debride.api.datasets import DatasetOptions, Folder, library_options, processes
from debride.api.predict_results import Asked, PredictResult
from debride.plugins import Trust
from debride.types import DataError, Dataset, Split


def predict(
    run: Folder | Sequence[Folder],
    source: Dataset | Folder,
    out: Folder,
    *,
    splits: Split | Sequence[Split] = (),
    checkpoint: str | int | None = None,
    raw: bool = False,
    probabilities: bool = False,
    largest_component: bool = False,
    resume: bool = False,
    keep_going: bool = False,
    jobs: int | None = None,
    device: str = "auto",
    method: str | None = None,
    network: str | None = None,
    trust_code: bool = False,
    cluster: str | None = None,
    cluster_option: Mapping[str, Any] | None = None,
    **options: Unpack[DatasetOptions],
) -> PredictResult:
    """Writes masks in the images' own format and geometry, or a table of classes, to the folder ``out``.

    Several runs, or a folder with the runs fold-1, fold-2 and so on, predict together: by the mean of their probabilities, each
    after its own calibration. They must agree in classes, channels, and the size or spacing of images.

    ``source`` is a data set, of which the ``splits`` are predicted (none named: test, or all), or a folder of images.
    ``options`` say how a data set is read that is given as its folder. ``checkpoint`` is best, last or an epoch's number; None
    is the one that was calibrated, or best. Without ``raw`` the calibration of the ``run`` is applied. ``probabilities`` are
    written too where asked for, as (K, *S) in .npy. ``largest_component`` keeps the largest piece of each class alone.
    ``resume`` goes on with predictions that were cut off, and ``keep_going`` leaves out images that cannot be read. On the CPU
    ``jobs`` processes share the images (None: one for each core). Jobs of a ``cluster``, slurm or ray, share them on any
    ``device`` of theirs, and ``cluster_option`` has what is asked of it. A ``method`` or ``network`` of one's own
    that the run names is imported where it is named again, or with ``trust_code``.

    Raises DataError for a run or images that cannot be used, and for ``out`` where it holds something else.
    """
    from debride.training.ensemble import members_of
    from debride.training.predict import predict_folder, task_of

    chosen = cluster_of(cluster, cluster_option, method, network)
    runs = members_of(Path(run) if isinstance(run, str | PathLike) else [Path(each) for each in run])
    out = Path(out)
    opening = library_options(options, predict)
    if isinstance(source, Dataset) and options:
        raise DataError(f"`{next(iter(options))}`", "is given beside a data set that is open", "Give it to open_dataset.")
    asked = Asked(runs[0], source if isinstance(source, Dataset) else Path(source), splits_of(splits), opening)
    predicted = predict_folder(
        runs,
        asked.source,
        out,
        checkpoint=None if checkpoint is None else str(checkpoint),
        raw=raw,
        probabilities=probabilities,
        largest_component=largest_component,
        splits=asked.splits,
        open_options=asked.options,
        device=one_of("device", device, DEVICES),
        trust=Trust(trust_code, frozenset(name for name in (method, network) if name)),
        resume=resume,
        keep_going=keep_going,
        jobs=processes(jobs),
        cluster=chosen,
    )
    kind = task_of(runs[0]).predicted
    return PredictResult(out, predicted.count, kind, predicted.left_out, predicted.calibrated, asked)
