"""What people look at: the page of an audit, its charts and pictures, and worklists for 3D Slicer and ITK-SNAP.

The page is made from the audit's folder alone, so that it can be made again.
"""

from debride.audit.shown.audit_report import write_report
from debride.audit.shown.finding_pictures import picture_of
from debride.audit.shown.worklist import WORKLIST_ENDINGS, write_table, write_worklist

__all__ = ["WORKLIST_ENDINGS", "picture_of", "write_report", "write_table", "write_worklist"]
