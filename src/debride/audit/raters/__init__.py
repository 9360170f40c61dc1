"""Several raters of one image: how far they agree, who differs from the others, and a consensus of their labels.

``consensus`` and ``rater_agreement`` are arithmetic on arrays; ``compare`` reads a data set and writes what was found.
"""

from debride.audit.raters.compare import audit_raters, write_consensus
from debride.audit.raters.consensus import majority, staple
from debride.audit.raters.rater_agreement import Agreement, agreement, boundary_bias, rater_table

__all__ = ["Agreement", "agreement", "audit_raters", "boundary_bias", "majority", "rater_table", "staple", "write_consensus"]
