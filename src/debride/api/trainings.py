"""Training a network by a method."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from debride.api.calibrating import tell_warnings
from debride.api.checked import parameters_of
from debride.api.datasets import Folder, opened, processes
from debride.api.given import read_config, sorted_settings, training_settings
from debride.api.training_results import CalibrationResult, TrainResult
from debride.folders import removed_if_unused
from debride.notes import tell
from debride.plugins import Trust
from debride.types import DataError, Dataset

if TYPE_CHECKING:
    from debride.training.nnunet_plans import Plans


def train(
    method: str,
    dataset: Dataset | Folder,
    out: Folder,
    *,
    preset: Literal["default", "paper"] = "default",
    resume: bool = False,
    cleansed: bool = False,
    calibrate: bool = False,
    hold_out_trusted: bool = False,
    config: Folder | None = None,
    cache: Folder | None = None,
    verify: bool = False,
    raters: str = "all",
    unlabelled: Folder | None = None,
    init: Folder | None = None,
    plans: Folder | None = None,
    configuration: str | None = None,
    jobs: int | None = None,
    trust_code: bool = False,
    **settings: Any,
) -> TrainResult:
    """Trains a network by a method, and writes weights, metrics and run.json to the folder ``out``.

    ``settings`` are those of the training, as ``epochs=20``, of the method, as ``q=0.7``, and of the augmentation, as
    ``augment_flip=(0,)``. The file ``config`` gives others, and the ``preset`` "paper" what the method's paper says. ``resume``
    goes on with the training in ``out``. ``cleansed`` also writes the labels that the method takes for right. ``calibrate``
    then takes the bias out that trusted cases show, and ``hold_out_trusted`` does not train on them. Where images have several
    ``raters`` it is said whose labels are learnt: all, sample, smallest, largest or a name. ``unlabelled`` is a folder of
    images, or a data set, to learn from without labels. ``init`` is a run, a .safetensors file or a checkpoint of nnU-Net to
    begin with. ``plans`` is a plans file of nnU-Net, of which a ``configuration`` says patch, batch, spacing, intensities and
    network, unless ``settings`` or ``config`` do. Prepared cases are kept in ``cache``; ``verify`` reads the files of the data
    set again. ``jobs`` processes prepare cases (None: one for each core). With ``trust_code`` modules that ``config`` names are
    imported.

    Raises DataError for a method, a setting or a data set that cannot be used, and for ``out`` where it holds something else.
    """
    from debride.company import together
    from debride.data.cache import cache_folder
    from debride.data.rater_choice import choose_raters
    from debride.data.source_hashes import forget
    from debride.methods import find_method
    from debride.started import started_together
    from debride.training.calibrate import calibrate_training, refuse_calibration, without_trusted
    from debride.training.fit import fit
    from debride.training.job import Job
    from debride.training.launch import company_of, with_started
    from debride.training.machines import goes_on
    from debride.training.nnunet_plans import with_given
    from debride.training.unlabelled import with_unlabelled

    with together(started_together(not settings.keys().isdisjoint(("nodes", "devices")))):
        cls, out, cache = find_method(method), Path(out), None if cache is None else Path(cache)
        sections, jobs = read_config(config), processes(jobs)
        dataset = opened(dataset, jobs)
        given = sorted_settings(settings, dataset.task, cls, method, taken=parameters_of(train))
        planned = _planned(plans, configuration, dataset, out if resume else None)
        if planned:
            own = sections.get("training", {})
            sections["training"] = {**with_given(planned, {**own, **given["training"]}), **own}
        chosen = training_settings(sections, given, dataset.task, cls, preset=preset, config=config)
        training = with_started(chosen.training, {**sections.get("training", {}), **given["training"]})
        found = company_of(training)
        leads = found is None or found.leads
        trust = Trust(trust_code, frozenset(name for name in [given["training"].get("network")] if name))
        trust.admit(training.network, f"{config}: training: network", "`network`")
        if "noise_rate" in cls.paper.needs and "noise_rate" not in {**sections.get("method", {}), **given["method"]}:
            rate = chosen.method.noise_rate
            tell(f"`noise_rate` is not given; {rate} is used. It is the share of wrong labels (of pixels, or of images).")
        if verify and (found is None or found.local == 0):
            forget(cache_folder(dataset.root, cache), dataset.root)
        dataset = choose_raters(dataset, raters, training.seed)
        calibrates = calibrate or cls.holds_out_trusted
        if calibrates or hold_out_trusted:
            refuse_calibration(dataset, method, hold_out=hold_out_trusted)
        learnt = without_trusted(dataset) if hold_out_trusted else dataset
        again = goes_on(out)
        if again and not resume:
            tell(f"{out}: the training goes on: it was started again.")
        job = Job(
            dataset=learnt if unlabelled is None else with_unlabelled(learnt, Path(unlabelled), method),
            method=method,
            method_config=chosen.method,
            config=training,
            augmentation=chosen.augmentation,
            out=out,
            cache=cache,
            resume=resume or again,
            cleansed=cleansed,
            jobs=jobs,
            init=None if init is None else Path(init),
            plans=planned,
        )
        with removed_if_unused(out) if leads else nullcontext():
            fit(job)
        if not calibrates or not leads:
            return TrainResult(out)
        calibrated = calibrate_training(out, dataset, job.config.device, job.trust)
        tell_warnings(calibrated)
        return TrainResult(out, CalibrationResult(out, calibrated))


def _planned(plans: Folder | None, configuration: str | None, dataset: Dataset, run: Path | None) -> Plans | None:
    """The plans that are given, or those of the ``run`` that is resumed; DataError for one of the two without the other."""
    from debride.training.nnunet_plans import plans_of, read_plans
    from debride.training.task import TASKS

    if (plans is None) != (configuration is None):
        lacking, given = ("configuration", "plans") if configuration is None else ("plans", "configuration")
        raise DataError(f"`{lacking}`", f"is missing beside `{given}`", "Give both, as nnUNetPlans.json and 3d_fullres.")
    if plans is not None and configuration is not None:
        if not TASKS[dataset.task].takes_plans:
            raise DataError(
                "`plans`", f"are for networks that segment, and the data set is for {dataset.task}", "Leave it out."
            )
        return read_plans(Path(plans), configuration, dataset)
    kept = plans_of(run) if run else None
    return read_plans(*kept, dataset) if kept else None
