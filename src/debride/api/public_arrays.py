"""The function of arrays that ``import debride`` shows."""

from debride.api.calls import public
from debride.audit.from_arrays import of_labels

audit_labels = public(of_labels.audit_labels)
