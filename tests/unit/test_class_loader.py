"""Batches for classification: which views an image has, and that they are the image's own, whatever batch it is in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from debride.batch import Batch
from debride.data.augment import Strength
from debride.data.augmentation import ClassAugmentation
from debride.data.classes.class_cache import PreparedClasses, network_input
from debride.data.classes.class_loader import make_class_batch, read_classes
from debride.data.loader import Selection, read_ahead, select
from debride.state import Field, LabelState
from debride.types import IGNORE, Case

CPU = torch.device("cpu")
N, SIDE = 12, 16
FIELDS = (
    Field("loss", "case"),
    Field("target", "case", channels=(3,)),
    Field("soft", "pixel", channels=(2,)),
    Field("mark", "case", dtype="uint8", initial=7),
)
WEAK: Sequence[tuple[Strength, bool]] = [("weak", True)]


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedClasses:
    """Images whose pixels are all different from 0, so that what a shift brings in can be told."""
    images = np.random.default_rng(0).integers(1, 256, (N, 3, SIDE, SIDE), np.uint8)
    np.save(tmp_path / "images.npy", images)
    cases = tuple(Case(f"case{row}", (), None, f"case{row}", target=row % 3) for row in range(N))
    targets = np.array([row % 3 if row != 4 else IGNORE for row in range(N)])
    return PreparedClasses(cases, 3, (SIDE, SIDE), tmp_path / "images.npy", targets)


def store_of(count: int = N) -> LabelState:
    return LabelState(FIELDS, ((),) * count, None)


def chosen(rows: Sequence[int], draw: Sequence[int] | None = None) -> Selection:
    index = np.array(rows)
    return Selection(index, index % 2, index if draw is None else np.array(draw))


def batch_of(
    prepared: PreparedClasses,
    rows: Sequence[int],
    looks: Sequence[tuple[Strength, bool]] = WEAK,
    seed: int = 0,
    augmentation: ClassAugmentation | None = None,
    store: LabelState | None = None,
    draw: Sequence[int] | None = None,
) -> Batch:
    raw = read_classes(prepared, chosen(rows, draw))
    trusted = np.arange(N) % 3 == 0
    return make_class_batch(raw, looks, augmentation or ClassAugmentation(), store or store_of(), trusted, seed, CPU)


def image_of(prepared: PreparedClasses, rows: Sequence[int]) -> Tensor:
    return network_input(torch.from_numpy(prepared.images(np.array(rows))))


def places(view: Tensor, image: Tensor, pad: int) -> list[tuple[int, int, bool]]:
    """Every shift and mirroring of an image (C, H, W), with zeros from outside, that gives the view."""
    found = []
    source = ((image + 1) * 127.5).round().long()
    target = ((view + 1) * 127.5).round().long()
    for mirrored in (False, True):
        flipped = source.flip(2) if mirrored else source
        for down in range(-pad, pad + 1):
            for across in range(-pad, pad + 1):
                wide = torch.nn.functional.pad(flipped, (pad, pad, pad, pad))
                moved = wide[:, pad + down : pad + down + SIDE, pad + across : pad + across + SIDE]
                if torch.equal(moved, target):
                    found.append((down, across, mirrored))
    return found


def test_a_batch(prepared: PreparedClasses) -> None:
    rows = [5, 0, 4, 11]
    batch = batch_of(prepared, rows, [("weak", True), ("strong", True)])
    assert batch.index.tolist() == rows and batch.stream.tolist() == [1, 0, 0, 1]
    assert batch.trusted.tolist() == [False, True, False, False] and len(batch) == 4
    for view in batch.views:
        assert view.image.shape == (4, 3, SIDE, SIDE) and view.image.dtype == torch.float32
        assert float(view.image.min()) >= -1 and float(view.image.max()) <= 1
        assert view.label.dtype == torch.int64 and view.label.tolist() == [2, 0, IGNORE, 2]
        assert view.maps == {} and view.origin is None


def test_none_is_the_image_itself(prepared: PreparedClasses) -> None:
    rows = [3, 1, 4]
    batch = batch_of(prepared, rows, [("none", False), ("none", True), ("weak", True), ("none", True)])
    for number in (0, 1, 3):
        assert torch.equal(batch.views[number].image, image_of(prepared, rows))
    assert not torch.equal(batch.views[2].image, image_of(prepared, rows))


def test_weak_is_a_shift_and_a_mirror_image(prepared: PreparedClasses) -> None:
    """Of at most an eighth of the side: two of 16 pixels; all of them are different from image to image."""
    rows = list(range(8))
    batch = batch_of(prepared, rows)
    found = [places(view, image, 3) for view, image in zip(batch.image, image_of(prepared, rows), strict=True)]
    assert all(len(each) == 1 for each in found)
    assert {max(abs(down), abs(across)) for ((down, across, _),) in found} <= {0, 1, 2}
    assert len({each[0] for each in found}) > 4


def test_views_share_the_first_warp_or_have_their_own(prepared: PreparedClasses) -> None:
    rows = list(range(N))
    looks: list[tuple[Strength, bool]] = [("weak", False), ("weak", False), ("weak", True), ("strong", False), ("strong", True)]
    views = [view.image for view in batch_of(prepared, rows, looks).views]
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    plain = ClassAugmentation(policy="none")
    views = [view.image for view in batch_of(prepared, rows, looks, augmentation=plain).views]
    assert torch.equal(views[0], views[3]), "without a policy a strong view differs from the first by its warp alone"
    assert not torch.equal(views[0], views[4]) and not torch.equal(views[2], views[4])


def test_strong_differs(prepared: PreparedClasses) -> None:
    rows = list(range(N))
    looks: list[tuple[Strength, bool]] = [("weak", True), ("strong", False), ("strong", False), ("strong", True)]
    views = [view.image for view in batch_of(prepared, rows, looks).views]
    for one, other in ((0, 1), (0, 2), (1, 2), (1, 3)):
        differing = sum(not torch.equal(a, b) for a, b in zip(views[one], views[other], strict=True))
        assert differing > N / 2, (one, other)


def test_a_view_depends_on_seed_and_row_alone(prepared: PreparedClasses) -> None:
    """Not on the batch, its order, or the other views; a second visit in an epoch is drawn anew."""
    looks: list[tuple[Strength, bool]] = [("weak", True), ("strong", True), ("strong", False)]
    whole = batch_of(prepared, list(range(N)), looks, seed=3)
    for rows in ([7], [7, 2], [2, 7, 11, 0], [7, 7]):
        part = batch_of(prepared, rows, looks, seed=3)
        for mine, full in zip(part.views, whole.views, strict=True):
            assert torch.equal(mine.image, full.image[rows])
    fewer = batch_of(prepared, list(range(N)), looks[:2], seed=3)
    assert torch.equal(fewer.views[1].image, whole.views[1].image)
    other = batch_of(prepared, list(range(N)), looks, seed=4)
    assert all(not torch.equal(a.image, b.image) for a, b in zip(other.views, whole.views, strict=True))
    again = batch_of(prepared, [5] * 8, draw=[5 + N * lap for lap in range(8)], seed=3)
    assert torch.equal(again.image[0], whole.image[5])
    assert len({tuple(image.flatten().tolist()) for image in again.image}) > 4


def test_without_augmentation(prepared: PreparedClasses) -> None:
    still = ClassAugmentation(policy="none", pad=0, mirror=False)
    batch = batch_of(prepared, [1, 2], [("weak", True), ("strong", True)], augmentation=still)
    assert all(torch.equal(view.image, image_of(prepared, [1, 2])) for view in batch.views)


def test_images_on_disk_are_not_changed(prepared: PreparedClasses) -> None:
    before = prepared.file.read_bytes()
    batch = batch_of(prepared, [0, 1], [("none", False), ("strong", True)])
    batch.image.zero_()
    batch.label.zero_()
    assert prepared.file.read_bytes() == before
    assert torch.equal(batch_of(prepared, [0, 1], [("none", False)]).image, image_of(prepared, [0, 1]))
    assert prepared.targets[:2].tolist() == [0, 1]


def test_label_state_comes_with_the_batch(prepared: PreparedClasses) -> None:
    store = store_of()
    store.write("loss", range(N), torch.arange(N) / 4)
    store.write("target", [2, 9], torch.tensor([[0.0, 1, 2], [3, 4, 5]]))
    store.write("soft", [9], torch.tensor([[0.25, 0.75]]))
    batch = batch_of(prepared, [9, 4, 2], [("weak", True), ("strong", True)], store=store)
    assert batch.cases["loss"].tolist() == [9 / 4, 1, 0.5]
    assert batch.cases["target"].tolist() == [[3, 4, 5], [0, 0, 0], [0, 1, 2]]
    assert batch.cases["mark"].tolist() == [7, 7, 7]
    assert set(batch.cases) == {"loss", "target", "mark"}
    for view in batch.views:
        assert view.fields["soft"].tolist() == [[0.25, 0.75], [0, 0], [0, 0]]


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("channels", [(), (3,), (2, 2)])
def test_values_per_case(channels: tuple[int, ...], dtype: Any) -> None:
    """Against a plain list of what each row was last given."""
    store = LabelState((Field("other", "case"), Field("value", "case", channels, dtype, 3)), ((),) * N, None)
    rng = np.random.default_rng(0)
    slow = [np.full(channels, 3.0, np.float32) for _ in range(N)]
    for turn in range(20):
        rows = rng.integers(0, N, 5)
        values = torch.from_numpy(rng.normal(100, 120, (5, *channels)).astype(np.float32))
        given = torch.from_numpy(rows) if turn % 2 else rows
        if turn % 3:
            store.write("value", given, values)
        else:
            store.add("value", given, values, clamp=(0, 200))
        for row, value in zip(rows, values.numpy(), strict=True):
            new = value if turn % 3 else np.clip(slow[row] + value, 0, 200)
            slow[row] = np.clip(np.rint(new), 0, 255) if dtype == "uint8" else new.astype(dtype).astype(np.float32)
        wanted = rng.integers(0, N, 7)
        found = store.read("value", wanted)
        assert found.dtype == torch.float32 and found.shape == (7, *channels)
        assert np.array_equal(found.numpy(), np.array([slow[row] for row in wanted]))
    assert store.read("other", range(N)).tolist() == [0] * N


def test_what_was_read_is_a_copy() -> None:
    store = store_of()
    for name in ("loss", "target", "mark"):
        store.read(name, [0, 1]).fill_(9)
    assert store.read("loss", [0]).tolist() == [0] and store.read("mark", [0]).tolist() == [7]


def test_an_epoch_read_ahead(prepared: PreparedClasses) -> None:
    """Every row once, with its own label."""
    selections = select([(np.arange(N), 5)], 0)
    raws = list(read_ahead(selections, lambda selection: read_classes(prepared, selection)))
    assert [len(raw.image) for raw in raws] == [5, 5, 2]
    rows = np.concatenate([raw.selection.rows for raw in raws])
    assert sorted(rows) == list(range(N))
    assert torch.cat([raw.label for raw in raws]).tolist() == prepared.targets[rows].tolist()
    assert np.array_equal(torch.cat([raw.image for raw in raws]).numpy(), prepared.images(rows))
