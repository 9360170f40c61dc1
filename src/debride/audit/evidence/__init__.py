"""What a prediction says against a label, as arrays and numbers. Nothing here reads a file.

``pieces`` are where both disagree, ``joined`` says which of them are one mistake, and ``measured`` how large it is. ``gains``
say how much likelier other labels would be, ``whole`` looks for one mistake that explains a whole label, ``scores`` are label
quality scores, and ``ranking`` makes a probability of it all.
"""

from debride.audit.evidence.explanations import reported
from debride.audit.evidence.gains import Evidence, thin
from debride.audit.evidence.measured import Piece
from debride.audit.evidence.odds import ANY
from debride.audit.evidence.outline_gains import against_usual
from debride.audit.evidence.pieces import find_pieces, predicted_classes
from debride.audit.evidence.planting import plant
from debride.audit.evidence.ranking import FLAGGED, Ranking, rank
from debride.audit.evidence.scores import CaseScore, ClassScore, ThresholdSums, score_case, unscored
from debride.audit.evidence.share import Interval
from debride.audit.evidence.whole import WholeLabel, agreement, explain

__all__ = [
    "ANY",
    "FLAGGED",
    "CaseScore",
    "ClassScore",
    "Evidence",
    "Interval",
    "Piece",
    "Ranking",
    "ThresholdSums",
    "WholeLabel",
    "against_usual",
    "agreement",
    "explain",
    "find_pieces",
    "plant",
    "predicted_classes",
    "rank",
    "reported",
    "score_case",
    "thin",
    "unscored",
]
