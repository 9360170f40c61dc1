"""Which findings are accepted, and a new data set with their repairs, or with the labels given before.

``decisions`` are rules and a file of decisions, ``guard`` keeps what nobody asked to remove, ``kept_labels`` and ``kept_files``
the given files. ``destination`` says where findings go, ``ignored`` and ``weight_maps`` take them there.
"""

from debride.audit.repair.apply import apply_findings, repair, reverse
from debride.audit.repair.decisions import Acceptance, parse_acceptance, read_decisions
from debride.audit.repair.destination import LEAVE_OUT, TO, Destination
from debride.audit.repair.kept_labels import FOLDER, RECORD

__all__ = [
    "FOLDER",
    "LEAVE_OUT",
    "RECORD",
    "TO",
    "Acceptance",
    "Destination",
    "apply_findings",
    "parse_acceptance",
    "read_decisions",
    "repair",
    "reverse",
]
