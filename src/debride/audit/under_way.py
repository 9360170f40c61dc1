"""An audit under way: what is known of its cases already, and work on those of which something is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debride.audit.after_review import AfterReview
from debride.audit.audit_config import AuditConfig
from debride.audit.audit_folder import RESULTS, Part, begin, claim_output, described, work_file, work_files
from debride.audit.case_results import CaseResults, Label, Looked, growing
from debride.audit.each_case import item_of
from debride.audit.one_thread import one_thread
from debride.audit.predictions import NONE, Predictions, RunPredictions, kept_predictions
from debride.audit.since import Earlier, read_earlier
from debride.case_work import stamp_of
from debride.data.pixels.images import files_of, hash_of
from debride.execute import Work, spread
from debride.files import content_hash
from debride.progress import track
from debride.settings import check_bounds
from debride.types import Case, DataError, Dataset
from debride.version import AUDIT_RESULTS

MANY = 10
"""So many cases that cannot be worked on end the work; of fewer the others are done before the first is refused."""


@dataclass
class UnderWay:
    """What is audited, by what, how, and where it goes; what a ``review`` of the earlier audit says; ``stamps`` of the cases
    whose labels were looked at, by id."""

    dataset: Dataset
    cases: Sequence[Case]
    predictions: Predictions
    config: AuditConfig
    out: Path
    jobs: int
    results: CaseResults
    earlier: Earlier | None
    review: AfterReview | None = None
    stamps: dict[str, str] = field(default_factory=dict)

    @property
    def without(self) -> bool:
        """Whether there are no predictions."""
        return bool(self.predictions.about["source"] == NONE)

    def get(self, kind: type[Any], case: Case, *also: object) -> Any:
        """What is known of a case, by its stamp and what else the result depends on; None if nothing is."""
        return self.results.get(kind, case.id, self.stamp(case, *also)) if case.id in self.stamps else None

    def has(self, kind: type[Any], case: Case, *also: object) -> bool:
        """Whether ``get`` would find something."""
        return case.id in self.stamps and self.results.has(kind, case.id, self.stamp(case, *also))

    def put(self, kind: type[Any], case: Case, plain: Any, *also: object) -> None:
        """Keeps a result of a case, unless it is None."""
        if plain is not None:
            self.results.put(kind, case.id, self.stamp(case, *also), plain)

    def stamp(self, case: Case, *also: object) -> str:
        """The stamp of a result that depends on the case and other values."""
        return content_hash([], self.stamps[case.id], *also) if also else self.stamps[case.id]


@contextmanager
def under_way(
    dataset: Dataset,
    cases: Sequence[Case],
    predictions: Predictions | RunPredictions,
    out: Path,
    config: AuditConfig,
    jobs: int,
    since: Path | None,
    part: Part | None,
    review: AfterReview | None = None,
) -> Iterator[UnderWay]:
    """The audit, with all that is known already."""
    check_bounds(config)
    if not cases:
        raise DataError(dataset.root, "has no labelled case to audit", "Check `splits`.")
    claim_output(dataset, out)
    begin(out)
    earlier = read_earlier(since, dataset) if since else None
    kept = kept_predictions(predictions, out / "predictions", dataset, since and since / "predictions")
    own = work_file(out, part)
    others = [out / RESULTS, *(file for file in work_files(out) if file != own)]
    with growing(own, others, earlier.results if earlier else None) as results:
        audit = UnderWay(dataset, cases, kept, config, out, jobs, results, earlier, review)
        for case in cases:
            label = _label(audit, case)
            if label is not None:
                know(audit, case, label)
        yield audit


def _label(audit: UnderWay, case: Case) -> Label | None:
    """The content of a case's label; None where nothing is known of the case, and it need not be known yet."""
    stamp, results = label_stamp(case), audit.results
    if results.get(Label, case.id, stamp) is None and results.has_any(Looked, case.id):
        assert case.label is not None
        results.put(Label, case.id, stamp, {"content": hash_of([case.label])})
    return results.get(Label, case.id, stamp)


def label_stamp(case: Case) -> str:
    """Tells whether the file of a case's label is still the same."""
    assert case.label is not None
    return stamp_of(files_of([case.label]))


def know(audit: UnderWay, case: Case, label: Label) -> None:
    """Stamps a case whose label is known: by all that its evidence depends on."""
    meaning = {**described(audit.dataset), "root": None, "palette": audit.dataset.palette and audit.dataset.palette.colours}
    files = stamp_of(files_of(case.image)), audit.predictions.stamp(case), label.content
    audit.stamps[case.id] = content_hash([], AUDIT_RESULTS, meaning, audit.config.seed, case.id, case.annotated, *files)


def work_on(
    audit: UnderWay,
    doing: str,
    work: Work,
    wanted: Sequence[tuple[Case, Mapping[str, Any]]],
    take: Callable[[Case, Any], None],
) -> None:
    """Works on the cases of which something is ``wanted``, and lets ``take`` have what each came to."""
    items = (item_of(case, audit.predictions.files(case), **more) for case, more in wanted)
    do_each(doing, work, items, len(wanted), audit.jobs, lambda at, told: take(wanted[at][0], told))


def do_each(
    doing: str, work: Work, items: Iterable[Mapping[str, Any]], many: int, jobs: int, take: Callable[[int, Any], None]
) -> None:
    """Does so many items, each with a "case", and lets ``take`` have what each came to with its place. Raises the DataError of
    the first that could not be done, when the others are."""
    if not many:
        return
    errors: dict[tuple[str, str], DataError] = {}
    with (
        one_thread(),
        track(doing, many) as show,
        spread(work, items, jobs=min(jobs, many), name=lambda item: f"case {item['case']['id']}") as outcomes,
    ):
        for at, outcome in zip(range(many), outcomes, strict=True):
            if outcome.error is None:
                take(at, outcome.result)
            else:
                errors.setdefault((outcome.error.where, outcome.error.problem), outcome.error)
            if len(errors) == MANY:
                break
            show(at + 1)
    if errors:
        first, others = next(iter(errors.values())), f", and so it is with {len(errors) - 1} more" if len(errors) > 1 else ""
        raise DataError(first.where, first.problem + others, first.remedy)
