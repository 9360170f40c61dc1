"""``fit``: the only training loop."""

from __future__ import annotations

import functools
import json
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.multiprocessing.spawn import ProcessRaisedException

from debride.data.augmentation import Augmentation, ClassAugmentation
from debride.data.cache import Prepared, cache_folder, prepare
from debride.data.classes.class_cache import PreparedClasses
from debride.data.masks.foreground import prepare_foreground
from debride.data.masks.prepared_maps import prepare_maps
from debride.data.preparation import Preparation
from debride.files import append_jsonl, exclusive, keep_apart, new_folder, read_jsonl, write_json, write_text
from debride.methods import METHODS
from debride.methods.base import Method, Phase
from debride.networks import WIDENING, Network, build, build_classifier
from debride.progress import track
from debride.rng import derive
from debride.settings import check_bounds
from debride.state import LabelState
from debride.training import checkpoint
from debride.training.classification import ClassificationRun, prepare_class_sets, refuse_alone, validate_classes
from debride.training.config import TrainConfig, config_class
from debride.training.description import describe, same_training
from debride.training.label_scores import write_cleansed, write_scores
from debride.training.run import TrainingRun
from debride.training.schedule import make_optimiser
from debride.training.validate import validate
from debride.types import Case, DataError, Dataset, Split, Task


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training to be done: picklable, so that several processes can start from it. ``cleansed`` asks for the labels that the
    method takes for right."""

    dataset: Dataset
    method: str
    method_config: Any
    config: TrainConfig
    augmentation: Augmentation | ClassAugmentation
    out: Path
    cache: Path | None = None
    resume: bool = False
    cleansed: bool = False


def fit(job: Job) -> None:
    """Trains a method and leaves weights, ``metrics.jsonl`` and ``run.json`` in ``job.out``, beside them
    ``label_scores.csv`` where the method can tell labels apart.

    On the CPU two trainings from the same job give the same weights bit for bit, and so does a training that was killed and
    resumed; on a GPU they agree within what its kernels' order of summation leaves open. Raises DataError for an output
    folder in use, a resume without or from another training, and a loss that is not finite.
    """
    for settings in (job.config, job.method_config, job.augmentation):
        check_bounds(settings)
    config = job.config
    kind = choose_device(config.device, config.devices)
    _refuse_output(job)
    if 0 < len(job.dataset.of("train")) < config.devices:
        raise DataError("--devices", f"{config.devices} is more than there are training cases", "Use fewer processes.")
    _refuse_task(job)
    _warn_of_leaks(job.dataset)
    if "trusted" in METHODS[job.method].paper.needs and not any(case.trusted for case in job.dataset.of("train")):
        remedy = "Name cases of the training split with verified labels by --trusted."
        raise DataError(f"method {job.method}", "needs trusted training cases", remedy)
    if job.cleansed and not METHODS[job.method].relabels(job.method_config):
        able = ", ".join(name for name, method in METHODS.items() if method.relabels(method.Config()))
        raise DataError(
            "--cleansed", f"finds no labels of its own in {job.method} as it is set up", f"Methods that can: {able}."
        )
    with exclusive(job.out):
        strategy = "ddp_spawn" if config.devices > 1 else "auto"
        fabric = Fabric(accelerator=kind, devices=config.devices, strategy=strategy)
        if config.devices == 1:
            fabric.launch(functools.partial(_train, job=job))
        else:
            _prepare_all(job)
            _launch_several(fabric, job)


def choose_device(name: str, number: int = 1) -> str:
    """ "cpu" or "cuda"; "auto" is cuda where there is one. Raises DataError for GPUs that this machine does not have."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise DataError("--device cuda", "finds no such GPU", "Use --device cpu or auto.")
    if name == "cuda" and torch.cuda.device_count() < number:
        raise DataError("--devices", f"asks for {number} GPUs, there are {torch.cuda.device_count()}", "Use fewer processes.")
    return name


def make_method(job: Job, channels: int) -> Method:
    """The method of a job with freshly initialised networks, the k-th seeded by (seed, "network", k)."""
    made = 0

    def make_network() -> Network:
        nonlocal made
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(job.config.seed, "network", made))
            made += 1
            return make_network_of(job.config, job.dataset.task, job.dataset.ndim, channels, len(job.dataset.classes))

    with torch.random.fork_rng(devices=[]):  # for the parts that a method makes itself
        torch.manual_seed(derive(job.config.seed, "method"))
        return METHODS[job.method](job.method_config, make_network, len(job.dataset.classes))


def make_network_of(config: TrainConfig, task: Task, ndim: int, channels: int, classes: int) -> Network:
    """A freshly initialised network for a task, with the settings of a training."""
    if task == "classification":
        width = config.width * WIDENING.get(config.network, 1)
        return build_classifier(config.network, in_channels=channels, classes=classes, width=width)
    return build(config.network, ndim=ndim, in_channels=channels, classes=classes, width=config.width)


def place(method: Method, device: torch.device, ndim: int) -> Method:
    """The method on a device, weights with channels last, which convolutions are fastest with (a tenth to a third on CPUs)."""
    layout = torch.channels_last if ndim == 2 else torch.channels_last_3d
    method.to(device, memory_format=layout)  # type: ignore[call-overload]  # missing in torch's annotations
    return method.to(device)


def _launch_several(fabric: Fabric, job: Job) -> None:
    """Trains in several processes. What they refuse is raised here too, where they leave only the text of a traceback."""
    refusals = torch.multiprocessing.get_context("spawn").SimpleQueue()
    try:
        fabric.launch(functools.partial(_train_or_tell, job=job, refusals=refusals))
    except ProcessRaisedException:
        if refusals.empty():
            raise
        raise refusals.get() from None


def _train_or_tell(fabric: Fabric, job: Job, refusals: Any) -> None:
    try:
        _train(fabric, job)
    except DataError as error:
        refusals.put(error)
        raise


def _train(fabric: Fabric, job: Job) -> None:
    config = job.config
    classify = job.dataset.task == "classification"
    train, val = _prepare_all(job)
    method = make_method(job, train.channels)
    if config.steps_per_epoch and config.devices > 1 and method.fields():
        problem = f"lets a case come twice in an epoch, and {job.method} keeps label state that one process alone may change"
        raise DataError("--steps-per-epoch", problem, "Use one process, or leave it out.")
    if config.devices > 1 and method.one_process:
        problem = f"is {config.devices}, and {job.method} keeps label state of images that come several times in an epoch"
        raise DataError("--devices", problem, "Use one process.")
    place(method, fabric.device, job.dataset.ndim)
    with fabric.rank_zero_first():
        train = _with_extras(train, method, job, fabric.is_global_zero)
    if isinstance(train, PreparedClasses):
        refuse_alone(method, train, fabric.device)
    if fabric.is_global_zero:
        _record_job(job, describe(job, train, val, method))
    optimiser = make_optimiser(config, method.parameters())
    store = _open_store(fabric, method, train, job.out / "scratch")
    made = ClassificationRun if classify else TrainingRun
    run = made(fabric, config, job.augmentation, method, optimiser, train, store)  # type: ignore[arg-type]
    best: dict[str, Any] = {"epoch": None, measure(job.dataset.task): None}
    first = 0
    if job.resume and (latest := checkpoint.latest_state(job.out)):
        state = checkpoint.load_state(latest, method, optimiser, store)
        run.scaler.load_state_dict(state["scaler"])
        first, run.step, best = state["epoch"], state["step"], state["best"]
        fabric.barrier()  # every process restores the one label state: none may change it before all have
    if fabric.is_global_zero:
        _start_metrics(job.out, first)
    for run.epoch in range(first, config.epochs):
        started = time.perf_counter()
        _epoch(run)
        record: dict[str, Any] = {
            "epoch": run.epoch + 1,
            "step": run.step,
            "learning_rate": run.learning_rate,
            "train": run.epoch_means(),
        }
        if len(val) and ((run.epoch + 1) % config.validate_every == 0 or run.epoch + 1 == config.epochs):
            record["val"] = (
                validate_classes(method, val, fabric)
                if isinstance(val, PreparedClasses)
                else validate(method, val, config, fabric)
            )
        record["seconds"] = round(time.perf_counter() - started, 3)
        if fabric.is_global_zero:
            best = _save(job, run, record, best)
        fabric.barrier()
    _write_what_it_says(job, run)
    if fabric.is_global_zero:
        shutil.rmtree(job.out / "scratch", ignore_errors=True)


def _write_what_it_says(job: Job, run: TrainingRun) -> None:
    """The method's verdict on the labels, after the last epoch."""
    doubt = run.method.doubt(run)  # every process takes part
    if run.fabric.is_global_zero:
        write_scores(job.out, run.prepared.cases, doubt)
    if job.cleansed:
        write_cleansed(job.out, job.dataset, run)


def _open_store(fabric: Fabric, method: Method, train: Prepared | PreparedClasses, folder: Path) -> LabelState:
    """The label state, made by one process and mapped by all: a row has one visitor in an epoch, so one writer."""
    if fabric.is_global_zero:
        store = LabelState(method.fields(), train.shapes, folder)
    fabric.barrier()
    return store if fabric.is_global_zero else LabelState(method.fields(), train.shapes, folder, existing=True)


def _epoch(run: TrainingRun) -> None:
    """One epoch of a method: its plan, phase by phase, one step per batch."""
    method = run.method
    run.seed_epoch()
    method.train()
    method.start_epoch(run)
    run.fabric.barrier()  # what one process wrote of the label state, the others may read
    phases = method.plan(run)
    for number, phase in enumerate(phases):
        with _bar(run, phase) as show:
            for done, batch in enumerate(run.batches(number, phase)):
                with run.autocast():
                    method.step(batch, run)
                show(done + 1)
    run.seed_epoch()
    method.end_epoch(run)
    run.average_buffers()


def _bar(run: TrainingRun, phase: Phase) -> AbstractContextManager[Callable[[int], None]]:
    if not run.fabric.is_global_zero:
        return nullcontext(lambda _: None)
    first = phase.streams[0]
    cases = run.cases if first.cases is None else len(first.cases)
    steps = run.config.steps_per_epoch or -(-cases // (first.size or run.config.batch_size))
    return track(f"epoch {run.epoch + 1}/{run.epochs} {phase.name}", steps)


def _save(job: Job, run: TrainingRun, record: dict[str, Any], best: dict[str, Any]) -> dict[str, Any]:
    epoch = record["epoch"]
    name = measure(job.dataset.task)
    value = record.get("val", {}).get(name)
    if value is not None and (best[name] is None or value > best[name]):
        best = {"epoch": epoch, name: value}
        checkpoint.save_weights(run.method, job.out / "weights" / "best.safetensors")
    state = {"step": run.step, "best": best, "scaler": run.scaler.state_dict()}
    append_jsonl(job.out / "metrics.jsonl", {**record, "best": best})  # first: a resume drops records without their state
    checkpoint.save_state(job.out, epoch, run.method, run.optimiser, run.store, state, job.config.keep_last)
    if job.config.tensorboard:
        _tensorboard(job.out, record)
    shown = "  ".join(f"{term} {mean:.4f}" for term, mean in record["train"].items())
    shown_name = "Dice" if name == "dice" else name
    validated = f"  val {shown_name} {value:.4f} (best {best[name]:.4f} at {best['epoch']})" if value is not None else ""
    sys.stdout.write(f"epoch {epoch}/{job.config.epochs}  {shown}{validated}  {record['seconds']:.1f} s\n")
    sys.stdout.flush()
    return best


def _tensorboard(out: Path, record: dict[str, Any]) -> None:
    from torch.utils.tensorboard.writer import SummaryWriter

    with SummaryWriter(str(out / "tensorboard")) as writer:
        scalars = {f"train/{name}": value for name, value in record["train"].items()}
        scalars |= {f"val/{name}": value for name, value in record.get("val", {}).items() if isinstance(value, float)}
        for name, value in {**scalars, "learning_rate": record["learning_rate"]}.items():
            writer.add_scalar(name, value, record["epoch"])


def measure(task: Task) -> str:
    """What the best epoch is chosen by, on the validation cases as labelled."""
    return "accuracy" if task == "classification" else "dice"


def _refuse_task(job: Job) -> None:
    task, method = job.dataset.task, METHODS[job.method]
    if task not in method.tasks:
        able = ", ".join(name for name, each in METHODS.items() if task in each.tasks)
        raise DataError(f"method {job.method}", f"is not for {task}, which this data set is for", f"Methods that are: {able}.")
    if task == "classification" and getattr(job.method_config, "dice", False):
        raise DataError("--dice", "is for segmentation, and the data set is for classification", "Leave it out.")
    augmentation = ClassAugmentation if task == "classification" else Augmentation
    for given, fitting in ((job.config, config_class(task)), (job.augmentation, augmentation)):
        if type(given) is not fitting:
            raise DataError("job", f"has a {type(given).__name__} for {task}", f"Give a {fitting.__name__}.")


def _warn_of_leaks(dataset: Dataset) -> None:
    """Says on standard error that patients are in several splits, where it is known who is who."""
    splits: dict[str, set[Split]] = defaultdict(set)
    for case in dataset.cases:
        splits[case.patient].add(case.split)
    if shared := [patient for patient, own in splits.items() if len(own) > 1]:
        text = f"patient {shared[0]} and {len(shared) - 1} more are" if len(shared) > 1 else f"patient {shared[0]} is"
        sys.stderr.write(f"debride: warning: {text} in several splits: results will look better than they are.\n")


def _refuse_output(job: Job) -> None:
    source = {"the data set": job.dataset.root}
    keep_apart(cache_folder(job.cache), source)
    remedy = "Choose another --out, or go on with this training with --resume."
    new_folder(job.out, apart_from=source, may_go_on=job.resume, remedy=remedy)
    if job.cleansed and (job.out / "cleansed").exists():
        raise DataError(job.out / "cleansed", "exists already", "Move it away, or leave --cleansed out.")
    if job.resume and not (job.out / "run.json").exists():
        raise DataError(job.out, "holds no training to resume", "Leave --resume out to start one.")


def _prepare_all(job: Job) -> tuple[Prepared, Prepared] | tuple[PreparedClasses, PreparedClasses]:
    config = job.config
    if job.dataset.task == "classification":
        return prepare_class_sets(job)
    preparation = Preparation(
        image_size=config.image_size, spacing=config.spacing, intensity=config.intensity, crop=config.crop
    )
    train, val = job.dataset.of("train"), job.dataset.of("val")
    if not train:
        raise DataError(job.dataset.root, "has no training cases", "Check the splits; `debride check` lists them.")

    def prepared(cases: tuple[Case, ...], name: str) -> Prepared:
        with track(f"preparing {name} cases", len(cases)) as show:
            update: Callable[[int, int], None] = lambda done, _: show(done)  # noqa: E731
            return prepare(job.dataset, cases, preparation, cache_folder(job.cache), update)

    sets = prepared(train, "training"), prepared(val, "validation")
    if config.patch_size is None and len(set(sets[0].shapes)) > 1:
        shapes = ", ".join(sorted({"x".join(map(str, shape)) for shape in sets[0].shapes})[:4])
        raise DataError(
            job.dataset.root, f"has images of different shapes ({shapes} ...)", "Give --image-size, or train on --patch-size."
        )
    if config.patch_size is not None and len(config.patch_size) != job.dataset.ndim:
        raise DataError("--patch-size", f"has {len(config.patch_size)} numbers", f"Give {job.dataset.ndim}, in array order.")
    return sets


def _with_extras(
    train: Prepared | PreparedClasses, method: Method, job: Job, show_progress: bool
) -> Prepared | PreparedClasses:
    """The prepared cases with the maps of the method, and the foreground that patches are placed on."""
    if isinstance(train, PreparedClasses):
        return train
    train = _with_maps(train, method, job, show_progress)
    if job.config.patch_size and job.config.foreground:
        train = prepare_foreground(train, cache_folder(job.cache), trusted_only=method.trusted_labels_only)
    return train


def _with_maps(train: Prepared, method: Method, job: Job, show_progress: bool) -> Prepared:
    maps = method.maps()
    if not maps or not show_progress:
        return prepare_maps(train, maps, cache_folder(job.cache))
    with track("preparing " + " and ".join(maps), len(train)) as show:
        return prepare_maps(train, maps, cache_folder(job.cache), lambda done, _: show(done))


def _record_job(job: Job, description: dict[str, Any]) -> None:
    file = job.out / "run.json"
    if job.resume:
        same_training(file, description)
    else:
        write_json(file, description)


def _start_metrics(out: Path, epochs_done: int) -> None:
    """Drops the records of epochs whose training state was lost: they are trained, and recorded, again."""
    file = out / "metrics.jsonl"
    rows = [row for row in read_jsonl(file) if row["epoch"] <= epochs_done]
    write_text(file, "".join(json.dumps(row) + "\n" for row in rows))
