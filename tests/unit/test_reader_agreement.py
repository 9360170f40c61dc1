"""Agreement of readers: Cohen's kappa by hand and beside scikit-learn's, its interval, and what is compared."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from tests.large_audit import write_large_audit
from tests.review_folders import decided, masks_audit, regions_audit

from debride.audit.decided import ReviewDb
from debride.review.reader_agreement import WORDS, agreements, conflict_lines, kappa
from debride.review.worklist_index import Filters, Worklist
from debride.rng import generator


@pytest.fixture
def db(tmp_path: Path) -> Iterator[ReviewDb]:
    with ReviewDb(masks_audit(tmp_path)) as opened:
        yield opened


def test_kappa_by_hand() -> None:
    """Of 100 items 45 + 25 alike: 0.70 observed; 0.60 x 0.60 + 0.40 x 0.40 = 0.52 by chance; (0.70 - 0.52) / 0.48."""
    assert kappa(np.array([[45.0, 15], [15, 25]])) == pytest.approx(0.18 / 0.48)


def test_kappa_is_that_of_scikit_learn() -> None:
    rng = generator(0, "kappa")
    for items in (2, 5, 40, 300):
        one = rng.integers(4, size=items)
        other = np.where(rng.random(items) < 0.6, one, rng.integers(4, size=items))
        table = np.zeros((4, 4))
        np.add.at(table, (one, other), 1)
        assert float(kappa(table)) == pytest.approx(cohen_kappa_score(one, other), abs=1e-12)


def test_kappa_of_one_word_alone_is_undefined() -> None:
    assert math.isnan(kappa(np.diag([7.0, 0, 0, 0]))) and math.isnan(kappa(np.zeros((4, 4))))
    assert kappa(np.array([[5.0, 2], [0, 0]])) == 0


def test_what_is_compared(db: ReviewDb) -> None:
    """Three findings of one kind, of two patients."""
    said = [
        decided("ann", "p00_s0", 1, "accept"),
        decided("ben", "p00_s0", 1, "reject"),
        decided("ben", "p00_s0", 1, "accept"),  # the last one counts
        decided("ann", "p00_s0", 2, "reject"),
        decided("ben", "p00_s0", 2, "reject"),
        decided("ben", "p00_s0", 2, "withdrawn"),  # and one that takes back does not
        decided("eve", "p00_s0", 2, "reject", adjudicates=True),
        decided("ann", "p01_s1", 1, "edited", label="x"),
        decided("ben", "p01_s1", 1, "edited", label="y"),
        decided("ben", "p01_s1", 1, "accept", round=2),  # of another round
        decided("ann", "p00_s0", 0, "verified"),
        decided("ben", "p00_s0", 0, "verified"),
    ]
    for at, decision in enumerate(said):
        db.append(decision, str(at))
    whole, missing = agreements(db)
    assert (whole.readers, whole.kind, missing.kind) == (("ann", "ben"), "all", "missing")
    assert (missing.items, missing.agree, missing.kappa) == (2, 1.0, 1.0)
    db.append(decided("ann", "p01_s1", 1, "accept", round=2), "more")
    assert agreements(db)[0].items == 3


def test_agreement_of_regions_and_of_one_word_alone(tmp_path: Path) -> None:
    with ReviewDb(regions_audit(tmp_path)) as db:
        assert agreements(db) == []
        for reader in ("ann", "ben", "eve"):
            worklist = Worklist(db, reader)
            for place in (1, 2, 3):
                worklist.decide(place, "accept", sent=f"{reader}{place}")
        found = agreements(db)
    assert [each.readers for each in found if each.kind == "all"] == [("ann", "ben"), ("ann", "eve"), ("ben", "eve")]
    assert {(each.items, each.agree, each.kappa, each.low) for each in found} == {(3, 1.0, None, None)}


def test_the_interval_is_of_patients(tmp_path: Path) -> None:
    """Beside one that is written down with loops, over the same draws."""
    write_large_audit(tmp_path / "audit", 40, share=1)
    rng = generator(3, "readers")
    with ReviewDb(tmp_path / "audit") as db:
        items = Worklist(db, "ann").page(Filters(), many=1000).items
        rows = []
        for item in items:
            one = WORDS[int(rng.integers(2))]
            other = one if rng.random() < 0.7 else WORDS[int(rng.integers(3))]
            rows.append((item["patient"], one, other))
            for reader, word in (("ann", one), ("ben", other)):
                db.append(decided(reader, item["case"], item["number"], word), f"{reader}{item['place']}")  # type: ignore[arg-type]
        whole = agreements(db, seed=5)[0]
        again = agreements(db, seed=5)[0]
    assert whole == again and whole.items == len(items)
    tables = {patient: tuple((one, other) for own, one, other in rows if own == patient) for patient, _, _ in rows}
    alike: dict[tuple[int, ...], list[str]] = {}  # patients by how often each says each pair of words
    for patient, pairs in tables.items():
        alike.setdefault(tuple(pairs.count((one, other)) for one in WORDS for other in WORDS), []).append(patient)
    groups = [alike[counts] for counts in sorted(alike)]
    draw, share = generator(5, "agreement", "ann", "ben", "all"), [len(group) / len(tables) for group in groups]
    values = []
    for times in draw.multinomial(len(tables), share, size=2000):
        drawn = [pair for group, count in zip(groups, times, strict=True) for _ in range(count) for pair in tables[group[0]]]
        alike_share = sum(one == other for one, other in drawn) / len(drawn)
        chance = sum(
            (sum(one == word for one, _ in drawn) / len(drawn)) * (sum(other == word for _, other in drawn) / len(drawn))
            for word in WORDS
        )
        values.append((alike_share - chance) / (1 - chance))
    low, high = np.percentile(values, [2.5, 97.5])
    assert whole.low == pytest.approx(low) and whole.high == pytest.approx(high)
    assert whole.kappa is not None and low < whole.kappa < high


def test_what_is_printed(db: ReviewDb) -> None:
    assert list(conflict_lines(db)) == [
        "0 in conflict",
        "0 left unsure",
        "No finding was decided by two readers in the same round: there is no agreement to measure.",
    ]
    ann, ben = Worklist(db, "ann"), Worklist(db, "ben")
    for at, (worklist, place, word) in enumerate(
        ((ann, 1, "accept"), (ben, 1, "reject"), (ann, 2, "accept"), (ben, 2, "accept"), (ann, 3, "unsure"))
    ):
        worklist.decide(place, word, sent=str(at))  # type: ignore[arg-type]
    assert list(conflict_lines(db)) == [
        "1 in conflict: p00_s0 1",
        "1 left unsure: p01_s1 1",
        "ann and ben, all: 2 findings, 50 % alike, kappa 0.00 (no interval)",
        "ann and ben, missing: 2 findings, 50 % alike, kappa 0.00 (no interval)",
    ]
