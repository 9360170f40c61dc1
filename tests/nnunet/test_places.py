"""Places of patches against nnU-Net's own loader and transforms."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed: `make test-nnunet` runs this test")

from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform, ImageOnlyTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.rot90 import Rot90Transform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from debride.nnunet.pixel_state import PixelState, PreprocessedCases
from debride.nnunet.places import Placed, PlacedLoader, Places, keys_without_return, placed
from debride.state import Field
from debride.types import IGNORE, DataError

LABELS = SimpleNamespace(all_labels=[1], has_ignore_label=False)
SHAPES = {"a": (9, 40, 37), "b": (7, 21, 44)}


class Coordinates:
    """Cases whose images are the coordinates of their pixels, and one channel that is 1 throughout."""

    def __init__(self) -> None:
        self.identifiers = list(SHAPES)

    def load_case(self, key: str) -> tuple[Any, Any, None, dict[str, Any]]:
        shape = SHAPES[key]
        image = np.concatenate((np.indices(shape), np.ones((1, *shape)))).astype(np.float32)
        seg = (np.indices(shape).sum(axis=0)[None] % 3 == 0).astype(np.int16)
        return image, seg, None, {"class_locations": {1: np.argwhere(seg)}}


def seed(number: int) -> None:
    """Seeds what nnU-Net draws with."""
    np.random.seed(number)  # noqa: NPY002
    torch.manual_seed(number)


def pipeline(patch: tuple[int, ...], flat: bool, often: bool = True) -> Any:
    """nnU-Net's training transforms; ``often`` turns and zooms half of the patches."""
    made = nnUNetTrainer.get_training_transforms(
        np.array(patch), (-3.0, 3.0), [[1.0] * len(patch), [0.5] * len(patch)], tuple(range(len(patch))), flat
    )
    if often:
        for inner in made.transforms:
            if isinstance(inner, SpatialTransform):
                inner.p_rotation = inner.p_scaling = 0.5
    return made


def loader(kind: Any, patch: tuple[int, ...], wide: tuple[int, ...], transforms: Any) -> Any:
    return kind(Coordinates(), 6, wide, patch, LABELS, oversample_foreground_percent=0.33, transforms=transforms)


CONFIGURATIONS = [
    pytest.param((16, 20), (25, 33), False, id="2d"),
    pytest.param((8, 16, 20), (13, 24, 31), False, id="3d"),
    pytest.param((4, 16, 20), (4, 25, 32), True, id="flat"),
]


@pytest.mark.parametrize(("patch", "wide", "flat"), CONFIGURATIONS)
def test_coordinates_lie_where_their_place_says(patch: tuple[int, ...], wide: tuple[int, ...], flat: bool) -> None:
    """Coordinates that went through nnU-Net's transforms are those that the matrix gives, wherever no outside is mixed in."""
    made = pipeline(patch, flat)
    made.transforms = [t for t in made.transforms if not isinstance(t, RandomTransform)]  # which change intensities alone
    batches = loader(PlacedLoader, patch, wide, made)
    seed(3)
    exact = compared = 0
    for batch in (next(batches) for _ in range(8)):
        places, d = Places.of(batch), len(patch)
        pixel = torch.from_numpy(np.indices(patch).reshape(d, -1)).double()
        source = places.warp.matrix[:, :, :d] @ pixel + places.warp.matrix[:, :, d:] + places.origin[:, :, None]
        seen = batch["data"].flatten(2)
        for number, key in enumerate(places.keys):
            inside = (seen[number, 3] - 1).abs() < 1e-5
            close = [(source[number, a] >= 0) & (source[number, a] <= SHAPES[key][3 - d + a] - 1) for a in range(d)]
            inside &= torch.stack(close).all(dim=0)
            shown = seen[number, 3 - d : 3, inside].double()
            assert torch.allclose(shown, source[number][:, inside], atol=2e-3), (key, number)
            compared += int(inside.sum())
            exact += bool((source[number] == source[number].round()).all())
            if places.slices is not None:
                assert ((seen[number, 0, inside] - places.slices[number]).abs() < 1e-3).all()
    assert compared > 1000
    assert 0 < exact < 48  # some are cut out at whole pixels, others are turned or zoomed


@pytest.mark.parametrize(("patch", "wide", "flat"), CONFIGURATIONS)
def test_a_batch_is_that_of_nnunet_bit_for_bit(patch: tuple[int, ...], wide: tuple[int, ...], flat: bool) -> None:
    """The same draws, images and labels as nnU-Net's own loader and transforms, and the warp carries the image to the patch."""
    batches = []
    for kind in (nnUNetDataLoader, PlacedLoader):
        seed(5)
        made = loader(kind, patch, wide, pipeline(patch, flat))
        batches.append([next(made) for _ in range(3)])
    for theirs, ours in zip(*batches, strict=True):
        assert list(theirs["keys"]) == list(ours["keys"])
        assert torch.equal(theirs["data"], ours["data"])
        assert all(torch.equal(a, b) for a, b in zip(theirs["target"], ours["target"], strict=True))


def test_a_place_survives_processes() -> None:
    """Batches come through nnU-Net's background processes with the places of their own samples."""
    made = pipeline((16, 20), False)
    made.transforms = [t for t in made.transforms if not isinstance(t, RandomTransform)]
    workers = NonDetMultiThreadedAugmenter(loader(PlacedLoader, (16, 20), (25, 33), made), None, 2, 2, pin_memory=True)
    try:
        batch = next(workers)
        places = Places.of(batch)
        middle = places.warp.matrix @ torch.tensor([8.0, 10.0, 1.0]).double() + places.origin
        inside = (batch["data"][:, 3, 8, 10] - 1).abs() < 1e-5
        assert inside.any()
        assert torch.allclose(batch["data"][inside, 1:3, 8, 10].double(), middle[inside], atol=2e-3)
    finally:
        workers._finish()


def test_the_warp_carries_what_nnunet_carried() -> None:
    """State that holds a coordinate shows it in the patch as nnU-Net's own interpolation does."""
    made = pipeline((8, 16, 20), False)
    made.transforms = [t for t in made.transforms if not isinstance(t, RandomTransform)]
    batches = loader(PlacedLoader, (8, 16, 20), (13, 24, 31), made)
    seed(1)
    batch = next(batches)
    places, cases = Places.of(batch), PreprocessedCases(Coordinates(), flat=False, ignore=None)
    regions = torch.zeros(6, 4, *places.warp.source_shape)
    for number, row in enumerate(cases.rows(places)):
        whole = torch.from_numpy(cases.image(row))
        grid = [torch.arange(n) + int(o) for n, o in zip(places.warp.source_shape, places.origin[number], strict=True)]
        ok = [(g >= 0) & (g < n) for g, n in zip(grid, whole.shape[1:], strict=True)]
        index = torch.meshgrid(*[g.clamp(0, n - 1) for g, n in zip(grid, whole.shape[1:], strict=True)], indexing="ij")
        inside = torch.meshgrid(*ok, indexing="ij")
        regions[number] = whole[:, index[0], index[1], index[2]] * (inside[0] & inside[1] & inside[2])
    assert torch.allclose(places.warp.sample(regions), batch["data"], atol=0.05)


class Turning(BasicTransform):
    """A transform of a user's own, of which nothing is known."""

    def _apply_to_image(self, image: torch.Tensor, **_: Any) -> torch.Tensor:
        return image.flip(1)


class Brightening(ImageOnlyTransform):
    """One that changes images alone."""

    def _apply_to_image(self, image: torch.Tensor, **_: Any) -> torch.Tensor:
        return image + 1


def test_what_moves_pixels_in_unknown_ways_is_left_out_by_name() -> None:
    """Others stay as they are, and a transform that is given is not changed."""
    elastic = SpatialTransform((8, 8), 0, False, p_elastic_deform=1.0)
    turn = RandomTransform(Rot90Transform(1, allowed_axes={0, 1}), 0.5)
    kept, left_out = placed(ComposeTransforms([elastic, turn, Turning(), Brightening(), MirrorTransform((0,))]))
    assert left_out == ("the elastic deformation of SpatialTransform", "Rot90Transform", "Turning")
    assert [type(inner) for inner in kept.transforms] == [Placed, Brightening, Placed]
    assert elastic.p_elastic_deform == 1.0
    assert kept.transforms[0].inner.p_elastic_deform == 0


def test_rows_are_cases_or_their_slices(tmp_path: Any) -> None:
    """Rows of a 2d configuration are slices; labels that nnU-Net cut away are background, those to ignore are IGNORE."""
    whole, flat = (PreprocessedCases(Coordinates(), flat=flat, ignore=1) for flat in (False, True))
    assert whole.shapes == tuple(SHAPES.values())
    assert len(flat) == 16
    assert flat.shapes == ((40, 37),) * 9 + ((21, 44),) * 7
    assert flat.rows_of(["b"]).tolist() == list(range(9, 16))
    assert (flat.image(11)[0] == 2).all()
    seg = Coordinates().load_case("b")[1][0, 2]
    assert (flat.label(11) == np.where(seg == 1, IGNORE, 0)).all()
    assert (whole.label(1)[2] == flat.label(11)).all()


def test_state_is_seen_changed_saved_and_restored(tmp_path: Any) -> None:
    """What a patch writes is what it sees again; a training that goes on from either of two saves has its state."""
    made = pipeline((16, 20), False, often=False)
    batch = next(loader(PlacedLoader, (16, 20), (16, 20), made))
    places, cases = Places.of(batch), PreprocessedCases(Coordinates(), flat=True, ignore=None)
    fields = [Field("trust", "pixel", initial=1.0), Field("case", "case")]
    state = PixelState(fields, cases, tmp_path)
    rows = cases.rows(places)
    one = torch.arange(6) == 0
    change = torch.zeros(6, 16, 20)
    change[0] = 0.5
    inside = places.warp.inside()
    before = state.seen(places)["trust"][0]
    state.store.add_through("trust", rows, places.warp, change, places.origin, shown=inside & one[:, None, None])
    after = state.seen(places)["trust"][0]
    assert (after - before).max() == pytest.approx(0.5, abs=1e-5)
    assert state.store.read("trust", [row for row in range(16) if row not in rows][:1], shape=(16, 20)).eq(1).all()
    first = [state.store.read("trust", [row]) for row in range(16)]
    state.save("1")
    state.store.write("trust", rows, torch.zeros(6, 16, 20), places.origin)
    state.save("2")
    again = PixelState(fields, cases, tmp_path)
    again.restore("1")
    assert all(torch.equal(again.store.read("trust", [row]), first[row]) for row in range(16))
    again.save("3")  # over the copy of "2"
    with pytest.raises(DataError, match="is missing"):
        PixelState(fields, cases, tmp_path).restore("2")
    last = PixelState(fields, cases, tmp_path)
    last.restore("3")
    assert all(torch.equal(last.store.read("trust", [row]), first[row]) for row in range(16))
    last.drop()
    assert not (tmp_path / "debride_state" / "scratch").exists()


def test_keys_come_again_only_when_all_have_come() -> None:
    """Twice as many keys as there are hold each of them twice."""
    seed(0)
    keys = keys_without_return(["a", "b", "c"], 7)
    assert sorted(keys[:3]) == ["a", "b", "c"]
    assert sorted(keys[3:6]) == ["a", "b", "c"]
    assert len(keys) == 7
