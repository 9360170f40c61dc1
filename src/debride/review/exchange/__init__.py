"""Labels and findings as files for other programs, and what readers edited there as decisions.

``slicer``, ``itk_snap`` and ``coco`` each know one kind of file, ``placing`` where a part of a volume lies in it;
``outgoing`` writes a folder of them, ``edited_files`` reads one, and ``incoming`` makes decisions of it.
"""

from debride.review.exchange.incoming import ImportResult, import_review
from debride.review.exchange.outgoing import PROGRAMS, ExportResult, export_review, export_table

__all__ = ["PROGRAMS", "ExportResult", "ImportResult", "export_review", "export_table", "import_review"]
