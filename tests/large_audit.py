"""The folder of an audit of many cases: numbers and pictures are made up, its files are written as an audit writes them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from debride.audit.audit_config import AuditConfig
from debride.audit.case_results import Found
from debride.audit.evidence import CaseScore, ClassScore, Ranking
from debride.audit.findings import Finding
from debride.audit.findings.record import KINDS
from debride.audit.outcome import Judged, write_outcome
from debride.audit.shown.finding_pictures import picture
from debride.rng import generator
from debride.types import Case, Dataset

CLASSES = ("background", "left ventricle", "myocardium", "right ventricle")


def write_large_audit(folder: Path, cases: int, pictures: int = 0, share: float = 0.3, seed: int = 0) -> list[Finding]:
    """Writes all but the report for so many cases, of which ``share`` may have findings; returns these in their order."""
    rng, label = generator(seed, "large audit"), Path("label.nii.gz")
    known = [
        Case(f"patient{row // 5:05d}_frame{row % 5:02d}", (Path("image.nii.gz"),), label, f"patient{row // 5:05d}")
        for row in range(cases)
    ]
    wrong = np.where(rng.random(cases) < share, rng.random(cases), 0.02 * rng.random(cases))
    odds = np.log(wrong + 1e-3) - np.log1p(1e-3 - wrong)
    ranking = Ranking(odds, wrong, {kind: odds - rng.random(cases) for kind in KINDS}, share / 2, (share / 4, share), 0.93)
    found = {case.id: Found(_findings(case.id, wrong[row], rng)) for row, case in enumerate(known)}
    scores = {case.id: _score(rng) for case in known}
    dataset = Dataset(folder / "data", "nnunet", CLASSES, tuple(known), 3)
    predictions = SimpleNamespace(about={"source": "cross-validation", "folds": 5}, seen=lambda case: None)
    judged = Judged(ranking, scores, found, {case.id: "0" * 32 for case in known}, np.full(len(CLASSES), 0.9))
    folder.mkdir(parents=True)
    write_outcome(dataset, known, predictions, folder, AuditConfig(), judged)
    findings = [each for row in ranking.order for each in found[known[row].id].findings]
    (folder / "pictures").mkdir()
    for each in findings[:pictures]:
        (folder / "pictures" / f"{each.case}-{each.number}.png").write_bytes(_picture(rng))
    return findings


def _findings(case: str, wrong: float, rng: np.random.Generator) -> tuple[Finding, ...]:
    sure = np.sort(wrong * rng.random(int(rng.integers(1, 5))))[::-1] if wrong > 0.1 else []
    found = []
    for number, confidence in enumerate(sure, start=1):
        kind = KINDS[int(rng.integers(len(KINDS)))]
        given, proposed = rng.permutation(len(CLASSES))[:2].tolist()
        voxels, start = int(rng.integers(20, 5000)), rng.integers(0, 200, 3).tolist()
        found.append(
            Finding(
                case=case,
                number=number,
                kind=kind,
                given=given,
                proposed=proposed,
                box=tuple((at, at + 20) for at in start),
                voxels=voxels,
                volume=voxels / 1000,
                displacement=float(rng.normal(0, 3)) if kind in ("boundary", "shift") else None,
                severity=float(rng.random()),
                confidence=float(confidence),
            )
        )
    return tuple(found)


def _score(rng: np.random.Generator) -> CaseScore:
    dice = 1 - rng.random(len(CLASSES) - 1) / 3
    classes = tuple(
        ClassScore(at, 900, 900, float(value), 0.9, 0.05, 0.7, 0.02, float(rng.normal(0.4, 0.3)))
        for at, value in enumerate(dice, start=1)
    )
    return CaseScore(0.8, 0.1, float(dice.mean()), classes)


def _picture(rng: np.random.Generator) -> bytes:
    """The picture of a finding in noise."""
    image, given, proposed = rng.normal(size=(1, 96, 96)), np.zeros((96, 96), np.uint8), np.zeros((96, 96), np.uint8)
    top, left = rng.integers(10, 50, 2).tolist()
    given[top : top + 30, left : left + 25] = 1
    proposed[top + 4 : top + 34, left : left + 28] = 1
    return picture(image, given, proposed, proposed, ((top, top + 34), (left, left + 28)), 2, None)
