"""An audit of arrays in place of files: ``audit_labels`` says which of many labels are wrong, and returns a ``LabelAudit``.

``series`` reads one case at a time, whatever holds the arrays, ``named_cases`` what is said of cases beside them. What is found
out about a case, and what is usual, is that of the audit of a folder: ``audit.one_case``, ``audit.usual``.
"""
