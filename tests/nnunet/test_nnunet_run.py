"""A method's view of nnU-Net's training: batches, steps, sweeps, maps and trusted cases."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed: `make test-nnunet` runs this test")

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from tests.nnunet.test_nnunet_adapter import made

from debride.geometry.distance import BoundaryDistance
from debride.geometry.superpixels import Superpixels
from debride.methods.base import Look, Phase, Stream
from debride.methods.co_teaching import CoTeaching
from debride.methods.meta_dcseg import MetaDCSeg
from debride.nnunet import lower_scales
from debride.nnunet.adapter import as_network
from debride.nnunet.lower_scales import CoTeachingScales, GSDNetScales, SelfCleansingScales
from debride.nnunet.nnunet_run import NNUNetRun, Parts
from debride.nnunet.pixel_state import PixelState, PreprocessedCases
from debride.nnunet.placed_trainer import EachCaseLoader
from debride.nnunet.places import PlacedLoader, Places
from debride.nnunet.preprocessed_maps import PreprocessedMaps
from debride.types import IGNORE, DataError

PATCH = (16, 16)
SHAPES = {"a": (3, 30, 27), "b": (1, 12, 14), "c": (2, 20, 16)}


class Discs:
    """Volumes of slices with a bright disc of class 1, in it one of class 2, and a corner whose label is not given (3)."""

    def __init__(self, keys: tuple[str, ...] = tuple(SHAPES)) -> None:
        self.identifiers = list(keys)

    def load_case(self, key: str) -> tuple[Any, Any, None, dict[str, Any]]:
        shape, random = SHAPES[key], np.random.default_rng(len(key))
        _, y, x = np.indices(shape)
        distance = np.hypot(y - shape[1] / 2, x - shape[2] / 2)
        label = (distance < shape[2] / 3).astype(np.int16) + (distance < shape[2] / 6)
        label[:, :2, :2] = 3
        label[:, -1] = -1
        image = (label + random.normal(0, 0.3, shape)).astype(np.float32)[None]
        return image, label[None], None, {"class_locations": {c: np.argwhere(label[None] == c) for c in (1, 2)}}


def loader(kind: Any = PlacedLoader, size: int = 4, keys: tuple[str, ...] = tuple(SHAPES), patch: Any = PATCH) -> Any:
    axes, wide = tuple(range(len(patch))), tuple(side + 5 for side in patch)
    transforms = nnUNetTrainer.get_training_transforms(np.array(patch), (-1.0, 1.0), None, axes, False, ignore_label=3)
    labels = SimpleNamespace(all_labels=[1, 2], has_ignore_label=False)
    return kind(Discs(keys), size, wide, patch, labels, 0.33, transforms=transforms)


def run_of(
    method: Any, folder: Path, *, maps: Any = None, trusted: tuple[str, ...] = (), patch: Any = PATCH, **config: Any
) -> Any:
    """A run of a method with these settings on the discs, and its networks."""
    network = made(method, dims=len(patch))
    network.configure(method.Config(**config))
    optimiser = torch.optim.SGD(network.parameters(), 0.01, momentum=0.99, nesterov=True, weight_decay=3e-5)
    cases = PreprocessedCases(Discs(), len(patch) == 2, 3)
    parts = Parts(
        network.method,
        optimiser,
        None,
        torch.device("cpu"),
        cases,
        PixelState(network.method.fields(), cases, folder),
        PreprocessedMaps(maps or {}, cases, (2.0, 1.0, 2.0)[-len(patch) :], folder / "maps"),
        patch,
        3,
        cases.rows_of(trusted),
        lambda size: iter(loader(EachCaseLoader, size, trusted, patch)),
    )
    return NNUNetRun(parts, 10, seed=1), network


def test_a_batch_is_what_a_step_receives(tmp_path: Path) -> None:
    run, _ = run_of(CoTeachingScales, tmp_path, trusted=("b",))
    batch = next(loader())
    views = run.batch(batch, (Look(), Look(), Look("none")))
    assert torch.equal(views.image, batch["data"])
    given = batch["target"][:, 0]
    assert torch.equal(views.label == IGNORE, given == 3)
    assert torch.equal(views.label[given != 3], given[given != 3].long())
    assert [run.parts.cases.keys[row] for row in views.index] == list(batch["keys"])
    assert run.parts.cases.parts[views.index].tolist() == batch["slices"].tolist()
    assert views.trusted.tolist() == [key == "b" for key in batch["keys"]]
    assert torch.equal(views.views[2].image, views.image)
    for one, other in zip(views.image, views.views[1].image, strict=True):  # contrast and brightness: a line
        slope = ((other - other.mean()) * (one - one.mean())).sum() / ((one - one.mean()) ** 2).sum()
        assert torch.allclose(other, slope * (one - one.mean()) + other.mean(), atol=1e-4)
    assert not torch.equal(views.views[1].image, views.image)


def test_a_step_is_that_of_debrides_own_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Co-teaching in nnU-Net and by itself: the same loss, clipping and SGD on the same tensors give the same weights."""
    monkeypatch.setattr(lower_scales, "scale_weights", lambda number: [1.0] + [0.0] * (number - 1))
    run, network = run_of(CoTeachingScales, tmp_path, noise_rate=0.4)
    twins = copy.deepcopy(list(network.networks.values()))
    pair = iter(twins)
    method = CoTeaching(CoTeaching.Config(noise_rate=0.4), lambda: as_network(next(pair)), 3)
    optimiser = torch.optim.SGD(method.parameters(), 0.01, momentum=0.99, nesterov=True, weight_decay=3e-5)
    batches = loader()
    run.epoch = 4
    for step in range(3):
        batch = next(batches)
        value = run.train(batch)
        label = batch["target"][:, 0].long()
        tensors = SimpleNamespace(
            image=batch["data"], label=label.where(label != 3, IGNORE), trusted=torch.zeros(4, dtype=torch.bool)
        )
        stub = SimpleNamespace(epoch=4, epochs=10, trusted=run.trusted, log=lambda **_: None)
        loss = torch.stack(list(method.loss(tensors, stub).values())).sum()  # type: ignore[arg-type]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), 12)
        optimiser.step()
        assert torch.equal(value, loss.detach()), step
    ours, theirs = (torch.nn.utils.parameters_to_vector(each.parameters()) for each in (network.method, method))
    assert torch.equal(ours, theirs)
    assert run.epoch_means()["left_out"] > 0
    assert run.epoch_means() == {}


def test_a_sweep_shows_slices_as_they_were_preprocessed(tmp_path: Path) -> None:
    """Large slices by windows, small ones at once; probabilities are the method's, features one network's."""
    run, network = run_of(SelfCleansingScales, tmp_path)
    rows = [(swept.rows.tolist(), swept) for swept in run.sweep(run.own)]
    assert [row for row, _ in rows] == [[row] for row in range(6)]
    image, label, _, _ = Discs().load_case("b")
    swept = rows[3][1]
    assert torch.equal(swept.image[0], torch.from_numpy(image[:, 0]))
    assert (swept.label[0].numpy() == np.where(label[0, 0] == 3, IGNORE, np.maximum(label[0, 0], 0))).all()
    with torch.no_grad():
        expected = as_network(network.networks["network"])(swept.image).softmax(dim=1)
    assert torch.allclose(swept.probability, expected, atol=1e-6)
    assert torch.allclose(rows[0][1].probability.sum(dim=1), torch.ones(1, 30, 27), atol=1e-5)
    of_network = next(run.sweep(np.array([0]), run.parts.method.network))
    assert of_network.features.shape == (1, 4, 30, 27)
    assert torch.allclose(of_network.probability, rows[0][1].probability, atol=1e-5)


def test_labels_are_cleansed_and_kept(tmp_path: Path) -> None:
    """Deep Self-cleansing begins an epoch: every slice has losses and a pseudo-label, which a patch shows in the next step."""
    run, _ = run_of(SelfCleansingScales, tmp_path, warm_up=0.0, settled=0.0, every=1, filter=False, cleanse="predictions")
    run.parts.method.start_epoch(run)
    assert (run.store.read("source", range(6)) == 2).all()
    batch = next(loader())
    views = run.batch(batch, run.plan().looks)
    stored = run.store.read("pseudo", [int(views.index[0])], shape=run.parts.cases.shapes[int(views.index[0])])
    inside = views.fields["pseudo"][0]
    assert set(inside.unique().tolist()) - {IGNORE} <= set(stored.unique().long().tolist())
    assert torch.isfinite(run.train(batch))


def test_weights_are_learnt_by_looking_ahead(tmp_path: Path) -> None:
    """MetaDCSeg in patches: the stored weights of the slices that were seen change, others do not."""
    torch.manual_seed(0)
    run, _ = run_of(MetaDCSeg, tmp_path, trusted=("b", "c"), warm_up=0.0, start=0.0, few=0, trusted_batch=2, edges="none")
    run.parts.method.start_epoch(run)
    batch = next(loader(size=2))
    rows = run.parts.cases.rows(Places.of(batch)).tolist()
    assert torch.isfinite(run.train(batch))
    changed = [row for row in range(6) if run.store.read("alpha", [row]).abs().max() > 0]
    assert changed == sorted(set(rows))


@pytest.mark.parametrize(
    ("method", "maps", "config"),
    [
        (GSDNetScales, GSDNetScales(GSDNetScales.Config(), nn.Identity, 3).maps(), {"search": 0.0, "warm_up": 0.0}),
        (SelfCleansingScales, {}, {"warm_up": 0.0, "settled": 0.0, "every": 1, "filter": False}),
        (MetaDCSeg, {}, {"warm_up": 0.0, "start": 0.0, "few": 0, "trusted_batch": 2, "edges": "none"}),
    ],
)
def test_methods_take_volumes(tmp_path: Path, method: Any, maps: Any, config: Any) -> None:
    """Two epochs on patches of volumes: rows are cases, and label state has their axes."""
    patch = (4, 16, 16)
    torch.manual_seed(0)
    run, _ = run_of(method, tmp_path, maps=maps, trusted=("b", "c"), patch=patch, **config)
    assert run.cases == 3
    before = [run.store.read(field.name, [0]) for field in run.store.pixel_fields]
    for run.epoch in range(2):
        run.parts.method.train()
        run.parts.method.start_epoch(run)
        run.looks = run.plan().looks
        batch = next(loader(keys=("a",), size=2, patch=patch))
        assert torch.isfinite(run.train(batch))
        run.parts.method.end_epoch(run)
    for field, was in zip(run.store.pixel_fields, before, strict=True):
        assert was.shape == (1, *SHAPES["a"])
        assert not torch.equal(run.store.read(field.name, [0]), was), field.name


def test_a_batch_of_trusted_cases_has_each_of_them(tmp_path: Path) -> None:
    run, _ = run_of(MetaDCSeg, tmp_path, trusted=("b", "c"))
    assert run.trusted.tolist() == [3, 4, 5]
    batch = run.trusted_batch(2)
    assert sorted(run.parts.cases.keys[row] for row in batch.index) == ["b", "c"]
    assert batch.trusted.all()


@pytest.mark.parametrize(
    "phases",
    [
        (Phase(), Phase()),
        (Phase(streams=(Stream(), Stream())),),
        (Phase(looks=(Look(), Look(own_warp=True))),),
    ],
)
def test_plans_that_nnunet_has_no_batches_for_are_refused(tmp_path: Path, phases: Any) -> None:
    run, _ = run_of(CoTeachingScales, tmp_path)
    run.parts.method.plan = lambda run: phases
    with pytest.raises(DataError, match=r"^CoTeachingScales: asks for several phases, .* `debride train`"):
        run.plan()


def test_maps_follow_the_patch_and_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances and superpixels of a slice show in a patch at the nearest pixel of the warp; a second training reads them."""
    maps = {"distances": BoundaryDistance(), "superpixels": Superpixels(4, 10.0)}
    run, _ = run_of(CoTeachingScales, tmp_path, maps=maps)
    batch = next(loader())
    places, seen = Places.of(batch), run.batch(batch, (Look(),)).maps
    assert seen["superpixels"].dtype == torch.int64
    for number, row in enumerate(run.parts.cases.rows(places)):
        label, image = run.parts.cases.label(row), run.parts.cases.image(row)
        whole = {"distances": maps["distances"](label, (1.0, 2.0)), "superpixels": maps["superpixels"](image, (1.0, 2.0))}
        zoom = float(places.warp.zoom[number])
        for i, j in np.ndindex(*PATCH):
            place = places.warp.matrix[number] @ torch.tensor([i, j, 1.0]).double() + places.origin[number]
            y, x = (int(p) for p in ((place * 1024).round() / 1024 + 0.5).floor())
            inside = 0 <= y < label.shape[0] and 0 <= x < label.shape[1]
            expected = whole["distances"][y, x] * zoom if inside else 0
            assert float(seen["distances"][number, i, j]) == pytest.approx(float(expected), rel=1e-4)
            assert int(seen["superpixels"][number, i, j]) == (whole["superpixels"][y, x] if inside else -1)
    monkeypatch.setattr(BoundaryDistance, "__call__", lambda *_: pytest.fail("made again"))
    PreprocessedMaps({"distances": BoundaryDistance()}, run.parts.cases, (1.0, 2.0), tmp_path / "maps")
