"""Integer labels repaired by audits of regions, against the rule written down pixel by pixel."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.audited_regions import write_region_audit
from tests.audits import contents
from tests.datasets import save_png
from tests.region_sets import KITS, REGIONS, build_regions_2d, build_regions_3d
from tests.written_audits import given_label

from debride.api.repairing import repair_dataset
from debride.audit.repair import class_moves
from debride.cli import main
from debride.data.open import open_dataset
from debride.data.pixels.images import read_values
from debride.files import read_jsonl
from debride.types import IGNORE, DataError, Dataset, Region

BRATS = (Region("whole", (1, 2, 3), 2), Region("core", (1, 3), 1), Region("enhancing", (3,), 3))
APART = (Region("lungs", (1, 2, 3), 1), Region("left", (2, 3), 2), Region("right", (1, 3), 1), Region("both", (3,), 3))
"""Regions of which two overlap, and neither holds the other."""


def holds(region: Region, id: int) -> bool:
    return id in region.classes


def entered(id: int, region: Region, regions: tuple[Region, ...], classes: int) -> int:
    """The class that a pixel of class ``id`` gets that is added to a region."""
    wanted = {other.name for other in regions if holds(other, id)} | {region.name}
    for candidate in range(classes):
        if {other.name for other in regions if holds(other, candidate)} == wanted:
            return candidate
    return region.paints


def left(id: int, region: Region, regions: tuple[Region, ...], classes: int) -> int:
    """The class that it gets as it is taken out of a region, and so out of those inside it."""
    inside = {other.name for other in regions if all(holds(region, held) for held in other.classes)}
    wanted = {other.name for other in regions if holds(other, id)} - inside
    best, most = 0, -1
    for candidate in range(classes):
        own = {other.name for other in regions if holds(other, candidate)}
        if own <= wanted and len(own) > most:
            best, most = candidate, len(own)
    return best


@pytest.mark.parametrize("regions", [REGIONS, KITS, BRATS, APART])
def test_what_becomes_of_a_pixel_that_enters_or_leaves(regions: tuple[Region, ...]) -> None:
    moves = class_moves(regions, 4)
    for number, region in enumerate(regions):
        for id in range(4):
            assert moves.enters[number, id] == entered(id, region, regions, 4), (region, id)
            assert moves.leaves[number, id] == left(id, region, regions, 4), (region, id)
            if holds(region, id):
                assert not holds(region, int(moves.leaves[number, id]))
            else:
                assert holds(region, int(moves.enters[number, id]))
        assert moves.enters[number, IGNORE] == moves.leaves[number, IGNORE] == IGNORE


def test_a_heart_as_a_person_would_mend_it() -> None:
    """RV is heart alone, the ring is left too, and the cavity is all three."""
    moves = class_moves(REGIONS, 4)
    assert moves.enters.tolist()[0][:4] == [1, 1, 2, 3]  # what enters the heart is of it alone
    assert moves.enters.tolist()[1][:4] == [2, 2, 2, 3]  # and what enters the left is the ring
    assert moves.enters.tolist()[2][:4] == [3, 3, 3, 3]
    assert moves.leaves.tolist()[0][:4] == [0, 0, 0, 0]  # what leaves the heart leaves all
    assert moves.leaves.tolist()[1][:4] == [0, 1, 1, 1]
    assert moves.leaves.tolist()[2][:4] == [0, 1, 2, 2]


def slow(label: np.ndarray[Any, Any], changes: dict[str, list[Any]], regions: tuple[Region, ...]) -> np.ndarray[Any, Any]:
    """Region after region, pixel after pixel; findings as ``write_region_audit`` takes them, none of them guarded."""
    result = label.copy()
    for region in regions:
        before = result.copy()
        for where, wanted, _ in changes.get(region.name, ()):
            for place in np.ndindex(label.shape):
                id = int(before[place])
                if not where[place] or id == IGNORE:
                    continue
                inside = bool(np.broadcast_to(wanted, label.shape)[place])
                if inside and not holds(region, id):
                    result[place] = entered(id, region, regions, 4)
                if not inside and holds(region, id):
                    result[place] = left(id, region, regions, 4)
    return result


def random_changes(rng: np.random.Generator, label: np.ndarray[Any, Any], regions: tuple[Region, ...]) -> dict[str, list[Any]]:
    """Of each region two boxes that enter or leave it, apart from each other; some in both directions at once."""
    changes: dict[str, list[Any]] = {}
    for region in regions:
        for half in range(2):
            where = np.zeros(label.shape, bool)
            low = [int(rng.integers(0, size // 2)) for size in label.shape]
            where[tuple(slice(start, start + size // 2) for start, size in zip(low, label.shape, strict=True))] = True
            side = np.zeros(label.shape, bool)
            side[..., slice(0, label.shape[-1] // 2) if half else slice(label.shape[-1] // 2, None)] = True
            where &= side
            wanted = rng.random(label.shape) < 0.5 if rng.random() < 0.5 else np.full(label.shape, rng.random() < 0.5)
            if where.any():
                changes.setdefault(region.name, []).append((where, wanted.astype(np.uint8), {"kind": "boundary"}))
    return changes


@pytest.mark.parametrize("volumes", [False, True])
def test_repaired_labels_are_those_of_the_rule(tmp_path: Path, volumes: bool) -> None:
    root = tmp_path / "data"
    dataset = open_dataset(build_regions_3d(root, 3) if volumes else build_regions_2d(root, 6, 16))
    rng, changes, wanted = np.random.default_rng(0), dict[str, dict[str, Any]](), dict[str, Any]()
    for case in (case for case in dataset.cases if case.label):
        label = given_label(dataset, case.id)
        own = random_changes(rng, label, dataset.regions)
        wanted[case.id] = slow(label, own, dataset.regions)
        for name, found in own.items():
            changes.setdefault(name, {})[case.id] = found
    audit = write_region_audit(tmp_path / "audit", dataset, changes)
    result = repair_dataset(dataset, audit, tmp_path / "out", accept="all", allow_removal=True, jobs=1)
    repaired = open_dataset(tmp_path / "out")
    assert repaired.regions == dataset.regions
    for id, expected in wanted.items():
        np.testing.assert_array_equal(given_label(repaired, id), expected)
    assert result.summary["applied"] > len(dataset.cases)
    lines = read_jsonl(tmp_path / "out" / "repairs.jsonl")
    assert {line["region"] for line in lines} == {"heart", "left", "cavity"}
    assert {line["given_class"] for line in lines} <= {"background", "heart", "left", "cavity"}
    repair_dataset(tmp_path / "out", None, tmp_path / "back", reverse=True, jobs=1)
    back = contents(tmp_path / "back")
    assert {name: back[name] for name in contents(root)} == contents(root)


class Hearts:
    """Cases alike: a bowl (1) of 8 x 4 pixels, and beside it a ring (2) of 8 x 7 around a cavity (3) of 4 x 3."""

    def __init__(self, root: Path) -> None:
        build_regions_2d(root / "data", 6, 24)
        self.label = np.zeros((24, 24), np.uint8)
        self.label[8:16, 2:6], self.label[8:16, 8:15], self.label[10:14, 11:14] = 1, 2, 3
        for file in sorted((root / "data").glob("labels*/*.png")):
            save_png(file, self.label)
        self.root, self.dataset = root, open_dataset(root / "data")
        self.case = self.dataset.cases[0].id

    def repair(self, changes: dict[str, list[Any]], **how: Any) -> tuple[np.ndarray[Any, Any], list[dict[str, Any]]]:
        """The first case's label, and the lines of the record."""
        number = len(list(self.root.glob("audit*")))
        own = {region: {self.case: found} for region, found in changes.items()}
        audit = write_region_audit(self.root / f"audit{number}", self.dataset, own)
        repair_dataset(self.dataset, audit, self.root / f"out{number}", **{"accept": "all", "jobs": 1, "rare": 0, **how})
        out = open_dataset(self.root / f"out{number}")
        return given_label(out, self.case), list(read_jsonl(out.root / "repairs.jsonl"))


@pytest.fixture
def hearts(tmp_path: Path) -> Hearts:
    return Hearts(tmp_path)


def box(*place: tuple[int, int]) -> np.ndarray[Any, Any]:
    where = np.zeros((24, 24), bool)
    where[tuple(slice(*ends) for ends in place)] = True
    return where


def test_a_heart_mirrored_in_all_regions_is_mirrored_back(hearts: Hearts) -> None:
    """Each region is flipped by itself, and the classes come out as a whole; no guard is in the way."""
    changes = {}
    for region in REGIONS:
        inside = np.isin(hearts.label, region.classes)
        changes[region.name] = [(inside != inside[:, ::-1], inside[:, ::-1], {"kind": "flip"})]
    repaired, lines = hearts.repair(changes)
    np.testing.assert_array_equal(repaired, hearts.label[:, ::-1])
    assert {line["status"] for line in lines} == {"applied"}


def test_no_class_vanishes_by_a_region_that_holds_it(hearts: Hearts) -> None:
    """The left shrinks to nothing but two rows: the cavity, inside it, would vanish. The surer finding beside it is applied."""
    shrink = box((8, 14), (8, 16))
    grow = box((2, 8), (2, 6))
    changes = {
        "heart": [(grow, 1, {"kind": "boundary", "confidence": 0.95})],
        "left": [(shrink, 0, {"kind": "boundary", "confidence": 0.6})],
    }
    repaired, lines = hearts.repair(changes)
    assert [line["status"] for line in lines] == ["applied", "guarded"]
    assert lines[1]["why"] == "the class cavity would vanish from the case; --allow-removal permits it"
    np.testing.assert_array_equal(repaired, np.where(grow, 1, hearts.label))
    repaired, lines = hearts.repair(changes, allow_removal=True)
    assert [line["status"] for line in lines] == ["applied", "applied"]
    np.testing.assert_array_equal(repaired, np.where(grow, 1, np.where(shrink & (hearts.label > 1), 1, hearts.label)))


def test_no_object_of_an_inner_region_goes_by_an_outline_of_an_outer_one(hearts: Hearts, tmp_path: Path) -> None:
    """A second cavity at the rim of the heart, which an outline would cut off, and which an extra object may hold."""
    label = hearts.label.copy()
    label[14:16, 8:10] = 3  # a second cavity, at the corner of the ring
    for file in sorted((tmp_path / "data").glob("labels*/*.png")):
        save_png(file, label)
    changes = {"heart": [(box((14, 16), (8, 10)), 0, {"kind": "boundary"})]}
    repaired, lines = hearts.repair(changes)
    why = "an object of cavity of 4 voxels would be removed, which boundary is not for; --allow-removal permits it"
    assert [(line["status"], line["why"]) for line in lines] == [("guarded", why)]
    np.testing.assert_array_equal(repaired, label)
    label[20:23, 20:23], label[21, 21] = 2, 3  # a blob apart, with a cavity
    for file in sorted((tmp_path / "data").glob("labels*/*.png")):
        save_png(file, label)
    repaired, lines = hearts.repair({"heart": [(box((20, 23), (20, 23)), 0, {"kind": "extra"})]})
    assert lines[0]["status"] == "applied" and not repaired[20:, 20:].any()


def test_a_regions_own_guard_holds(hearts: Hearts) -> None:
    only = hearts.label == 3
    repaired, lines = hearts.repair({"cavity": [(only, 0, {"kind": "extra"})]})
    assert lines[0]["status"] == "guarded" and "cavity would vanish" in lines[0]["why"]
    np.testing.assert_array_equal(repaired, hearts.label)


def test_pixels_without_a_label_keep_none(tmp_path: Path) -> None:
    description = {"labels": {"background": 0, "heart": [1, 2, 3], "left": [2, 3], "cavity": 3, "ignore": 4}}
    build_regions_2d(tmp_path / "data", 6, 24)
    path = tmp_path / "data" / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **description}))
    hearts = Hearts.__new__(Hearts)
    hearts.root, hearts.dataset = tmp_path, open_dataset(tmp_path / "data")
    hearts.case = hearts.dataset.cases[0].id
    label = given_label(hearts.dataset, hearts.case)
    label[:3] = 4
    save_png(Path(str(hearts.dataset.cases[0].label)), label)
    repaired, _ = hearts.repair({"left": [(box((0, 6), (0, 6)), 1, {"given": 0})]})
    assert (repaired[:3] == IGNORE).all() and (repaired[3:6, :6] >= 2).all()


def test_rules_name_regions_and_decisions_say_theirs(hearts: Hearts, tmp_path: Path) -> None:
    changes = {"heart": [(box((2, 6), (2, 6)), 1, {"confidence": 0.7})], "left": [(box((8, 16), (16, 18)), 1, {})]}
    repaired, lines = hearts.repair(changes, class_="left")
    assert [line["status"] for line in lines] == ["declined", "applied"]
    assert "the region heart is not accepted" in lines[0]["reason"]
    assert (repaired[8:16, 16:18] == 2).all() and not repaired[2:6].any()
    _, lines = hearts.repair(changes, one_per_case=True)
    assert [line["status"] for line in lines] == ["declined", "applied"]
    assert "a surer finding of its case" in lines[0]["reason"]
    with pytest.raises(DataError, match=r"no region of this audit. Did you mean cavity\?"):
        hearts.repair(changes, class_="cavty")

    def decided(*rows: tuple[str, ...]) -> Path:
        path = tmp_path / "decisions.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        return path

    header = ("region", "case", "number", "decision")
    own = decided(header, ("heart", hearts.case, "1", "accept"), ("left", hearts.case, "1", "reject"))
    _, lines = hearts.repair(changes, accept=(), decisions=own)
    assert [line["status"] for line in lines] == ["applied", "declined"]
    with pytest.raises(DataError, match=r"decisions\.csv:2: does not say which region it is on"):
        hearts.repair(changes, accept=(), decisions=decided(header[1:], (hearts.case, "1", "accept")))
    with pytest.raises(DataError, match="names the region 'hart'"):
        hearts.repair(changes, accept=(), decisions=decided(header, ("hart", hearts.case, "1", "accept")))
    with pytest.raises(DataError, match=r"names finding 7 of .* in heart"):
        hearts.repair(changes, accept=(), decisions=decided(header, ("heart", hearts.case, "7", "accept")))


def test_one_region_alone(hearts: Hearts, tmp_path: Path) -> None:
    """The folder of a region is enough, and its decisions need not name it."""
    changes = {"heart": [(box((2, 6), (2, 6)), 1, {})], "left": [(box((8, 16), (16, 18)), 1, {})]}
    audit = write_region_audit(tmp_path / "a", hearts.dataset, {name: {hearts.case: found} for name, found in changes.items()})
    decisions = tmp_path / "decisions.csv"
    decisions.write_text(f"case,number,decision\n{hearts.case},1,accept\n")
    words = ["repair", str(hearts.dataset.root), str(audit / "left"), "--out", str(tmp_path / "o"), "--jobs", "1"]
    assert main([*words, "--decisions", str(decisions)]) == 0
    repaired = given_label(open_dataset(tmp_path / "o"), hearts.case)
    np.testing.assert_array_equal(repaired, np.where(box((8, 16), (16, 18)), 2, hearts.label))


def test_an_audit_of_other_regions_or_labels_is_refused(hearts: Hearts, tmp_path: Path) -> None:
    audit = write_region_audit(tmp_path / "a", hearts.dataset, {"left": {hearts.case: [(box((8, 16), (16, 18)), 1, {})]}})

    def refused(match: str, dataset: Dataset | Path = hearts.dataset, **how: Any) -> None:
        with pytest.raises(DataError, match=match):
            repair_dataset(dataset, audit, tmp_path / "o", **{"accept": "all", "jobs": 1, **how})
        assert not (tmp_path / "o").exists()

    refused("`unbias`: moves outlines of classes", unbias=True)
    path = hearts.dataset.root / "dataset.json"
    before = path.read_text()
    description = json.loads(before)
    path.write_text(json.dumps({**description, "labels": {"background": 0, "heart": [1, 2, 3], "left": [2, 3], "hole": 3}}))
    refused(r"is of the regions heart .*cavity.* and the data set has heart .*hole", hearts.dataset.root)
    del description["regions_class_order"]
    path.write_text(json.dumps({**description, "labels": {"background": 0, "a": 1, "b": 2, "c": 3}}))
    refused("is of the regions .* and the data set has none", hearts.dataset.root)
    path.write_text(before)
    save_png(Path(str(hearts.dataset.cases[0].label)), hearts.label[:, ::-1])
    refused("changed since the audit", hearts.dataset.root)
    record = json.loads((audit / "regions.json").read_text())
    record["regions"][0]["folder"] = "../a"
    (audit / "regions.json").write_text(json.dumps(record))
    refused("names the folder")


def test_pixels_lose_their_label_or_weigh_less_by_any_region(hearts: Hearts, tmp_path: Path) -> None:
    changes = {
        "heart": [(box((2, 10), (2, 6)), 1, {"confidence": 0.6})],
        "left": [(box((8, 16), (12, 18)), 1, {"confidence": 0.8})],
        "cavity": [(box((10, 14), (13, 15)), 0, {"confidence": 0.4})],
    }
    wrong = {
        "heart": box((2, 10), (2, 6)) & (hearts.label == 0),
        "left": box((8, 16), (12, 18)) & (hearts.label < 2),
        "cavity": box((10, 14), (13, 15)) & (hearts.label == 3),
    }
    repaired, lines = hearts.repair(changes, to="ignore", rare=None)
    np.testing.assert_array_equal(repaired, np.where(np.logical_or.reduce([*wrong.values()]), IGNORE, hearts.label))
    assert [line["voxels"] for line in lines] == [int(where.sum()) for where in wrong.values()]
    assert json.loads((tmp_path / "out0" / "dataset.json").read_text())["labels"]["ignore"] == 4
    _, lines = hearts.repair(changes, to="weights", rare=None)
    found = open_dataset(tmp_path / "out1")
    weights = read_values(tmp_path / "out1" / lines[0]["weights"])[0]
    expected = np.full(hearts.label.shape, 255)
    for name, confidence in (("heart", 0.6), ("left", 0.8), ("cavity", 0.4)):
        expected[wrong[name]] = np.minimum(expected[wrong[name]], round(255 * (1 - confidence)))
    np.testing.assert_array_equal(weights, expected)
    np.testing.assert_array_equal(given_label(found, hearts.case), hearts.label)
