"""Which labels of a data set are wrong, and a copy of it in which the surest errors are repaired.

python examples/audit_and_repair.py DATASET PREDICTIONS OUT

``PREDICTIONS`` holds a mask or probability map of every case, by a network that was not trained on it.
``OUT/audit/report.html`` shows what was found; nothing is written into ``DATASET``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from debride.audit import AuditConfig
from debride.audit.passes import audit_dataset
from debride.audit.predictions import open_predictions
from debride.audit.repair import parse_acceptance, repair
from debride.data.open import open_dataset


def audit_and_repair(scans: Path, predictions: Path, out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The summaries of an audit and of a repair of all that it is at least half sure of; in ``out`` their folders."""
    dataset = open_dataset(scans)
    cases = [case for case in dataset.of("train", "val") if case.label]
    found = audit_dataset(dataset, cases, open_predictions(predictions, dataset, cases), out / "audit", AuditConfig())
    accept = parse_acceptance(["all"], dataset.classes, confidence=0.5)
    return found, repair(dataset, out / "audit", out / "repaired", accept)


if __name__ == "__main__":
    audit_and_repair(*map(Path, sys.argv[1:]))
