"""Reviews of images with one class each, from the worklist by a table of decisions to a repaired data set."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.datasets import build_npz
from tests.e2e.test_audit_classes import classes_of, write_set
from tests.review_client import PORT, TOKEN, Client

from debride.api.auditing import audit_dataset
from debride.api.repairing import repair_dataset
from debride.data.open import open_dataset
from debride.review.desk import Desk
from debride.review.exchange import export_review, import_review
from debride.review.opened import Reader, open_review
from debride.review.server import app


class Audited:
    """A data set of images, audited by predictions."""

    def __init__(self, root: Path, predictions: Path) -> None:
        self.root, self.data, self.audit = root, root / "data", root / "audit"
        audit_dataset(self.data, self.audit, predictions=predictions, jobs=1, pictures=0)
        self.dataset = open_dataset(self.data)

    def start(self, reader: str = "ada", kept: int | None = None) -> Client:
        return Client(app(Desk(open_review(self.audit, self.dataset, Reader(reader)), kept=kept), TOKEN, PORT))


@pytest.fixture
def table(tmp_path: Path) -> Audited:
    return Audited(tmp_path, write_set(tmp_path / "data", 60)[1])


@pytest.fixture
def arrays(tmp_path: Path) -> Audited:
    """Images that lie in an array."""
    dataset = open_dataset(build_npz(tmp_path / "data", n=40))
    rng, classes = np.random.default_rng(0), len(dataset.classes)
    odds = [
        0.9 * np.eye(classes)[(int(case.target or 0) + (rng.random() < 0.3)) % classes] + 0.1 / classes
        for case in dataset.cases
    ]
    lines = [f"{case.id},{','.join(map(str, row))}" for case, row in zip(dataset.cases, odds, strict=True)]
    (tmp_path / "p.csv").write_text("\n".join([f"case,{','.join(dataset.classes)}", *lines]))
    return Audited(tmp_path, tmp_path / "p.csv")


def say(client: Client, place: int, decision: str, status: int = 200, **other: Any) -> Any:
    told = {"decision": decision, "comment": "", "sent": f"{place} {decision} {other}", **other}
    answer = client.post(f"api/items/{place}/decision", told)
    assert answer.status == status, answer
    return answer.json()


@pytest.mark.parametrize("kind", ["table", "arrays"])
def test_images_are_shown_with_their_classes(kind: str, request: pytest.FixtureRequest) -> None:
    audited: Audited = request.getfixturevalue(kind)
    client = audited.start()
    about = client.get("api/about").json()
    assert about["task"] == "classification" and [each["name"] for each in about["classes"]] == list(audited.dataset.classes)
    found = client.get("api/items?view=findings&many=200").json()
    assert found["total"] == len(found["items"]) > 0 and all(item["number"] == 1 for item in found["items"])
    assert client.get("api/items?view=cases").json()["total"] == len(audited.dataset.of("train", "val"))
    item = found["items"][0]
    assert item["picture"] and item["change"] == f"{item['given']} → {item['proposed']}"
    shown = Image.open(io.BytesIO(client.get(f"api/items/{item['place']}/picture.png").body))
    case = next(case for case in audited.dataset.cases if case.id == item["case"])
    if case.row is None:
        assert np.array_equal(np.asarray(shown), np.asarray(Image.open(case.image[0])))
    else:
        with np.load(case.image[0]) as held:
            assert np.array_equal(np.asarray(shown), held[str(case.array)][case.row].squeeze())
    assert client.get(f"api/items/{item['place']}/part").status == 404


def test_decisions_go_out_as_a_table_come_back_and_are_repaired(table: Audited) -> None:
    client, given = table.start(), classes_of(table.data)
    first, second, third = client.get("api/items?view=findings&many=3").json()["items"]
    free = [item for item in client.get("api/items?view=cases&many=200").json()["items"] if not item["number"]][:2]
    say(client, first["place"], "accept")
    say(client, second["place"], "reject")
    (other,) = {"cat", "dog", "hen"} - {third["given"], third["proposed"]}
    say(client, third["place"], "edited", label=other)
    say(client, free[0]["place"], "verified")
    say(
        client, free[1]["place"], "edited", label=first["proposed"] if free[1]["given"] != first["proposed"] else first["given"]
    )
    counts = client.get("api/counts?view=findings").json()
    assert counts["by"] == {"accept": 1, "reject": 1, "unsure": 0, "edited": 1, "verified": 0}
    assert (table.audit / "trusted.txt").read_text().split() == sorted([second["case"], free[0]["case"]])
    assert export_review(table.dataset, table.audit, table.root / "table", "csv").findings == 5
    copied = shutil.copytree(table.audit, table.root / "copied")
    (copied / "review.db").unlink()
    came = import_review(table.dataset, copied, table.root / "table", "eve")
    assert came.decisions == 5 and import_review(table.dataset, copied, table.root / "table", "eve").decisions == 0
    expected = {**given, first["case"]: first["proposed"], third["case"]: other}
    expected[free[1]["case"]] = first["proposed"] if free[1]["given"] != first["proposed"] else first["given"]
    for audit in (table.audit, copied):
        repair_dataset(table.data, audit, table.root / f"by {audit.name}", decisions=audit / "review.db")
        assert classes_of(table.root / f"by {audit.name}") == expected


def test_a_class_that_is_none_or_is_given_is_refused(table: Audited) -> None:
    client = table.start()
    item = client.get("api/items?view=findings&many=1").json()["items"][0]
    assert "which there is not" in say(client, item["place"], "edited", 400, label="cow")["problem"]
    assert "which is given" in say(client, item["place"], "edited", 400, label=item["given"])["problem"]
    assert say(client, item["place"], "edited", 400) and say(client, item["place"], "verified", 400)
    assert client.get(f"api/items/{item['place']}").json()["mine"] is None


def test_a_picture_is_the_same_where_all_images_are_too_many_to_be_held(arrays: Audited) -> None:
    held, read = arrays.start(), arrays.start(kept=0)
    for place in (1, 2, 3):
        path = f"api/items/{place}/picture.png"
        assert held.get(path).body == read.get(path).body != held.get("api/items/4/picture.png").body
