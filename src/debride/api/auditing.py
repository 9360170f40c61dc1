"""Which labels are wrong, where and how."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from debride.api.audit_results import AuditResult
from debride.api.checked import one_of, parameters_of, splits_of
from debride.api.clusters import cluster_of
from debride.api.datasets import Folder, opened, processes
from debride.api.given import converted, names_of, read_config, read_settings, unknown_setting
from debride.api.region_results import RegionsAuditResult
from debride.execute.cluster import Cluster, on_cluster
from debride.plugins import Trust
from debride.settings import from_mapping
from debride.types import DataError, Dataset, Split

if TYPE_CHECKING:
    from debride.audit import AuditConfig
    from debride.training.job import Job
    from debride.types import Case

Consensus = Literal["majority", "staple"]

MASKS_ONLY = ("shard", "merge", "since", "review", "identities", "consensus", "without_predictions")
"""Options that mean nothing for images with one class each."""


@dataclass(frozen=True)
class Asked:
    """An audit that is asked for: the options of ``audit_dataset``, its settings and those of a training, as far as given."""

    out: Path
    predictions: Path | None
    run: Path | None
    without_predictions: bool
    splits: tuple[Split, ...]
    partial: bool
    identities: bool
    consensus: Consensus | None
    shard: tuple[int, int] | None
    merge: bool
    since: Path | None
    review: bool
    jobs: int
    folds: int
    method: str
    config: Folder | None
    cache: Path | None
    verify: bool
    trust_code: bool
    cluster: Cluster | None
    audit: Mapping[str, Any]
    training: Mapping[str, Any]

    @property
    def source(self) -> Path | None:
        """The folder of predictions, or of networks to predict with; None where networks are to be trained."""
        return self.predictions or self.run

    @property
    def trust(self) -> Trust:
        """What was named, of modules that a run may name."""
        return Trust(self.trust_code, frozenset(name for name in (self.method, self.training.get("network")) if name))


def audit_dataset(
    dataset: Dataset | Folder,
    out: Folder,
    *,
    predictions: Folder | None = None,
    run: Folder | None = None,
    without_predictions: bool = False,
    splits: Split | Sequence[Split] = ("train", "val"),
    partial: bool = False,
    identities: bool = False,
    consensus: Consensus | None = None,
    jobs: int | None = None,
    shard: tuple[int, int] | None = None,
    merge: bool = False,
    since: Folder | None = None,
    review: bool = False,
    folds: int = 5,
    method: str = "ce",
    config: Folder | None = None,
    cache: Folder | None = None,
    verify: bool = False,
    trust_code: bool = False,
    cluster: str | None = None,
    cluster_option: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AuditResult:
    """Ranks the labels of a data set by how probably they are wrong, and writes a report with all findings to ``out``.

    It goes by ``predictions`` in a folder, by a ``run`` (or a folder of folds), or by labels and images alone
    (``without_predictions``). Where none is given networks are trained by the ``method``, in ``folds`` parts, each judging the
    cases that it was not trained on; then ``settings``, the file ``config``, ``cache`` and ``verify`` are those of ``train``.
    ``settings`` of the audit itself are planted, least, pictures and seed. Labels of ``splits`` are audited. ``partial``
    leaves out cases without a prediction. Where images have several raters, ``identities`` says that a name is the same person
    throughout, and ``consensus``, majority or staple, writes a data set with theirs. ``shard`` (k, n) does the k-th of n parts,
    and ``merge`` ends an audit whose parts are done. ``since`` is an earlier audit: new and changed cases alone are looked at.
    With ``review`` what its readers decided is not found again, and labels that they settled are trusted.
    ``jobs`` processes share the work (None: one for each core), or jobs of a ``cluster``, slurm or ray, of which
    ``cluster_option`` has what is asked. With ``trust_code`` modules that files name are imported. Of a data set with
    regions each region is audited, and the result has their audits.

    Raises DataError for what cannot be audited so, and for ``out`` where it holds something else.
    """
    given = [name for name, value in _sources(predictions, run, without_predictions).items() if value]
    if len(given) > 1:
        raise DataError(f"`{given[1]}`", f"is given beside `{given[0]}`", "Give one of them.")
    if shard is not None and merge:
        raise DataError("`merge`", "is given beside `shard`", "End the parts first.")
    if review and since is None:
        raise DataError("`review`", "goes on from the review of an earlier audit", "Give that audit as `since`.")
    if shard is not None and cluster is not None:
        raise DataError("`shard`", "is given beside `cluster`", "Leave it out: jobs of the cluster share the work.")
    chosen = cluster_of(cluster, cluster_option, method, settings.get("network"))
    jobs = processes(jobs)
    dataset = opened(dataset, jobs)
    audit, training = _sorted(settings, dataset.task)
    asked = Asked(
        out=Path(out),
        predictions=_path(predictions),
        run=_path(run),
        without_predictions=without_predictions,
        splits=splits_of(splits),
        partial=partial,
        identities=identities,
        consensus=one_of("consensus", consensus, get_args(Consensus)),
        shard=shard,
        merge=merge,
        since=_path(since),
        review=review,
        jobs=jobs,
        folds=folds,
        method=method,
        config=config,
        cache=_path(cache),
        verify=verify,
        trust_code=trust_code,
        cluster=chosen,
        audit=audit,
        training=training,
    )
    return AUDITS[dataset.task](dataset, asked)


def cross_validation_job(dataset: Dataset, asked: Asked, config: AuditConfig) -> Job:
    """The training of a cross-validation, for the task of the data set; with ``verify`` its sources are read anew."""
    from debride.data.cache import cache_folder
    from debride.data.source_hashes import forget
    from debride.methods import find_method
    from debride.training.job import Job
    from debride.training.task import task_for

    if asked.verify:
        forget(cache_folder(dataset.root, asked.cache), dataset.root)
    task, sections = task_for(dataset), read_config(asked.config)
    method = find_method(asked.method, "`method`")
    training = {"log_to": (), "keep_last": 1, **sections.get("training", {}), **asked.training, "seed": config.seed}
    places = {name: f"`{name}`" for name in (*asked.training, "seed")}
    setup = from_mapping(task.config, training, f"{asked.config}: training", places)
    network = asked.training.get("network")
    trust = Trust(asked.trust_code, frozenset([network] if network else []))
    trust.admit(setup.network, f"{asked.config}: training: network", "`network`")
    return Job(
        dataset=dataset,
        method=asked.method,
        method_config=from_mapping(method.Config, sections.get("method", {}), f"{asked.config}: method"),
        config=setup,
        augmentation=from_mapping(task.augmentation, sections.get("augmentation", {}), f"{asked.config}: augmentation"),
        out=asked.out / "cross-validation",
        cache=asked.cache,
    )


def _sources(predictions: Any, run: Any, without_predictions: bool) -> dict[str, Any]:
    return {"predictions": predictions, "run": run, "without_predictions": without_predictions}


def _path(folder: Folder | None) -> Path | None:
    return None if folder is None else Path(folder)


def _sorted(settings: Mapping[str, Any], task: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the audit, and those of a training."""
    from debride.audit import AuditConfig
    from debride.training.task import TASKS

    audit, training = names_of(AuditConfig), names_of(TASKS[task].config)
    if unknown := [name for name in settings if name not in {*audit, *training}]:
        raise unknown_setting(unknown[0], [*parameters_of(audit_dataset), *audit, *training])
    own = {name: value for name, value in settings.items() if name in audit}
    return own, converted(TASKS[task].config, {name: value for name, value in settings.items() if name not in audit})


def _audit_masks(dataset: Dataset, asked: Asked) -> AuditResult:
    """Audits masks."""
    from debride.audit import AuditConfig
    from debride.audit.audit_folder import Part, check_output, held
    from debride.audit.passes import audit_dataset as audit
    from debride.audit.passes import audit_part
    from debride.audit.predictions.nnunet_results import find_predictions
    from debride.audit.region_audits import audit_regions
    from debride.data.rater_choice import image_id

    config = read_settings(AuditConfig, asked.audit)
    review = None
    if asked.since is not None and asked.review:
        from debride.audit.after_review import read_after_review

        review = read_after_review(asked.since, dataset, asked.jobs)
        dataset = review.trusting(dataset)
    if asked.predictions:
        asked = replace(asked, predictions=find_predictions(asked.predictions, dataset))
    cases = [case for case in dataset.of(*asked.splits) if case.label is not None]
    if not cases:
        raise DataError(dataset.root, "has no labelled case to audit", "Check `splits`.")
    several = len({image_id(case) for case in cases}) < len(cases)
    if (asked.identities or asked.consensus) and not several:
        name = "`identities`" if asked.identities else "`consensus`"
        raise DataError(name, "is for images with the labels of several raters, which this data set has not", "Leave it out.")
    check_output(dataset, asked.out, asked.source, asked.since)
    asked = _by_networks_since(asked)
    part = Part(*asked.shard) if asked.shard else None
    how: dict[str, Any] = {"jobs": asked.jobs, "since": asked.since, "review": review}
    with held(dataset, asked.out, part), on_cluster(asked.cluster, asked.out):
        predictions, predicted = _predictions(dataset, asked, cases, config)
        if dataset.regions:
            done = audit_regions(dataset, predicted, predictions, asked.out, config, **how, merge=asked.merge, part=part)
            return RegionsAuditResult(asked.out, done)
        if part:
            return AuditResult(asked.out, audit_part(dataset, predicted, predictions, asked.out, config, part, **how))
        if several:  # before the audit, whose report says that all is done
            _compare_raters(replace(dataset, cases=tuple(cases)), asked, config)
        audit(dataset, predicted, predictions, asked.out, config, **how, merge=asked.merge)
    return AuditResult(asked.out)


def _by_networks_since(asked: Asked) -> Asked:
    """Lets an audit since an earlier one be by the networks of that one, if it had any, where nothing else is given."""
    if asked.since is None or asked.source or asked.without_predictions:
        return asked
    from debride.audit.findings import REGIONS, read_record
    from debride.files import read_json

    about = read_json(asked.since / REGIONS) if (asked.since / REGIONS).is_file() else read_record(asked.since).about
    runs = [Path(run) for run in about.get("predictions", {}).get("runs", [])]
    if not runs:
        raise DataError("`since`", f"{asked.since} is by predictions of a folder", "Give `predictions` too.")
    return replace(asked, run=runs[0].parent if len(runs) > 1 else runs[0])


def _compare_raters(dataset: Dataset, asked: Asked, config: AuditConfig) -> None:
    """Writes raters/ in the folder of the audit, anew if an audit was cut off."""
    from debride.audit.raters import audit_raters
    from debride.progress import track

    out = asked.out / "raters"
    if out.exists():
        shutil.rmtree(out)
    with track("comparing raters", None) as show:
        audit_raters(
            dataset,
            out,
            identities=asked.identities,
            consensus=asked.consensus,
            progress=lambda done, _: show(done),
            seed=config.seed,
        )


def _predictions(dataset: Dataset, asked: Asked, cases: list[Case], config: AuditConfig) -> tuple[Any, list[Case]]:
    """The predictions to audit by, and the cases that have one, in the order to look at them."""
    from debride.audit.predictions import FolderPredictions, NoPredictions, RunPredictions, open_predictions

    if asked.without_predictions:
        return NoPredictions(), cases
    source, device = asked.source, asked.training.get("device", "auto")
    if source is None:
        if asked.shard or asked.merge:
            name = "`shard`" if asked.shard else "`merge`"
            remedy = "Give `predictions`, or a run: the folder cross-validation/ of an audit."
            raise DataError(name, "is for predictions or networks that there are already", remedy)
        from debride.audit.predictions import cross_validate

        job = cross_validation_job(dataset, asked, config)
        runs = cross_validate(job, cases, asked.folds)
        return RunPredictions(runs, dataset, device, trust=job.trust), cases
    if asked.run and not list(source.glob("run.json")) + list(source.glob("fold-*/run.json")):
        raise DataError(source, "holds no training", "Give what `debride train --out` wrote, or a folder of `predictions`.")
    predictions = open_predictions(source, dataset, cases, device=device, missing_ok=asked.partial, trust=asked.trust)
    if isinstance(predictions, FolderPredictions):
        missing = set(predictions.missing)
        return predictions, [case for case in cases if case.id not in missing]
    return predictions, cases


def _audit_classes(dataset: Dataset, asked: Asked) -> AuditResult:
    """Audits the classes of images."""
    from debride.audit import AuditConfig
    from debride.audit.audit_folder import check_output, end_work, held
    from debride.audit.wrong_classes.class_audit import audit_classes

    for name in MASKS_ONLY:
        if getattr(asked, name):
            raise DataError(f"`{name}`", "is for masks", "Leave it out.")
    if asked.audit.get("planted"):
        raise DataError("`planted`", "is for masks", "Leave it out.")
    config = read_settings(AuditConfig, asked.audit)
    cases = [case for case in dataset.of(*asked.splits) if case.target is not None]
    if not cases:
        raise DataError(dataset.root, "has no labelled case to audit", "Check `splits`.")
    check_output(dataset, asked.out, asked.source)
    with held(dataset, asked.out), on_cluster(asked.cluster, asked.out):
        audit_classes(dataset, _class_predictions(dataset, asked, cases, config), asked.out, config, jobs=asked.jobs)
    end_work(asked.out)
    return AuditResult(asked.out)


def _class_predictions(dataset: Dataset, asked: Asked, cases: list[Case], config: AuditConfig) -> Any:
    """The predictions to audit by, of a file, of a run, or of a cross-validation."""
    from debride.audit.wrong_classes.class_sources import given_predictions, network_predictions, run_of_each

    if asked.predictions:
        return given_predictions(asked.predictions, dataset, cases, missing_ok=asked.partial)
    device = asked.training.get("device", "auto")
    kept = asked.out / "predictions"
    if asked.run:
        runs = run_of_each(asked.run, cases)
        return network_predictions(runs, dataset, cases, kept, device, cache=asked.cache, trust=asked.trust)
    from debride.audit.predictions import cross_validate

    job = cross_validation_job(dataset, asked, config)
    runs = dict(cross_validate(job, cases, asked.folds))
    return network_predictions(runs, dataset, cases, kept, device, cache=asked.cache, trust=job.trust)


AUDITS: dict[str, Callable[[Dataset, Asked], AuditResult]] = {
    "segmentation": _audit_masks,
    "classification": _audit_classes,
}
"""How labels are audited, by task."""
