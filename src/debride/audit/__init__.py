"""Audit and repair: which labels are wrong, where and how, and a data set with the repairs that were accepted.

``passes.audit_dataset`` looks at every case twice and writes the folder of an audit. Its rooms: ``predictions`` where they come
from, ``evidence`` what they say against a label, ``peers`` what labels and images say by themselves, ``findings`` one error
each, ``repair``, ``raters``, ``shown``. This door is light, for the command line: what it opens does no work.
"""

from debride.audit.audit_config import AuditConfig

__all__ = ["AuditConfig"]
