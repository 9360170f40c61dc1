"""``audit_labels`` on classes of whole images: the same as the audit of a folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from tests.datasets import save_png

from debride.audit import AuditConfig, audit_labels
from debride.audit.from_arrays.label_audit import ClassAudit
from debride.audit.wrong_classes.class_audit import audit_classes
from debride.audit.wrong_classes.class_sources import given_predictions
from debride.data.open import open_dataset
from debride.types import DataError

CLASSES = ("cat", "dog", "hen")
N = 150


def given() -> dict[str, Any]:
    """Images of three classes, a fifth of which have another; the first two are the same picture."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, N)
    labels = np.where(rng.random(N) < 0.2, (true + 1) % 3, true)
    images = rng.integers(0, 255, (N, 6, 6, 3)).astype(np.uint8)
    images[1], true[:2], labels[:2] = images[0], 1, [0, 1]
    logits = 6 * np.eye(3)[true] + rng.normal(size=(N, 3))
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return {"labels": labels, "probabilities": probability.astype(np.float32), "images": images}


@pytest.fixture(scope="module")
def found() -> ClassAudit:
    held = given()
    about = {"groups": [f"p{at // 2}" for at in range(N)], "trusted": [5], "ids": [f"c{at:03d}" for at in range(N)]}
    audit = audit_labels(held["labels"], held["probabilities"], images=held["images"], classes=CLASSES, **about)
    assert isinstance(audit, ClassAudit)
    return audit


def test_arrays_are_audited_as_their_files(found: ClassAudit, tmp_path: Path) -> None:
    held = given()
    lines = ["image,class,split,case,trusted,patient"]
    for at, image in enumerate(held["images"]):
        save_png(tmp_path / "data" / "images" / f"{at}.png", image)
        lines.append(f"images/{at}.png,{CLASSES[held['labels'][at]]},train,c{at:03d},{int(at == 5)},p{at // 2}")
    (tmp_path / "data" / "labels.csv").write_text("\n".join(lines) + "\n")
    np.savez(tmp_path / "p.npz", probabilities=held["probabilities"], cases=np.array(found.ids))
    dataset = open_dataset(tmp_path / "data", val_fraction=0.0)
    (tmp_path / "out").mkdir()
    predictions = given_predictions(tmp_path / "p.npz", dataset, dataset.cases)
    assert [case.id for case in dataset.cases] == list(found.ids)
    audit_classes(dataset, predictions, tmp_path / "out", AuditConfig(pictures=0))
    with (tmp_path / "out" / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [found.ids[at] for at in found.order] == [row["case"] for row in rows]
    for at, row in zip(found.order, rows, strict=True):
        assert (f"{found.wrong[at]:.6g}", f"{found.least[at]:.6g}", f"{found.score[at]:.6g}") == (
            row["wrong"],
            row["least"],
            row["score"],
        )
        assert (CLASSES[found.proposed[at]], str(int(found.flagged[at]))) == (row["proposed"], row["flagged"])
    summary = json.loads((tmp_path / "out" / "audit.json").read_text())["summary"]
    own = json.loads(json.dumps(found.summary))
    seen = [line for line in summary["warnings"] if "whether the network was trained" in line]
    assert own.pop("warnings") == [line for line in summary.pop("warnings") if line not in seen]
    assert own == summary
    assert found.duplicates == ((0, 1),) and found.pairs.shape == (3, 3)


def test_whatever_holds_the_arrays(found: ClassAudit) -> None:
    held = given()
    plain = audit_labels(held["labels"], held["probabilities"])
    assert isinstance(plain, ClassAudit) and plain.classes == ("0", "1", "2") and not plain.duplicates
    for labels, probabilities in (
        (held["labels"].tolist(), held["probabilities"].tolist()),
        (torch.tensor(held["labels"]), torch.tensor(held["probabilities"])),
        (iter(held["labels"]), iter(held["probabilities"])),
        (pandas.Series(held["labels"], index=held["labels"] + 7), pandas.DataFrame(held["probabilities"])),
    ):
        again = audit_labels(labels, probabilities)
        np.testing.assert_allclose(again.score, plain.score, rtol=1e-6)


def test_it_shows_itself(found: ClassAudit) -> None:
    assert repr(found).startswith("ClassAudit of 150 labels: about ")
    page = found._repr_html_()
    assert page.count("<tr>") == 21 and "and 130 more" in page
    table = found.to_pandas()
    assert list(table["case"]) == [found.ids[at] for at in found.order] and set(table["given"]) == set(CLASSES)
    repaired = found.proposed_labels()
    assert (repaired[~found.flagged] == given()["labels"][~found.flagged]).all()
    assert found.flagged.any() and (repaired[found.flagged] != given()["labels"][found.flagged]).all()


P = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("labels", "probabilities", "options", "message"),
    [
        ([0, 1, 0], P, {}, r"probabilities: have shape \(4, 2\) for 3 labels"),
        ([0, 1, 0, 1], P[:, 0], {}, r"probabilities: have shape \(4,\) for 4 labels"),
        ([0, 1, 0, 2], P, {}, "labels: has class ids from 0 to 2"),
        ([0, 1, 0, 255], P, {}, r"labels\[3\]: is no class. Leave out the cases without one"),
        ([0, 1, 0, 1], P * [[1], [1], [3], [1]], {}, r"probabilities\[2\]: are no probabilities"),
        ([0, 1, 0, 1], P, {"classes": CLASSES}, "probabilities: are of 2 classes, `classes` are 3"),
        ([0, 1, 0, 1], P, {"spacing": (1, 1)}, "`spacing`: is for masks, and these labels are classes"),
        ([0, 1, 0, 1], [P[0], P[1], P[2], P[3, :1]], {}, r"probabilities\[3\]: has shape \(1,\), the first one \(2,\)"),
    ],
)
def test_what_cannot_be_used_is_refused(labels: Any, probabilities: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        audit_labels(labels, probabilities, **options)
