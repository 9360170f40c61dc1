"""The table of tasks: what the loop asks of a task, and what a method may refuse."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from tests.training_jobs import small_class_job, small_job

from debride.batch import Batch, View
from debride.data.loader import Raw, Selection
from debride.methods import METHODS, methods_for
from debride.methods.base import BOTH_TASKS, Method, Swept
from debride.methods.ce import CrossEntropy
from debride.networks import Network
from debride.training.config import TrainConfig
from debride.training.fit import fit
from debride.training.job import Job, refuse_method
from debride.training.predict import load_run, predict_folder
from debride.training.run import TrainingRun
from debride.training.task import TASKS
from debride.training.trained import Predicted
from debride.types import Case, DataError, Dataset
from debride.warp import Warp

# A third task: to tell even from odd numbers, of cases that are numbers.


@dataclass(frozen=True)
class Numbers:
    """Cases that are their row's number."""

    cases: tuple[Case, ...]
    channels: int = 1

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((),) * len(self)

    def __len__(self) -> int:
        return len(self.cases)

    def fingerprint(self, row: int) -> list[object]:
        return [self.cases[row].id, row]


class ParityRun(TrainingRun[Numbers]):
    """A training on numbers."""

    def set_views(self, augmentation: Parities.augmentation) -> None:
        self.seen = augmentation

    def raw_batches(self, selections: list[Selection], seed: int) -> Iterator[Raw]:  # type: ignore[override]
        for selection in selections:
            rows = torch.from_numpy(selection.rows)
            yield Raw(selection, (rows % 2).float()[:, None, None, None], rows % 2, None)

    def make_batch(self, raw: Raw, looks: object, seed: int) -> Batch:
        rows = torch.from_numpy(raw.selection.rows)
        view = View(raw.image, raw.label, Warp.identity(len(rows), (1, 1)), None, {})
        return Batch((view,), rows, torch.zeros_like(rows), torch.zeros(len(rows), dtype=torch.bool), {})

    def sweep(self, rows: Any, network: Network | None = None) -> Iterator[Swept]:
        raise AssertionError("plain cross-entropy does not sweep")


class Parities:
    """The task of telling even from odd numbers."""

    @dataclass(frozen=True)
    class augmentation:  # noqa: N801
        """No view differs."""

    config = TrainConfig
    measure, shown_measure, predicted, cleanses, run = "right", "share right", "parities", False, ParityRun
    calibrates = False
    takes_unlabelled = False
    methods = ()
    asked: ClassVar[list[str]] = []

    def refuse(self, dataset: Dataset, config: TrainConfig) -> None:
        self.asked.append("refuse")
        if config.patch_size:
            raise DataError("--patch-size", "is not for numbers", "Leave it out.")

    def outputs(self, labels: Dataset) -> tuple[int, int]:
        return len(labels.classes), len(labels.classes)

    def network(self, config: TrainConfig, ndim: int, channels: int, classes: int) -> Network:
        return Network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels, classes)))

    def prepare(self, dataset: Dataset, config: TrainConfig, cache: Path, jobs: int = 1) -> tuple[Numbers, Numbers]:
        self.asked.append("prepare")
        return Numbers(dataset.of("train")), Numbers(dataset.of("val"))

    def with_extras(self, train: Numbers, *_: object) -> Numbers:
        self.asked.append("with_extras")
        return train

    def refuse_prepared(self, *_: object) -> None:
        self.asked.append("refuse_prepared")

    def warn(self, *_: object) -> None:
        self.asked.append("warn")

    def description(self, train: Numbers) -> dict[str, Any]:
        return {"largest": len(train) - 1}

    def validate(self, method: Any, val: Numbers, config: TrainConfig, fabric: object) -> dict[str, Any]:
        image = (torch.arange(len(val)) % 2).float()[:, None, None, None]
        right = method.eval().predict(image).argmax(dim=1) == torch.arange(len(val)) % 2
        return {"right": float(right.float().mean())}

    def write_cleansed(self, *_: object) -> None:
        raise AssertionError("``cleanses`` says that this is not called")

    def predict(self, trained: Any, source: Path, out: Path, request: Any, device: object) -> Predicted:
        out.mkdir()
        probability = trained.method.predict(torch.tensor([0.0, 1.0])[:, None, None, None])
        (out / "parities.txt").write_text(str(probability.argmax(dim=1).tolist()))
        return Predicted(2)


@pytest.fixture
def parity_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A training of the third task, which nothing in the package knows of."""
    monkeypatch.setitem(TASKS, "parity", Parities())
    monkeypatch.setattr(CrossEntropy, "tasks", BOTH_TASKS | {"parity"})
    monkeypatch.setattr(Parities, "asked", [])
    cases = [Case(f"n{number}", (), None, f"n{number}", "val" if number > 15 else "train") for number in range(20)]
    dataset = Dataset(tmp_path / "numbers", "folder", ("even", "odd"), tuple(cases), 2, task="parity")  # type: ignore[arg-type]
    return Job(
        dataset=dataset,
        method="ce",
        method_config=CrossEntropy.Config(),
        config=TrainConfig(epochs=10, batch_size=4, learning_rate=0.5, device="cpu", log_to=()),
        augmentation=Parities.augmentation(),
        out=tmp_path / "run",
        cache=tmp_path / "cache",
    )


def test_a_third_task_passes_through_the_loop(parity_job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    fit(parity_job)
    assert Parities.asked == ["refuse", "prepare", "with_extras", "refuse_prepared", "warn"]
    rows = [json.loads(line) for line in (parity_job.out / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 10 and rows[-1]["val"] == {"right": 1.0} and rows[-1]["best"]["right"] == 1.0
    assert "val share right 1.0000 (best 1.0000 at" in capsys.readouterr().out
    described = json.loads((parity_job.out / "run.json").read_text())
    assert described["task"] == "parity" and described["largest"] == 15 and described["val"][0] == ["n16", 0]


@pytest.mark.parametrize(("on_gpu", "bad", "steps"), [(False, 1, 2), (True, 1, 3), (True, 3, 4)])
def test_a_loss_that_is_not_finite_is_looked_at_a_step_later_on_a_gpu(
    on_gpu: bool, bad: int, steps: int, parity_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[list[int]] = []

    def step(method: CrossEntropy, batch: Batch, run: TrainingRun[Numbers]) -> None:
        rows.append(batch.index.tolist())
        run.optimise(method.network(batch.image).sum() * (math.nan if run.step == bad else 1))

    monkeypatch.setattr(CrossEntropy, "step", step)
    monkeypatch.setattr(TrainingRun, "on_gpu", property(lambda _: on_gpu, lambda *_: None), raising=False)
    with pytest.raises(DataError, match=f"epoch 1, step {bad + 1}: the loss is nan on the cases") as refusal:
        fit(parity_job)
    assert len(rows) == steps and ", ".join(f"n{row}" for row in rows[bad]) in str(refusal.value)
    assert not (parity_job.out / "weights").exists()


def test_a_third_task_is_resumed_and_predicted_with(parity_job: Job, tmp_path: Path) -> None:
    fit(parity_job)
    fit(replace(parity_job, resume=True))
    assert load_run(parity_job.out, "best", torch.device("cpu")).labels.task == "parity"
    assert predict_folder(parity_job.out, tmp_path / "numbers", tmp_path / "out", device="cpu").count == 2
    assert (tmp_path / "out" / "parities.txt").read_text() == "[0, 1]"


def test_a_third_task_refuses_before_anything_is_written(parity_job: Job) -> None:
    with pytest.raises(DataError, match="--patch-size: is not for numbers"):
        fit(replace(parity_job, config=replace(parity_job.config, patch_size=(2, 2))))
    with pytest.raises(DataError, match=r"job: has a TrainConfig for classification. Give a ClassTrainConfig"):
        fit(replace(parity_job, dataset=replace(parity_job.dataset, task="classification")))
    assert not parity_job.out.exists()


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_a_task_that_does_not_exist_is_named(task: str, tmp_path: Path) -> None:
    job = (small_job if task == "segmentation" else small_class_job)(tmp_path, "ce", epochs=1)
    fit(job)
    described = json.loads((job.out / "run.json").read_text())
    assert described["task"] == task
    (job.out / "run.json").write_text(json.dumps({**described, "task": "detection"}))
    with pytest.raises(DataError, match=r"run.json: is for the task 'detection'.*Tasks are: segmentation, classification"):
        load_run(job.out, "last", torch.device("cpu"))


# What a method refuses.


def test_a_method_refuses_tasks_that_it_is_not_for() -> None:
    for name, method in METHODS.items():
        for task in TASKS:
            refusal = method.refuses(task, method.Config())
            assert (refusal is None) == (task in method.tasks) == (name in methods_for(task))


def test_cross_entropy_refuses_dice_of_classes() -> None:
    assert CrossEntropy.refuses("segmentation", CrossEntropy.Config(dice=True)) is None
    assert CrossEntropy.refuses("classification", CrossEntropy.Config(dice=False)) is None
    with pytest.raises(DataError, match=r"^`dice`: is for segmentation, and the data set is for classification. Leave it out"):
        refuse_method("ce", "classification", CrossEntropy.Config(dice=True))


def test_a_refusal_names_the_method_its_place_and_what_there_is_instead() -> None:
    config = METHODS["elr"].Config()
    with pytest.raises(DataError, match=r"^method elr: is not for segmentation.*Methods that are: ce, gce"):
        refuse_method("elr", "segmentation", config)
    with pytest.raises(DataError, match=r"^a grid: is not for segmentation"):
        refuse_method("elr", "segmentation", config, "a grid")
    with pytest.raises(DataError, match=r"^a grid: dice: is for segmentation"):
        refuse_method("ce", "classification", CrossEntropy.Config(dice=True), "a grid")


def test_a_methods_own_refusal_ends_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = DataError("a lemon", "is sour", "Sweeten it.")
    monkeypatch.setattr(CrossEntropy, "refuses", classmethod(lambda cls, task, config: refusal))
    with pytest.raises(DataError, match=r"^a lemon: is sour. Sweeten it.$"):
        fit(small_job(tmp_path, "ce"))


def test_runs_are_made_of_their_tasks_sets() -> None:
    assert {name: task.run.__name__ for name, task in TASKS.items()} == {
        "segmentation": "SegmentationRun",
        "classification": "ClassificationRun",
        "regions": "RegionRun",
    }
    assert {name: (task.measure, task.shown_measure) for name, task in TASKS.items()} == {
        "segmentation": ("dice", "Dice"),
        "classification": ("accuracy", "accuracy"),
        "regions": ("dice", "Dice"),
    }


def test_methods_that_look_ahead_say_at_how_many_cases() -> None:
    wanted = {name for name, method in METHODS.items() if "trusted_batch" in method.Config.__dataclass_fields__}
    saying = {name for name, method in METHODS.items() if method.look_ahead_cases is not Method.look_ahead_cases}
    assert saying == wanted == {"l2b", "mw-net", "meta-dcseg", "dcd", "dcd-seg"}
