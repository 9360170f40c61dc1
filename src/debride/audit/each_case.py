"""What an audit does to one case, in three steps: plain JSON in and out, so that any process may do it. No network is needed.

``begin_looking``, ``begin_judging`` and ``begin_drawing`` make of what all cases share the function of one case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.audit_folder import write_proposals
from debride.audit.case_results import hashes
from debride.audit.evidence import (
    Evidence,
    ThresholdSums,
    agreement,
    plant,
    predicted_classes,
    score_case,
    thin,
)
from debride.audit.findings import Label, finding_of, read_proposals
from debride.audit.gather import find
from debride.audit.peers import Measures, sight_of
from debride.audit.predictions import PredictionFiles, onto_label, read_prediction
from debride.audit.shown import WORKLIST_ENDINGS, picture_of, write_worklist
from debride.data.masks.annotated import as_drawn, of_undrawn, without_undrawn
from debride.data.pairs import check_pair
from debride.data.pixels.images import hash_of, read_image, read_label
from debride.data.plain import case_of, dataset_of, plain_case
from debride.data.same_grid import Grid, turned
from debride.files import atomic_path
from debride.rng import generator
from debride.types import IGNORE, Case, DataError, Dataset, Geometry

Plain = dict[str, Any]


def item_of(case: Case, files: PredictionFiles | None, **wanted: Any) -> Plain:
    """A case and its prediction, if there is one, as plain JSON, and what is wanted of it."""
    return {"case": plain_case(case), "prediction": files and files.plain(), **wanted}


def begin_looking(setup: Plain) -> Callable[[Plain], Plain]:
    """The first look at a label, by {"dataset", "seed"}: of {"hash", "look", "plant"} what is true, as the ``Label``,
    ``Looked`` and ``Planted`` of ``case_results``, else None. "donor" is a case whose label is planted too, or None."""
    dataset, seed = dataset_of(setup["dataset"]), setup["seed"]

    def look_at(item: Plain) -> Plain:
        read = _read(dataset, item)
        case, label = read.case, read.label
        assert case.label is not None
        thinned = thin(label, read.probability, read.predicted, read.geometry.spacing)
        said = Evidence(thinned) if item["prediction"] else None
        image = _image_on(read)
        measures = Measures(label, image, len(dataset.classes), thinned)
        told: Plain = {"hash": None, "look": None, "plant": None}
        if item["hash"]:
            told["hash"] = {"content": hash_of([case.label])}
        with _naming(case):
            if item["look"]:
                labelled = bool(((label > 0) & (label != IGNORE)).any())
                sums = ThresholdSums(len(dataset.classes))
                if said:
                    sums.add(label, read.probability)
                told["look"] = {
                    "evidence": said.against(thinned.label) if said else {},
                    "agreement": agreement(label, read.probability, read.predicted) if labelled and said else None,
                    "sums": sums.sums.tolist(),
                    "sight": asdict(sight_of(measures.of(thinned.label), image, read.geometry.spacing)),
                }
            if item["plant"]:
                wrong = plant(thinned.label, len(read.probability), generator(seed, "plant", case.id))
                whole = _label_of(dataset, case_of(item["donor"]), read) if item["donor"] else None
                if whole is not None:
                    wrong["other"] = thinned.of(whole)
                if case.annotated is not None:  # nobody draws by mistake what nobody draws
                    wrong = {kind: np.where(of_undrawn(case, given), thinned.label, given) for kind, given in wrong.items()}
                differs = {kind: given for kind, given in wrong.items() if (given != thinned.label).any()}
                told["plant"] = {
                    "evidence": {kind: said.against(given) if said else {} for kind, given in differs.items()},
                    "measured": {
                        kind: asdict(measures.of(given, whole if kind == "other" else None)) for kind, given in differs.items()
                    },
                }
        return told

    return look_at


def begin_judging(setup: Plain) -> Callable[[Plain], Plain]:
    """Scores and findings of a case, by {"dataset", "out", "thresholds", "typical", "least"}: the ``CaseScore`` where "scores"
    is true, and the ``Found`` where "find" is {"wrong", "odds"}; else None. Writes what belongs to the findings."""
    dataset, out = dataset_of(setup["dataset"]), Path(setup["out"])
    thresholds, typical, least = np.array(setup["thresholds"]), setup["typical"], setup["least"]

    def judge(item: Plain) -> Plain:
        read = _read(dataset, item)
        case, spacing = read.case, read.geometry.spacing
        told: Plain = {"scores": None, "found": None}
        if item["scores"]:
            told["scores"] = asdict(score_case(read.label, read.probability, thresholds, spacing))
        if item["find"]:
            with _naming(case):
                findings, numbers, proposed = find(
                    *(case.id, read.label, read.probability, read.predicted, spacing),
                    **item["find"],
                    typical=typical,
                    least=least,
                )
            told["found"] = {"findings": [asdict(finding) for finding in findings], "worklist": [], "files": {}}
            if findings:
                path = out / "proposals" / f"{case.id}.npz"
                write_proposals(path, numbers, proposed)
                told["found"]["worklist"] = write_worklist(out, case, findings, read.geometry, numbers, dataset.classes)
                shown = (out / "worklist" / f"{case.id}{ending}" for ending in WORKLIST_ENDINGS)
                told["found"]["files"] = hashes(out, [path, *(file for file in shown if file.exists())])
        return told

    return judge


def begin_drawing(setup: Plain) -> Callable[[Plain], Plain]:
    """Writes pictures/CASE-NUMBER.png of so many of a case's "findings" as "pictures" says, by {"dataset", "out"} and what
    judging wrote: the ``Drawn``."""
    dataset, out = dataset_of(setup["dataset"]), Path(setup["out"])

    def draw(item: Plain) -> Plain:
        read = _read(dataset, item)
        case = read.case
        findings = [finding_of(row) for row in item["findings"]]
        numbers, proposed = read_proposals(out, case.id, findings, read.label.shape, len(dataset.classes))
        image, files = _image_on(read), []
        for finding in findings[: item["pictures"]]:
            picture = picture_of(finding, image, read.label, read.predicted, numbers, proposed, read.geometry.spacing)
            files.append(out / "pictures" / f"{case.id}-{finding.number}.png")
            with atomic_path(files[-1]) as temporary:
                temporary.write_bytes(picture)
        return {"files": hashes(out, files)}

    return draw


@dataclass(frozen=True)
class _Read:
    """A case's label and prediction, read: ``label`` and ``predicted`` (*S), ``probability`` (K, *S); 0 without one."""

    case: Case
    label: Label
    probability: npt.NDArray[Any]
    predicted: Label
    geometry: Geometry


def _read(dataset: Dataset, item: Mapping[str, Any]) -> _Read:
    case = case_of(item["case"])
    assert case.label is not None  # cases without one are not audited
    check_pair(case)
    label, geometry = read_label(case.label, dataset)
    if item["prediction"] is None:
        nothing = np.broadcast_to(np.float32(0), (len(dataset.classes), *label.shape))
        return _Read(case, without_undrawn(case, label), nothing, np.zeros_like(label), geometry)
    files = PredictionFiles.from_plain(item["prediction"])
    probability = read_prediction(files, dataset, case, label.shape, geometry).probability
    label, probability = as_drawn(case, label, probability)
    return _Read(case, label, probability, predicted_classes(probability), geometry)


def _image_on(read: _Read) -> npt.NDArray[Any]:
    """The image (C, *S) of a case, turned to lie as its label."""
    image, geometry = read_image(read.case.image)
    grid = Grid(image.shape[1:], geometry)
    return turned(image, onto_label(grid, read.case.image[0], read.case, read.label.shape, read.geometry))


def _label_of(dataset: Dataset, donor: Case, read: _Read) -> Label:
    """The label of another case in the shape of a case's own (*S), without a label where that has none."""
    assert donor.label is not None
    label = read.label
    other = without_undrawn(donor, read_label(donor.label, dataset)[0])
    places = np.ix_(*(np.arange(size) * have // size for size, have in zip(label.shape, other.shape, strict=True)))
    other = other[places]
    return np.where(label == IGNORE, label, np.where((other == IGNORE) | of_undrawn(read.case, other), np.uint8(0), other))


@contextmanager
def _naming(case: Case) -> Iterator[None]:
    """Names the case that a prediction is refused for."""
    try:
        yield
    except DataError as error:
        raise DataError(case.label, error.problem, error.remedy) from error
