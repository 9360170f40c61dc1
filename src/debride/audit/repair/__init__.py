"""Which findings are accepted, and a new data set with their repairs, or with the labels given before.

``proposals`` are those of the audits, ``decisions`` rules and a file of decisions; ``guard`` keeps what nobody asked to remove.
``changes`` and ``by_region`` apply what is proposed. ``kept_labels`` and ``kept_files`` are the given files. ``destination``
says where findings go, ``ignored`` and ``weight_maps`` take them there.
"""

from debride.audit.repair.apply import repair, reverse
from debride.audit.repair.by_region import class_moves
from debride.audit.repair.changes import apply_findings
from debride.audit.repair.decisions import Acceptance, parse_acceptance
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
    "class_moves",
    "parse_acceptance",
    "repair",
    "reverse",
]
