"""What a review's server answers: items and counts, decisions and edits that are on the disk, and refusals that say why."""

from __future__ import annotations

import errno
import gzip
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.datasets import build_folder
from tests.review_client import PORT, TOKEN, Answer, Client
from tests.written_audits import box, given_label, two_findings, write_audit

from debride.audit.decided import ReviewDb
from debride.data.open import open_dataset
from debride.review.desk import Desk
from debride.review.opened import Reader, open_review
from debride.review.server import app
from debride.types import Dataset

EVIL = "<script>alert('x')</script>&\"</script><!--"

Start = Callable[..., Client]


@pytest.fixture
def masks(tmp_path: Path) -> tuple[Dataset, Path]:
    return two_findings(tmp_path)


@pytest.fixture
def start(masks: tuple[Dataset, Path]) -> Start:
    def begin(reader: str = "ada", **how: Any) -> Client:
        return Client(app(Desk(open_review(masks[1], masks[0], Reader(reader, **how))), TOKEN, PORT))

    return begin


def accepted(client: Client, place: int = 1, sent: str = "one", **other: Any) -> Answer:
    return client.post(f"api/items/{place}/decision", {"decision": "accept", "comment": "", "sent": sent, **other})


def kept(audit: Path) -> list[tuple[str, int, str]]:
    with ReviewDb(audit) as db:
        return [(each.case, each.number, each.decision) for each in db.decisions()]


def told(answer: Answer, status: int) -> str:
    assert answer.status == status, answer
    said = answer.json()
    assert said.keys() == {"where", "problem", "remedy"}
    return f"{said['where']} {said['problem']} {said['remedy']}"


def test_a_decision_is_kept_and_answered(start: Start, masks: tuple[Dataset, Path]) -> None:
    client = start()
    about = client.get("api/about").json()
    assert about["task"] == "segmentation" and about["ndim"] == 2 and about["reader"] == "ada" and not about["blind"]
    assert [entry["id"] for entry in about["classes"]] == [0, 1, 2] and about["kinds"] == ["missing"]
    page = client.get("api/items?many=2").json()
    assert page["total"] == 3 and len(page["items"]) == 2 and page["items"][0]["picture"] is False
    following = client.get(f"api/items?many=2&after={page['next']}").json()
    assert len(following["items"]) == 1 and following["next"] is None
    answer = accepted(client, comment="seen on <b>both</b> sides")
    assert answer.status == 200 and answer.json()["item"]["mine"]["decision"] == "accept"
    assert answer.json()["counts"]["decided"] == 1 and kept(masks[1]) == [("p00_s0", 1, "accept")]
    assert accepted(client).status == 200 and len(kept(masks[1])) == 1  # the same wish sent again
    item = client.get("api/items/1?state=undecided").json()
    assert item["mine"]["comment"] == "seen on <b>both</b> sides" and item["neighbours"]["next_undecided"] == 2
    assert client.get("api/items?state=undecided").json()["total"] == 2
    again = start()
    assert again.get("api/items/1").json()["mine"]["decision"] == "accept"


def test_an_edit_is_kept_and_shown(start: Start, masks: tuple[Dataset, Path]) -> None:
    client, given = start(), given_label(masks[0], "p00_s0")
    painted = given.copy()
    painted[10:14, 10:20] = 2
    body = [("content-type", "application/octet-stream"), ("content-encoding", "gzip")]
    path = f"/{TOKEN}/api/items/1/edit?part=crop&sent=e1&comment=too%20small"
    answer = client.ask("POST", path, gzip.compress(painted.tobytes(), mtime=0), body)
    assert answer.status == 200 and answer.json()["item"]["mine"]["comment"] == "too small"
    assert client.get("api/items/1/layer/mine").body == painted.tobytes()
    assert client.post("api/items/1/edit?sent=e1", painted.tobytes()).status == 200 and len(kept(masks[1])) == 1
    assert "other-1" in start("ben").get("api/items/1/part").json()["layers"]
    assert start("ben").get("api/items/1/layer/other-1").body == painted.tobytes()
    assert start("cy", blind=True).get("api/items/1/layer/other-1").status == 404
    assert "is the same as what was shown" in told(client.post("api/items/2/edit?sent=e2", given.tobytes()), 400)
    assert len(kept(masks[1])) == 1


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (b"", "", 400),
        (bytes(1023), "", 400),
        (bytes(1025), "", 413),
        (bytes(200_000), "", 413),
        (np.full(1024, 3, np.uint8).tobytes(), "", 400),
        (np.full(1024, 254, np.uint8).tobytes(), "", 400),
        (np.full(1024, 255, np.uint8).tobytes(), "", 400),
        (np.ones(1024, np.float32).tobytes(), "", 413),
        (gzip.compress(bytes(50_000_000), mtime=0), "gzip", 413),
        (gzip.compress(bytes(1024), mtime=0)[:-4], "gzip", 400),
        (gzip.compress(bytes(1024), mtime=0) + b"more", "gzip", 400),
        (b"no gzip", "gzip", 400),
        (bytes(1024), "br", 415),
    ],
)
def test_an_edit_that_is_none_is_refused(
    start: Start, masks: tuple[Dataset, Path], body: bytes, coding: str, status: int
) -> None:
    headers = [("content-type", "application/octet-stream")] + ([("content-encoding", coding)] if coding else [])
    answer = start().ask("POST", f"/{TOKEN}/api/items/1/edit?sent=e1", body, headers)
    told(answer, status)
    assert not kept(masks[1]) and not (masks[1] / "review" / "edits").exists()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"accept"',
        b"\xff\xfe",
        b'{"decision": "accept"}',
        b'{"decision": "accept", "sent": ""}',
        b'{"decision": "accept", "sent": 1}',
        b'{"decision": "accept", "sent": NaN}',
        b'{"decision": "accept", "sent": "x", "comment": Infinity}',
        b'{"decision": "accept", "sent": "x", "comment": ["a"]}',
        b'{"decision": "accept", "sent": "x", "decision": "reject"}',
        b'{"decision": "accept", "sent": "x", "reader": "ben"}',
        b'{"decision": "accept", "sent": "x", "comment": "\\ud800"}',
        b'{"decision": "accept", "sent": "x", "comment": "a\\u0000b"}',
        b'{"decision": "delete", "sent": "x"}',
        b'{"decision": ["accept"], "sent": "x"}',
        b'{"decision": "verified", "sent": "x"}',
        b'{"decision": "edited", "sent": "x", "label": "00000000000000000000000000000000"}',
        b'{"decision": "accept", "sent": "x", "label": "a"}',
        b'{"decision": "accept", "sent": "' + b"x" * 101 + b'"}',
        b"[" * 50_000,
    ],
)
def test_a_decision_that_is_none_is_refused(start: Start, masks: tuple[Dataset, Path], body: bytes) -> None:
    headers = [("content-type", "application/json; charset=utf-8")]
    told(start().ask("POST", f"/{TOKEN}/api/items/1/decision", body, headers), 400)
    assert not kept(masks[1])


def test_too_much_is_refused_before_it_is_read(start: Start, masks: tuple[Dataset, Path]) -> None:
    client = start()
    told(accepted(client, comment="x" * 70_000), 413)
    told(accepted(client, comment="x" * 20_000), 400)
    told(client.post("api/items/1/decision", b"{}"), 415)
    told(client.ask("POST", f"/{TOKEN}/api/items/1/edit?sent=x", b"{}", [("content-type", "application/json")]), 415)
    assert not kept(masks[1])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("api/items/0", 404),
        ("api/items/99", 404),
        (f"api/items/{10**30}", 404),
        ("api/items/99/picture.png", 404),
        ("api/items/1/picture.png", 404),
        ("api/items/1/layer/nothing", 404),
        ("api/items/1/layer/mine", 404),
        ("api/items/1/part?part=half", 404),
        ("api/items/1/part?channel=1", 400),
        ("api/items/1/part?channel=-1", 400),
        ("api/items?after=x", 400),
        ("api/items?after=99999999999999999999", 400),
        ("api/items?many=5000", 400),
        ("api/items?view=everything", 400),
        ("api/items?state=odd", 400),
        ("api/items?confidence=nan", 400),
        ("static/nothing.js", 404),
        ("static/__init__.py", 404),
    ],
)
def test_what_is_not_there_is_said(start: Start, path: str, status: int) -> None:
    told(start().get(path), status)


def test_other_paths_are_not_there(start: Start) -> None:
    client = start()
    strange = ("api", "api/", "api/items/", "api/items/x", "api/items/-1", "static", "review.db", "audit.json", "favicon.ico")
    assert {client.get(path).status for path in strange} == {404}


def test_a_blind_reader_is_told_nothing_of_others(start: Start) -> None:
    accepted(start("ben"), comment="a remark of ben", sent="b")
    client = start("ada", blind=True)
    accepted(client, 1, sent="a")
    paths = (
        "api/about",
        "api/items",
        "api/items?view=cases",
        "api/items/1",
        "api/counts",
        "api/items?state=unsure",
        "api/items/1/part",
    )
    for answer in [*(client.get(path) for path in paths), accepted(client, 3, sent="c")]:
        assert answer.status == 200
        assert b"ben" not in answer.body and b"remark" not in answer.body and b'"disagreed":0' not in answer.body
    assert client.get("api/items/1").json()["state"] == "" and client.get("api/items/1").json()["others"] == []
    told(client.get("api/items?state=disagreed"), 400)
    told(client.get("api/agreement"), 403)
    (pair, *_) = start("cy").get("api/agreement").json()["pairs"]
    assert pair["readers"] == ["ada", "ben"] and pair["items"] == 1 and pair["agree"] == 1.0 and pair["kappa"] is None
    assert start("cy").get("api/items/1").json()["others"][0]["reader"] == "ben"


def test_a_label_that_changed_is_not_decided_on(start: Start, masks: tuple[Dataset, Path]) -> None:
    client = start()
    label = next(case.label for case in masks[0].cases if case.id == "p00_s0")
    assert label is not None
    Image.fromarray(given_label(masks[0], "p00_s0").T.copy()).save(label)
    assert "changed since the audit" in client.get("api/items/1/part").json()["warning"]
    assert "changed since the audit" in told(accepted(client), 409)
    painted = np.ones((32, 32), np.uint8).tobytes()
    assert "changed since the audit" in told(client.post("api/items/1/edit?sent=x", painted), 409)
    label.unlink()
    told(accepted(client), 409)
    told(client.get("api/items/1/part"), 409)
    assert not kept(masks[1]) and not (masks[1] / "review" / "edits").exists()


def test_a_full_disk_is_said_and_the_server_goes_on(start: Start, masks: tuple[Dataset, Path], monkeypatch: Any) -> None:
    client = start()
    append = ReviewDb.append

    def full(*_: Any) -> int:
        from debride.types import DataError

        raise DataError(masks[1], "cannot be written", "Free space.") from sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(ReviewDb, "append", full)
    assert "Free space" in told(accepted(client), 507)

    def no_space(*_: Any, **__: Any) -> str:
        from debride.files import writing

        with writing(masks[1]):
            raise OSError(errno.ENOSPC, "No space left on device")
        raise AssertionError

    monkeypatch.setattr("debride.review.volumes.write_edit", no_space)
    assert "Free space" in told(client.post("api/items/1/edit?sent=x", bytes(1024)), 507)
    monkeypatch.setattr(ReviewDb, "append", append)
    assert accepted(client).status == 200 and kept(masks[1]) == [("p00_s0", 1, "accept")]


def test_links_that_lead_out_of_the_audit_are_not_followed(start: Start, masks: tuple[Dataset, Path], tmp_path: Path) -> None:
    audit = masks[1]
    (audit / "pictures").mkdir()
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    (audit / "pictures" / "p00_s0-1.png").symlink_to(secret)
    answer = start().get("api/items/1/picture.png")
    assert "leads out of the folder" in told(answer, 409) and b"secret.png" not in answer.body
    (audit / "pictures" / "p00_s0-2.png").write_bytes(b"a picture")
    assert start().get("api/items/2/picture.png").body == b"a picture"
    proposals = audit / "proposals" / "p00_s0.npz"
    proposals.rename(tmp_path / "elsewhere.npz")
    proposals.symlink_to(tmp_path / "elsewhere.npz")
    assert "leads out of the folder" in told(start().get("api/items/1/part"), 409)
    (audit / "predictions").mkdir()
    (audit / "predictions" / "p01_s1.npz").symlink_to(tmp_path / "elsewhere.npz")
    assert "leads out of the folder" in told(start().get("api/items/3/part"), 409)


def test_names_with_html_are_text(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "data", classes=3)
    (root / "dataset.json").write_text(json.dumps({"classes": ["background", EVIL, "b"]}))
    name = "a <img src=x onerror=alert(1)> b"
    for folder in ("images", "masks"):
        (root / folder / "case002.png").rename(root / folder / f"{name}.png")
    (root / "splits.json").unlink()
    dataset = open_dataset(root)
    where = box((32, 32), (0, 3), (0, 4))
    audit = write_audit(tmp_path / "audit", dataset, {name: [(where, 1, {"kind": "missing"})]})
    client = Client(app(Desk(open_review(audit, dataset, Reader("<b>ada</b>"))), TOKEN, PORT))
    item = client.get("api/items/1")
    assert item.json()["case"] == name and item.json()["class"] == EVIL
    assert item.headers["content-type"] == "application/json" and item.headers["x-content-type-options"] == "nosniff"
    assert client.get("api/about").json()["classes"][1]["name"] == EVIL
    assert client.get("api/items/1/layer/given").headers["content-type"] == "application/octet-stream"
