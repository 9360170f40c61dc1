"""What an audit does to one case, in three steps: plain JSON in and out, so that any process may do it. No network is needed.

``begin_looking``, ``begin_judging`` and ``begin_drawing`` make of what all cases share the function of one case. They read and
write files; what is found out is said by ``one_case``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from debride.audit.after_review import covered, without_decided
from debride.audit.audit_folder import write_proposals
from debride.audit.case_results import hashes
from debride.audit.findings import finding_of, read_proposals
from debride.audit.one_case import Plain, Seen, donated, first_look, scored, second_look, see
from debride.audit.predictions import PredictionFiles, onto_label, read_prediction
from debride.audit.shown import WORKLIST_ENDINGS, picture_of, write_worklist
from debride.data.pairs import check_pair
from debride.data.pixels.images import hash_of, read_image, read_label
from debride.data.plain import case_of, dataset_of, plain_case
from debride.data.same_grid import Grid, turned
from debride.files import atomic_path
from debride.types import Case, DataError, Dataset, Geometry


def item_of(case: Case, files: PredictionFiles | None, **wanted: Any) -> Plain:
    """A case and its prediction, if there is one, as plain JSON, and what is wanted of it."""
    return {"case": plain_case(case), "prediction": files and files.plain(), **wanted}


def begin_looking(setup: Plain) -> Callable[[Plain], Plain]:
    """The first look at a label, by {"dataset", "seed"}: of {"hash", "look", "plant"} what is true, as the ``Label``,
    ``Looked`` and ``Planted`` of ``case_results``, else None. "donor" is a case whose label is planted too, or None."""
    dataset, seed = dataset_of(setup["dataset"]), setup["seed"]

    def look_at(item: Plain) -> Plain:
        seen, geometry = _read(dataset, item)
        case = seen.case
        assert case.label is not None
        image = _image_on(seen, geometry)
        content = {"content": hash_of([case.label])} if item["hash"] else None
        donor = None
        if item["plant"] and item["donor"]:
            other = case_of(item["donor"])
            assert other.label is not None
            donor = donated(other, read_label(other.label, dataset)[0], seen)
        with _naming(case):
            return {"hash": content, **first_look(seen, image, seed, donor, look=item["look"], planting=item["plant"])}

    return look_at


def begin_judging(setup: Plain) -> Callable[[Plain], Plain]:
    """Scores and findings of a case, by {"dataset", "out", "thresholds", "typical", "least"}: the ``CaseScore`` where "scores"
    is true, and the ``Found`` where "find" is {"wrong", "odds"}; else None. Writes what belongs to the findings. What is
    "decided" is not found again."""
    dataset, out = dataset_of(setup["dataset"]), Path(setup["out"])
    thresholds, how = np.array(setup["thresholds"]), {"typical": setup["typical"], "least": setup["least"]}

    def judge(item: Plain) -> Plain:
        seen, geometry = _read(dataset, item)
        case = seen.case
        told: Plain = {"scores": None, "found": None}
        if item["scores"]:
            told["scores"] = asdict(scored(seen, thresholds))
        if item["find"]:
            with _naming(case):
                findings, numbers, proposed = second_look(seen, **item["find"], **how)
            many = len(findings)
            if findings and item["decided"]:
                mask = covered(item["decided"], case.id, numbers.shape)
                findings, numbers, proposed = without_decided(findings, numbers, proposed, mask)
            plain = [asdict(finding) for finding in findings]
            told["found"] = {"findings": plain, "worklist": [], "files": {}, "dropped": many - len(findings)}
            if findings:
                path = out / "proposals" / f"{case.id}.npz"
                write_proposals(path, numbers, proposed)
                told["found"]["worklist"] = write_worklist(out, case, findings, geometry, numbers, dataset.classes)
                shown = (out / "worklist" / f"{case.id}{ending}" for ending in WORKLIST_ENDINGS)
                told["found"]["files"] = hashes(out, [path, *(file for file in shown if file.exists())])
        return told

    return judge


def begin_drawing(setup: Plain) -> Callable[[Plain], Plain]:
    """Writes pictures/CASE-NUMBER.png of so many of a case's "findings" as "pictures" says, by {"dataset", "out"} and what
    judging wrote: the ``Drawn``."""
    dataset, out = dataset_of(setup["dataset"]), Path(setup["out"])

    def draw(item: Plain) -> Plain:
        seen, geometry = _read(dataset, item)
        case = seen.case
        findings = [finding_of(row) for row in item["findings"]]
        numbers, proposed = read_proposals(out, case.id, findings, seen.label.shape, len(dataset.classes))
        image, files = _image_on(seen, geometry), []
        for finding in findings[: item["pictures"]]:
            picture = picture_of(finding, image, seen.label, seen.predicted, numbers, proposed, seen.spacing)
            files.append(out / "pictures" / f"{case.id}-{finding.number}.png")
            with atomic_path(files[-1]) as temporary:
                temporary.write_bytes(picture)
        return {"files": hashes(out, files)}

    return draw


class _Read(NamedTuple):
    """A case as it is seen, and where its label lies."""

    seen: Seen
    geometry: Geometry


def _read(dataset: Dataset, item: Mapping[str, Any]) -> _Read:
    case = case_of(item["case"])
    assert case.label is not None  # cases without one are not audited
    check_pair(case)
    label, geometry = read_label(case.label, dataset)
    probability = None
    if item["prediction"] is not None:
        files = PredictionFiles.from_plain(item["prediction"])
        probability = read_prediction(files, dataset, case, label.shape, geometry).probability
    return _Read(see(case, label, probability, geometry.spacing, len(dataset.classes)), geometry)


def _image_on(seen: Seen, geometry: Geometry) -> npt.NDArray[Any]:
    """The image (C, *S) of a case, turned to lie as its label."""
    image, own = read_image(seen.case.image)
    grid = Grid(image.shape[1:], own)
    return turned(image, onto_label(grid, seen.case.image[0], seen.case, seen.label.shape, geometry))


@contextmanager
def _naming(case: Case) -> Iterator[None]:
    """Names the case that a prediction is refused for."""
    try:
        yield
    except DataError as error:
        raise DataError(case.label, error.problem, error.remedy) from error
