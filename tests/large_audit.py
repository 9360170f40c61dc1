"""The folder of an audit of many cases: numbers and pictures are made up, its files are written as an audit writes them."""

import os
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np

from debride.audit.audit_config import AuditConfig
from debride.audit.case_results import Found
from debride.audit.evidence import CaseScore, ClassScore, Ranking
from debride.audit.findings import Finding
from debride.audit.findings.record import KINDS
from debride.audit.outcome import Judged, write_outcome
from debride.audit.shown.finding_pictures import picture
from debride.data.open import open_dataset
from debride.files import content_hash
from debride.rng import generator
from debride.types import Case, Dataset
from tests.datasets import save_json

CLASSES = ("background", "left ventricle", "myocardium", "right ventricle")

SIDE = 40
"""Voxels of the volumes of ``write_large_set`` along each axis."""


def write_large_set(folder: Path, cases: int, share: float = 0.3, drawn: int = 0, seed: int = 0) -> list[Finding]:
    """A data set of so many volumes in ``data``, all of them one file, and its audit in ``audit``; the first ``drawn`` findings
    have their voxels. Returns the findings in their order."""
    data, rng = folder / "data", generator(seed, "large set")
    ids = [case.id for case in _cases(cases)]
    for name in ("imagesTr", "labelsTr"):
        (data / name).mkdir(parents=True)
    names = {name: number for number, name in enumerate(CLASSES)}
    about = {"channel_names": {"0": "MRI"}, "labels": names, "numTraining": cases, "file_ending": ".nii.gz"}
    save_json(data / "dataset.json", about)
    label = np.zeros((SIDE, SIDE, SIDE), np.uint8)
    label[10:30, 10:30, 10:30] = rng.integers(0, 4, (20, 20, 20))
    for pixels, name in (
        (rng.normal(100, 20, label.shape).astype(np.int16), "imagesTr/{}_0000.nii.gz"),
        (label, "labelsTr/{}.nii.gz"),
    ):
        first = data / name.format(ids[0])
        nib.save(nib.Nifti1Image(pixels.T, np.eye(4)), first)
        for id in ids[1:]:
            os.link(first, data / name.format(id))
    hash = content_hash([data / f"labelsTr/{ids[0]}.nii.gz"])
    of_set = {"dataset": open_dataset(data), "label": hash, "furthest": SIDE - 20, "most": 5}
    findings = write_large_audit(folder / "audit", cases, share=share, seed=seed, **of_set)
    (folder / "audit" / "proposals").mkdir()
    for case in dict.fromkeys(finding.case for finding in findings[:drawn]):
        numbers = np.zeros(label.shape, np.uint16)
        for finding in (finding for finding in findings if finding.case == case):
            corner = tuple(slice(start, start + 1 + finding.number) for start, _ in finding.box)
            numbers[corner] = finding.number
        np.savez_compressed(
            folder / "audit" / "proposals" / f"{case}.npz", number=numbers, proposed=(numbers > 0).astype(np.uint8)
        )
    return findings


def write_large_audit(
    folder: Path,
    cases: int,
    pictures: int = 0,
    share: float = 0.3,
    seed: int = 0,
    *,
    dataset: Dataset | None = None,
    label: str = "0" * 32,
    furthest: int = 200,
    most: int = 4,
) -> list[Finding]:
    """Writes all but the report for so many cases, of which ``share`` may have findings; returns these in their order. Of the
    labels of a ``dataset`` that there is ``label`` is the hash; findings begin before the voxel ``furthest``, and a
    case has at most so many (``most``)."""
    rng, known = generator(seed, "large audit"), _cases(cases)
    wrong = np.where(rng.random(cases) < share, rng.random(cases), 0.02 * rng.random(cases))
    odds = np.log(wrong + 1e-3) - np.log1p(1e-3 - wrong)
    ranking = Ranking(odds, wrong, {kind: odds - rng.random(cases) for kind in KINDS}, share / 2, (share / 4, share), 0.93)
    found = {case.id: Found(_findings(case.id, wrong[row], rng, furthest, most)) for row, case in enumerate(known)}
    scores = {case.id: _score(rng) for case in known}
    dataset = dataset or Dataset(folder / "data", "nnunet", CLASSES, tuple(known), 3)
    predictions = SimpleNamespace(about={"source": "cross-validation", "folds": 5}, seen=lambda case: None)
    judged = Judged(ranking, scores, found, {case.id: label for case in known}, np.full(len(CLASSES), 0.9))
    folder.mkdir(parents=True)
    write_outcome(dataset, known, predictions, folder, AuditConfig(), judged)
    findings = [each for row in ranking.order for each in found[known[row].id].findings]
    (folder / "pictures").mkdir()
    for each in findings[:pictures]:
        (folder / "pictures" / f"{each.case}-{each.number}.png").write_bytes(_picture(rng))
    return findings


def _cases(count: int) -> list[Case]:
    label = Path("label.nii.gz")
    return [
        Case(f"patient{row // 5:05d}_frame{row % 5:02d}", (Path("image.nii.gz"),), label, f"patient{row // 5:05d}")
        for row in range(count)
    ]


def _findings(case: str, wrong: float, rng: np.random.Generator, furthest: int, most: int) -> tuple[Finding, ...]:
    sure = np.sort(wrong * rng.random(int(rng.integers(1, most + 1))))[::-1] if wrong > 0.1 else []
    found = []
    for number, confidence in enumerate(sure, start=1):
        kind = KINDS[int(rng.integers(len(KINDS)))]
        given, proposed = rng.permutation(len(CLASSES))[:2].tolist()
        voxels, start = int(rng.integers(20, 5000)), rng.integers(0, furthest, 3).tolist()
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
