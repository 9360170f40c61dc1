"""Audit and repair: which labels are wrong, where and how, and a data set with the repairs that were accepted.

``passes.audit_dataset`` looks at every case twice and writes the folder of an audit. Its rooms: ``predictions`` where they come
from, ``evidence`` what they say against a label, ``peers`` what labels and images say by themselves, ``findings`` one error
each, ``repair``, ``raters``, ``shown``; ``from_arrays`` audits arrays in place of files. This door is light, for the command
line: what it opens does no work.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from debride.audit.audit_config import AuditConfig

if TYPE_CHECKING:
    from debride.audit.from_arrays.of_labels import audit_labels

__all__ = ["AuditConfig", "audit_labels"]


def __getattr__(name: str) -> Any:
    if name == "audit_labels":  # loaded when it is first asked for
        return importlib.import_module("debride.audit.from_arrays.of_labels").audit_labels
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
