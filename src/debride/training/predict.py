"""``debride predict``: a finished run, loaded and applied to images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from debride.calibration.bias_record import read_calibration
from debride.data.open import sources_around
from debride.data.pixels import outside_pixels, use_pixels
from debride.data.plain import region_of
from debride.execute import Do, Work
from debride.execute.cluster import Cluster
from debride.files import content_hash
from debride.folders import new_folder
from debride.methods import find_method
from debride.methods.base import Method
from debride.networks import Network
from debride.plugins import NOTHING, Trust
from debride.records import read_as
from debride.settings import from_mapping
from debride.training import checkpoint as checkpoints
from debride.training.description import read_description, task_name, training_entries
from debride.training.ensemble import joined, members_of, refuse_moved
from debride.training.launch import choose_device, place
from debride.training.own_biases import Own
from debride.training.run_calibration import Applied, applied
from debride.training.task import Task, find_task, task_for
from debride.training.trained import Predicted, Request, Trained
from debride.types import DataError, Dataset, Split, TaskName
from debride.version import __version__

T = TypeVar("T")


def load_run(run_folder: Path, which: str, device: torch.device, trust: Trust = NOTHING) -> Trained:
    """The method of a run with the weights "best", "last" or those of an epoch.

    Raises DataError if they are not there, and where the run names a module, for its method or network, that ``trust`` does
    not admit.
    """
    where = run_folder / "run.json"
    description = read_description(where)
    task = find_task(task_name(description), where)
    config = _settings(task.config, description, "training", where)
    trust.admit(description["method"], where, "--method")
    trust.admit(config.network, where, "--network")
    cls = find_method(description["method"], where)
    ndim, channels, labels = description["ndim"], description["channels"], labels_of(description, run_folder)
    outputs, classes = task.outputs(labels)

    def make_network() -> Network:
        return task.network(config, ndim, channels, outputs)

    method_config = _settings(cls.Config, description, "method_config", where)
    method = _made(lambda: cls(method_config, make_network, classes), where)
    checkpoints.load_weights(method, checkpoints.weights_file(run_folder, which))
    placed = place(method, device, ndim, training=False).eval()
    return Trained(placed, config, channels, labels, description.get("one_bit", False))


def labels_of(description: dict[str, Any], run_folder: Path) -> Dataset:
    """What the labels of a run mean, as a data set without cases."""
    values = {int(raw): value for raw, value in description["values"].items()}
    classes, ndim, ignore = tuple(description["classes"]), description["ndim"], description["ignore"]
    regions = tuple(map(region_of, description.get("regions", ())))
    name: Any = task_name(description)
    task: TaskName = "segmentation" if regions else name  # what a data set with regions is for
    return Dataset(run_folder, "folder", classes, (), ndim, ignore, values, task, regions=regions)


def _settings(cls: type[T], description: dict[str, Any], name: str, where: Path) -> T:
    """The settings of a part of ``run.json``; DataError where one is missing though this version of debride wrote it, which
    names them all."""
    own = training_entries(description[name]) if name == "training" else description[name]
    missing = {field.name for field in fields(cls)} - own.keys()  # type: ignore[arg-type]
    if missing and description["versions"].get("debride") == __version__:
        raise DataError(where, f"lacks {', '.join(sorted(missing))} of {name}", "Restore it, or train again.")
    return from_mapping(cls, own, f"{where}: {name}")


def _made(make: Callable[[], Method], where: Path) -> Method:
    """A method with its networks; DataError where they are larger than any memory."""
    try:
        return make()
    except (MemoryError, OverflowError, RuntimeError) as error:
        problem = f"describes a network that cannot be made ({str(error).splitlines()[0]})"
        raise DataError(where, problem, "Restore it, or train again.") from error


def task_of(run_folder: Path) -> Task[Any]:
    """What a run was trained for. Raises DataError for a task that does not exist."""
    where = run_folder / "run.json"
    return find_task(task_name(read_description(where)), where)


def trained_on(run_folder: Path, which: str) -> tuple[str, ...] | None:
    """The ids of the cases on whose labels the weights "best", "last" or of an epoch depend; None if the run does not say.

    The validation cases are among them for "best": their labels chose its epoch. What was held out, or had no label, is not.
    """
    description = read_description(run_folder / "run.json")
    try:
        parts = ("train", "val")[: 1 + (which == "best")]
        seen = (str(fingerprint[0]) for part in parts for fingerprint in description[part])
        without = {*description.get("held_out", ()), *description.get("unlabelled", ())}
        return tuple(case for case in seen if case not in without)
    except (KeyError, TypeError, IndexError):
        return None


def predict_folder(
    run_folder: Path | Sequence[Path],
    source: Path | Dataset,
    out: Path,
    *,
    checkpoint: str | None = None,
    raw: bool = False,
    probabilities: bool = False,
    largest_component: bool = False,
    splits: Sequence[Split] = (),
    open_options: Mapping[str, Any] | None = None,
    device: str = "auto",
    trust: Trust = NOTHING,
    resume: bool = False,
    keep_going: bool = False,
    jobs: int = 1,
    cluster: Cluster | None = None,
) -> Predicted:
    """Writes a mask for every image of a data set's ``splits`` (its test cases, or all if it has none) or of a folder, and says
    how many. ``source`` is the folder, opened by ``open_options`` where it is a data set, or a data set that is open.

    The run's calibration is applied to the weights that it was made for, unless ``raw``; these are what ``checkpoint`` None
    stands for, or the best where there is none. Several runs, or a folder with fold-1 and so on, predict together: the mean of
    their probabilities, each after its own calibration (``ensemble``).

    A mask is named by its case, has the raw label values of the training data, PNG for pictures and NIfTI for NIfTI. A PNG has
    one bit if the labels have. With ``largest_component`` every foreground class keeps its largest connected piece alone, in
    masks, not in ``probabilities``.
    With a sliding window an image takes 4 bytes per voxel for each of its channels and classes, and 4 more (512 x 512 x 300,
    one channel, two classes: 1.3 GB; each further class 0.3 GB), beside what the network needs for its windows. Several runs
    take 4 bytes more for each class, however many they are.
    ``resume`` goes on with predictions that were cut off, of the same run with the same options: those that are whole are not
    made again. With ``keep_going`` an image that cannot be read is left out, and listed in left_out.csv. On the CPU ``jobs``
    processes share the images; each takes that memory for its own. On any device jobs of a ``cluster`` share them. Raises
    DataError for ``out`` as ``new_folder`` and ``case_work`` do, and for the run as ``load_run`` does.
    """
    chosen = torch.device("cpu" if cluster else choose_device(device))  # jobs choose theirs on their own machine
    dataset = source if isinstance(source, Dataset) else None
    source = source.root if isinstance(source, Dataset) else source
    remedy = "Choose a new folder, or go on with these predictions by `resume`."
    new_folder(out, apart_from=sources_around(source), may_go_on=resume, remedy=remedy)
    members = [Member(run, calibration_in_use(run, checkpoint, raw)) for run in members_of(run_folder)]
    if len(members) > 1:
        for member in members:
            refuse_moved(member.run, member.use)
    trained = joined([member.load(chosen, trust) for member in members])
    if dataset is not None and dataset.task != trained.labels.task:
        problem = f"is for {dataset.task}, and the run for {trained.labels.task}"
        raise DataError(source, problem, "Give a data set of the run's kind, or the folder of its images.")
    made_by = {
        "run": _one_or_all([member.hash for member in members]),
        "input": str(source.resolve()),
        "splits": list(splits),
        "probabilities": probabilities,
        "largest_component": largest_component,
        "calibration": _one_or_all([member.calibration_hash for member in members]),
    }
    request = Request(
        splits=tuple(splits),
        dataset=dataset,
        open_options=open_options or {},
        probabilities=probabilities,
        largest_component=largest_component,
        made_by=made_by,
        resume=resume,
        keep_going=keep_going,
    )
    if cluster or (chosen.type == "cpu" and jobs > 1):
        setup = {
            "members": [member.plain() for member in members],
            "trust": [trust.everything, sorted(trust.named)],
            "out": str(out),
            "device": device if cluster else "cpu",
            "probabilities": probabilities,
            "largest_component": largest_component,
            "pixels": outside_pixels(),
        }
        own = (cluster, out) if cluster else None
        request = replace(request, jobs=jobs, work=Work(begin_predicting, setup), cluster=own)
    predicted = task_for(trained.labels).predict(trained, source, out, request, chosen)
    return replace(predicted, calibrated="\n".join(member.use.said for member in members if member.use.said))


@dataclass(frozen=True)
class Member:
    """One of the runs that predict, with what its calibration means for that."""

    run: Path
    use: Applied

    def load(self, device: torch.device, trust: Trust) -> Trained:
        """The run, with its calibration."""
        trained = load_run(self.run, self.use.checkpoint, device, trust)
        return replace(trained, calibration=self.use.calibration, own=self.use.own)

    @property
    def hash(self) -> str:
        """Of what the run is."""
        return content_hash([self.run / "run.json", checkpoints.weights_file(self.run, self.use.checkpoint)])

    @property
    def calibration_hash(self) -> str | None:
        """Of what its calibration does."""
        calibration, own = self.use.calibration, self.use.own
        return content_hash([], calibration, *([own] if own else [])) if calibration else None

    def plain(self) -> dict[str, Any]:
        """As plain JSON, for other processes."""
        calibration, own = self.use.calibration, self.use.own
        return {
            "run": str(self.run),
            "checkpoint": self.use.checkpoint,
            "calibration": calibration and asdict(calibration),
            "own": own and asdict(own),
        }


def member_of(plain: Mapping[str, Any]) -> Member:
    """What ``Member.plain`` gave."""
    calibration = plain["calibration"] and read_calibration(plain["calibration"], "the calibration")
    own = plain["own"] and read_as(Own, plain["own"], "the calibration", "")
    return Member(Path(plain["run"]), Applied(plain["checkpoint"], calibration, own=own))


def _one_or_all(values: list[Any]) -> Any:
    """One value as itself, as it was written before there were several."""
    return values[0] if len(values) == 1 else values


def calibration_in_use(run_folder: Path, checkpoint: str | None, raw: bool) -> Applied:
    """What the calibration of a run means for predictions with a ``checkpoint``, as ``applied`` says it."""
    description = read_description(run_folder / "run.json")
    task = task_name(description)
    if not find_task(task, run_folder / "run.json").calibrates:
        return Applied(checkpoint or "best")
    return applied(run_folder, description["classes"], task, checkpoint, raw)


def begin_predicting(setup: dict[str, Any]) -> Do:
    """A process's part in ``predict_folder``: loads the run, and predicts what it is given."""
    for name in setup["pixels"]:
        use_pixels(name)
    everything, named = setup["trust"]
    device = torch.device(choose_device(setup["device"]))
    trust = Trust(everything, frozenset(named))
    trained = joined([member_of(plain).load(device, trust) for plain in setup["members"]])
    request = Request(probabilities=setup["probabilities"], largest_component=setup["largest_component"])
    return task_for(trained.labels).predicting(trained, Path(setup["out"]), request, device)
