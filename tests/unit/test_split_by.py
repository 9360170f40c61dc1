"""Splits drawn by a group of cases: a site is in one split, and so is a patient."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from pathlib import Path

import pytest
from tests.datasets import build_folder, save_json

from debride.cli import main
from debride.data.check import find_problems
from debride.data.open import open_dataset
from debride.data.splits import joined
from debride.types import DataError


@pytest.mark.parametrize("seed", range(50))
def test_what_patients_join_is_one(seed: int) -> None:
    rng = random.Random(seed)
    pairs = [(rng.choice("pqrstu"), rng.choice("ABCDEF")) for _ in range(rng.randint(1, 12))]
    patients, values = zip(*pairs, strict=True)
    found = joined(patients, values)
    neighbours: dict[str, set[str]] = defaultdict(set)  # a walk over cases that share a patient or a value
    for patient, value in pairs:
        neighbours["p" + patient].add("v" + value)
        neighbours["v" + value].add("p" + patient)
    for value, leader in zip(values, found, strict=True):
        reached, todo = set[str](), ["v" + value]
        while todo:
            if (node := todo.pop()) not in reached:
                reached.add(node)
                todo += neighbours[node]
        assert leader == min(node[1:] for node in reached if node.startswith("v"))


def sites(root: Path, of: dict[str, str], patients: dict[str, str] | None = None) -> Path:
    build_folder(root, n=len(of), splits=False)
    ids = [f"case{number:03d}" for number in range(len(of))]
    named = dict(zip(ids, of.values(), strict=True))
    save_json(
        root / "dataset.json",
        {
            "classes": ["background", "object"],
            "values": {"0": 0, "255": 1},
            "groups": {"site": {id: site for id, site in named.items() if site}},
            "patients": patients or {},
        },
    )
    return root


TWELVE = {f"{number}": "ABCD"[number % 4] for number in range(12)}


def test_all_cases_of_a_site_are_in_one_split(tmp_path: Path) -> None:
    root = sites(tmp_path / "data", TWELVE)
    drawn = set()
    for seed in range(6):
        dataset = open_dataset(root, split_by="site", test_fraction=0.25, seed=seed)
        of_site = defaultdict(set)
        for case in dataset.cases:
            of_site[dict(case.groups)["site"]].add(case.split)
        assert all(len(splits) == 1 for splits in of_site.values())
        assert {case.split for case in dataset.cases} == {"train", "val", "test"}
        drawn.add(tuple(sorted((site, *splits) for site, splits in of_site.items())))
        assert dataset == open_dataset(root, split_by="site", test_fraction=0.25, seed=seed)
    assert len(drawn) > 1
    assert not find_problems(root, split_by="site")


def test_a_patient_of_two_sites_keeps_them_together(tmp_path: Path) -> None:
    root = sites(tmp_path / "data", TWELVE, {"case000": "p", "case001": "p"})  # of sites A and B
    for seed in range(5):
        dataset = open_dataset(root, split_by="site", seed=seed)
        assert len({case.split for case in dataset.cases if dict(case.groups)["site"] in "AB"}) == 1
        assert {case.split for case in dataset.cases} == {"train", "val"}


def test_the_order_of_cases_does_not_matter() -> None:
    pairs = [(f"p{number % 5}", "ABCDEFG"[number % 7]) for number in (0, 5, 7, 12, 3, 17)]
    shuffled = random.Random(0).sample(pairs, len(pairs))
    one, other = (dict(zip(some, joined(*zip(*some, strict=True)), strict=True)) for some in (pairs, shuffled))
    assert one == other


def test_what_cannot_be_split_is_refused_by_name(tmp_path: Path) -> None:
    lacking = sites(tmp_path / "lacking", {**TWELVE, "3": "", "5": ""})
    with pytest.raises(DataError, match=r"is site, which case003, case005 has not\. Name the site of every case"):
        open_dataset(lacking, split_by="site")
    with pytest.raises(DataError, match=r"is scanner, which case000.* has not\. Groups that cases have: site"):
        open_dataset(lacking, split_by="scanner")
    few = sites(tmp_path / "few", dict.fromkeys(TWELVE, "A"))
    with pytest.raises(DataError, match=r"cannot be made from 1 site\(s\) for train, val"):
        open_dataset(few, split_by="site")
    listed = build_folder(tmp_path / "listed")
    with pytest.raises(DataError, match="the data set's files say the split of every case"):
        open_dataset(listed, split_by="site")


def test_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = sites(tmp_path / "data", TWELVE)
    assert main(["check", str(root), "--split-by", "site"]) == 0
    assert "cases: 9 train, 3 val, 0 test" in capsys.readouterr().out
    json.loads((root / "dataset.json").read_text())
    assert main(["check", str(root), "--split-by", "scanner"]) == 1
    assert "--split-by: is scanner" in capsys.readouterr().out
