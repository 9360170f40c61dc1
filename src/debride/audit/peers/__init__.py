"""What labels and images say without any network: each by itself, and beside those of the other cases.

``measures`` are of one label and its image, as a few numbers and a coarse picture of each. ``typical`` says what is usual of
numbers, ``alike`` which images look alike and what their labels let expect, ``beside`` makes entries of the evidence of it all,
and ``doubts`` says in words what stands out.
"""

from debride.audit.peers.beside import Beside, compare
from debride.audit.peers.doubts import doubts
from debride.audit.peers.measures import Measured, Measures, Sight, sight_of

__all__ = ["Beside", "Measured", "Measures", "Sight", "compare", "doubts", "sight_of"]
