"""Cases in which one of two organs was drawn: what is not certain has no say in any loss, nor in what is chosen by labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from lightning_fabric import Fabric
from tests.datasets import save_json, save_png
from torch import nn

from debride.batch import Batch
from debride.data.augmentation import Augmentation
from debride.data.cache import Prepared
from debride.data.check import find_problems
from debride.data.loader import Regions, Selection, read
from debride.data.masks.annotated import as_drawn, certain_ids, refuse_unlearnable
from debride.data.masks.foreground import prepare_foreground
from debride.data.masks.prepared_maps import prepare_maps
from debride.data.open import open_dataset
from debride.geometry.distance import BoundaryDistance
from debride.methods import METHODS, adele
from debride.methods.base import Method
from debride.methods.pick_and_learn import PickAndLearn
from debride.networks.network import Network
from debride.state import LabelState
from debride.training.config import TrainConfig
from debride.training.label_scores import merged
from debride.training.schedule import make_optimiser
from debride.training.segmentation import Segmentation, SegmentationRun
from debride.training.validate import validate
from debride.types import IGNORE, Case, DataError, Dataset

Label = npt.NDArray[np.uint8]
CLASSES = ["background", "liver", "spleen"]
CONFIG = TrainConfig(epochs=10, batch_size=4, device="cpu", log_to=(), foreground=0.5)
NAMES = [name for name, cls in METHODS.items() if "segmentation" in cls.tasks]


def two_organs(root: Path, drawn: dict[str, list[str]], n: int = 8, size: int = 12) -> Path:
    """Cases c0, c1, ... with a liver on the left and a spleen on the right; the label of a case holds both, whatever is said
    to be drawn. The last two are for validation."""
    rng = np.random.default_rng(0)
    label = np.zeros((size, size), np.uint8)
    label[2:8, 1:5], label[4:9, 7:11] = 1, 2
    for number in range(n):
        image = rng.integers(0, 60, (size, size, 3)) + 60 * np.roll(label, number % 2, axis=0)[..., None]
        save_png(root / "images" / f"c{number}.png", image.astype(np.uint8))
        save_png(root / "masks" / f"c{number}.png", np.roll(label, number % 2, axis=0))
    ids = [f"c{number}" for number in range(n)]
    save_json(root / "splits.json", {"train": ids[:-2], "val": ids[-2:]})
    save_json(root / "dataset.json", {"classes": CLASSES, "annotated": drawn, "trusted": ["c0", "c1"]})
    return root


HALF = {"c0": ["liver"], "c2": ["liver"], "c4": ["background", "spleen"], "c6": ["liver"]}


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(two_organs(tmp_path_factory.mktemp("two") / "data", HALF))


@pytest.fixture(scope="module")
def prepared(half: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Prepared]:
    return Segmentation().prepare(half, CONFIG, tmp_path_factory.mktemp("cache"))


def stored(train: Prepared, row: int) -> Label:
    file = train.label_files[row]
    assert file is not None
    return cast(Label, np.load(file))


def test_what_counts_in_training() -> None:
    whole = Case("a", (), None, "a")
    assert certain_ids(whole) is None
    table = certain_ids(replace(whole, annotated=(0, 2)))
    assert table is not None and table[[0, 1, 2, IGNORE]].tolist() == [0, IGNORE, 2, IGNORE]


def test_a_batch_has_what_is_certain_and_the_cache_all(prepared: tuple[Prepared, Prepared]) -> None:
    train, val = prepared
    rows = np.arange(len(train))
    raw = read(train, Selection(rows, rows * 0, rows), Regions(None), 0)
    for row, case in enumerate(train.cases):
        label = stored(train, row)
        certain = {"c0": [1], "c2": [1], "c4": [0, 2]}.get(case.id, [0, 1, 2])
        np.testing.assert_array_equal(raw.label[row].numpy(), np.where(np.isin(label, certain), label, IGNORE))
        np.testing.assert_array_equal(train.label(row), raw.label[row].numpy())
    np.testing.assert_array_equal(val.label(0), stored(val, 0))


def test_patches_lie_on_drawn_classes_and_maps_are_of_what_is_certain(
    prepared: tuple[Prepared, Prepared], tmp_path: Path
) -> None:
    train = prepared[0]
    found = prepare_foreground(train, tmp_path)
    assert [set(found.foreground(row)[:, 0].tolist()) for row in (0, 1, 4)] == [{1}, {1, 2}, {2}]
    maps = prepare_maps(train, {"distances": BoundaryDistance()}, tmp_path)
    assert np.isinf(maps.map("distances", 0)).all() and not np.isinf(maps.map("distances", 1)).any()
    whole = replace(train, certain=())
    assert set(prepare_foreground(whole, tmp_path).foreground(0)[:, 0].tolist()) == {1, 2}
    assert train.fingerprint(0) != whole.fingerprint(0) and train.fingerprint(1) == whole.fingerprint(1)


def small_network() -> Network:
    """A network whose logits at a pixel depend on that pixel alone."""
    torch.manual_seed(0)
    return Network(nn.Sequential(nn.Conv2d(3, 6, 1), nn.Tanh(), nn.Conv2d(6, 5, 1)), nn.Conv2d(5, 3, 1), decoder=("2.",))


def run_of(name: str, train: Prepared, cache: Path) -> SegmentationRun:
    """A training of a method whose networks see single pixels."""
    cls: type[Method] = METHODS[name]
    method = cls(cls.Config(), small_network, len(CLASSES))
    train = Segmentation().with_extras(train, method, CONFIG, cache, False)
    fabric = Fabric(accelerator="cpu", devices=1)
    store = LabelState(method.fields(), train.shapes, None)
    return SegmentationRun(
        fabric, CONFIG, Augmentation.none(), method, make_optimiser(CONFIG, method.parameters()), train, store
    )


def batches(run: SegmentationRun) -> Iterator[Batch]:
    """The batches of an epoch, with images that take a gradient."""
    run.method.train()
    run.method.start_epoch(run)
    for number, phase in enumerate(run.method.plan(run)):
        for batch in run.batches(number, phase):
            views = tuple(replace(view, image=view.image.clone().requires_grad_()) for view in batch.views)
            yield replace(batch, views=views)


OF_TEACHERS = {"consistency", "teacher", "mixed_teacher"}
"""Terms that compare with a teacher, and with no label."""


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_certain_has_no_gradient(
    name: str, prepared: tuple[Prepared, Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = PickAndLearn.scores  # looks at the whole image to rate its label
    monkeypatch.setattr(PickAndLearn, "scores", lambda *arguments: scores(*arguments).detach())
    monkeypatch.setattr(adele, "SCALES", (1.0,))  # at another scale a pixel is mixed with its neighbours
    run = run_of(name, prepared[0], tmp_path)
    seen = 0
    for run.epoch in (0, 1, 9):
        for batch in batches(run):
            terms = run.method.loss(batch, run)
            of_labels = [value for term, value in terms.items() if term not in OF_TEACHERS]
            images = [view.image for view in batch.views]
            gradients = torch.autograd.grad(torch.stack(of_labels).sum(), images, allow_unused=True)
            gradient = sum(found.abs().sum(dim=1) for found in gradients if found is not None)
            assert isinstance(gradient, torch.Tensor)
            assert not gradient[batch.label == IGNORE].any()
            seen += int((gradient[batch.label != IGNORE] > 0).sum())
        run.method.end_epoch(run)
    assert seen


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_beneath_makes_no_difference(name: str, prepared: tuple[Prepared, Prepared], tmp_path: Path) -> None:
    def terms(train: Prepared, folder: Path) -> list[dict[str, float]]:
        run, found = run_of(name, train, folder), []
        for run.epoch in (0, 9):
            found += [
                {term: float(value.detach()) for term, value in run.method.loss(batch, run).items()} for batch in batches(run)
            ]
            run.method.end_epoch(run)
        return found

    train = prepared[0]
    files = []
    for row in range(len(train)):
        label = stored(train, row)
        beneath = train.label(row) == IGNORE  # background and spleen, where the liver alone was drawn
        files.append(tmp_path / f"label{row}.npy")
        np.save(files[-1], np.where(beneath & (label != 1), 2 - label, label))
    other = replace(train, label_files=tuple(files))
    assert (stored(other, 0) != stored(train, 0)).any()
    assert terms(train, tmp_path / "a") == terms(other, tmp_path / "b")


class Fixed(Method):
    """Predicts liver in the upper half and spleen below."""

    def build(self, make_network: Callable[[], Network]) -> None:
        pass

    def predict(self, image: torch.Tensor) -> torch.Tensor:
        ids = torch.ones(len(image), *image.shape[2:], dtype=torch.int64)
        ids[:, image.shape[2] // 2 :] = 2
        return nn.functional.one_hot(ids, 3).movedim(-1, 1).float()


def test_validation_leaves_out_what_was_not_drawn(prepared: tuple[Prepared, Prepared]) -> None:
    val = prepared[1]
    found = validate(Fixed(None, small_network, 3), val, CONFIG, Fabric(accelerator="cpu", devices=1))
    predicted = np.repeat([1, 2], 6)[:, None] * np.ones((12, 12), int)

    def dice(row: int, value: int) -> float:
        label = stored(val, row)
        both = ((label == value) & (predicted == value)).sum()
        return float(2 * both / ((label == value).sum() + (predicted == value).sum()))

    assert [case.annotated for case in val.cases] == [(1,), None]
    liver, spleen = (dice(0, 1) + dice(1, 1)) / 2, dice(1, 2)
    assert found["per_class"] == pytest.approx([liver, spleen])
    assert found["dice"] == pytest.approx((liver + spleen) / 2)


@pytest.mark.parametrize(
    ("drawn", "problem", "remedy"),
    [
        ({f"c{n}": ["liver"] for n in range(6)}, "in which spleen is annotated", "Add a case with it"),
        (
            {f"c{n}": [["liver"], ["spleen"]][n % 2] for n in range(6)},
            "no training case with a certain background",
            "Name background as annotated",
        ),
    ],
)
def test_sets_that_cannot_be_learnt_are_refused(tmp_path: Path, drawn: dict[str, list[str]], problem: str, remedy: str) -> None:
    root = two_organs(tmp_path / "data", drawn)
    with pytest.raises(DataError) as error:
        Segmentation().refuse(open_dataset(root), CONFIG)
    assert problem in error.value.problem and remedy in error.value.remedy
    assert any(problem in found.problem for found in find_problems(root))


def test_the_remedy_helps(tmp_path: Path) -> None:
    drawn = {f"c{n}": [["liver"], ["spleen"]][n % 2] for n in range(6)}
    root = two_organs(tmp_path / "data", {**drawn, "c0": ["background", "liver"]})
    refuse_unlearnable(open_dataset(root))
    assert not find_problems(root)


def test_cleansed_labels_keep_what_was_not_drawn() -> None:
    case = Case("a", (), None, "a", annotated=(1,))
    given = np.array([[0, 1, 1, 1, 2, 2]], np.uint8)
    working = np.array([[IGNORE, 1, 1, 1, IGNORE, IGNORE]], np.uint8)
    right = np.array([[IGNORE, 0, 2, 1, IGNORE, 1]], np.uint8)
    np.testing.assert_array_equal(merged(given, working, right, case=case), [[0, 0, 1, 1, 2, 2]])


def test_an_audit_sees_the_drawn_classes_alone() -> None:
    case = Case("a", (), None, "a", annotated=(1,))
    label = np.array([0, 1, 2], np.uint8)
    probability = np.array([[0.25, 0.5, 0.125], [0.25, 0.25, 0.125], [0.5, 0.25, 0.75]], np.float32)
    seen, shown = as_drawn(case, label, probability)
    assert seen.tolist() == [0, 1, IGNORE]
    np.testing.assert_array_equal(shown, [[0.75, 0.75, 0.875], [0.25, 0.25, 0.125], [0, 0, 0]])
    assert probability[2].any()
    whole = replace(case, annotated=None)
    assert as_drawn(whole, label, probability)[0] is label and as_drawn(whole, label, probability)[1] is probability


def test_the_toy_set_is_described(half: Dataset) -> None:
    described: Any = json.loads((half.root / "dataset.json").read_text())
    assert described["annotated"] == HALF
